#!/usr/bin/env bash
# The scripts of a release, as far as nothing is built for it: what they refuse, and that the same files give
# the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
fail() {
    echo "FAILED: $*" >&2
    failed=1
}
refuses() { # SENTENCE COMMAND...
    local sentence=$1 said
    shift
    if said=$("$@" 2>&1); then
        fail "$* does not fail"
    elif ! grep -qF -- "$sentence" <<<"$said"; then
        fail "$* says: $said"
    fi
}
version=$(release/version.sh)

# Notes are one section, and lead to the tag where there is one.
release/notes.sh >"$work/notes"
! grep -qE '^## ' "$work/notes" || fail "the notes have the heading of a version"
refuses "no section for 99.0.0" release/notes.sh 99.0.0
GITHUB_SERVER_URL=https://example.org GITHUB_REPOSITORY=o/midge release/notes.sh >"$work/linked"
! grep -oE '\]\([^h)][^)]*\)' "$work/linked" || fail "these links lead nowhere in a release"

# A tag that is not this version, in an argument or from a workflow.
refuses "the tag v99.0.0 is not v$version" release/check.sh v99.0.0
refuses "the tag v98.0.0 is not v$version" env GITHUB_REF_TYPE=tag GITHUB_REF_NAME=v98.0.0 release/check.sh

# Checksums find a file that changed.
mkdir "$work/files"
echo one >"$work/files/a file"
release/checksums.sh "$work/files" >/dev/null
echo two >"$work/files/a file"
refuses "FAILED" bash -c "cd '$work/files' && sha256sum --check SHA256SUMS"
mkdir "$work/empty"
refuses "has no files" release/checksums.sh "$work/empty"

# An image of the same program is the same image, gives it back, and is refused when it is damaged.
echo program >"$work/midge"
for name in one other; do
    python3 release/oci.py build "$work/$name" "$version" amd64="$work/midge" arm64="$work/midge"
done
diff -r "$work/one" "$work/other" || fail "two images of one program differ"
mkdir "$work/root"
python3 release/oci.py unpack "$work/one" arm64 "$work/root" | grep -qF '"/midge"' || fail "the image does not start /midge"
cmp "$work/midge" "$work/root/midge" || fail "the image has another program"
for blob in "$work"/other/blobs/sha256/*; do echo >>"$blob"; done
refuses "is damaged" python3 release/oci.py unpack "$work/other" amd64 "$work/root"
refuses "is not static" release/container.sh "$work/image" amd64="$(command -v bash)"

# Archives, too, with programs that can be started.
for name in one other; do
    mkdir "$work/archive-$name"
    for target in x86_64-pc-windows-msvc aarch64-apple-darwin; do
        python3 release/archive.py "$work/archive-$name/midge-$target" bin/midge="$work/midge" README.md=README.md >/dev/null
    done
done
diff -r "$work/archive-one" "$work/archive-other" || fail "two archives of the same files differ"
tar -xJf "$work/archive-one/midge-aarch64-apple-darwin.tar.xz" -C "$work"
[ -x "$work/midge-aarch64-apple-darwin/bin/midge" ] || fail "the program in the archive cannot be started"
python3 -m zipfile -t "$work/archive-one/midge-x86_64-pc-windows-msvc.zip" >/dev/null || fail "the archive for Windows is damaged"

# The platform that a wheel names is compared with what was found.
python3 - <<'P' || fail "audit.py takes one platform for another"
import sys
sys.path.insert(0, "python")
from audit import older_or_same as same
assert same("manylinux_2_5_x86_64", "manylinux_2_17_x86_64") and same("manylinux_2_17_x86_64", "manylinux_2_17_x86_64")
assert not same("manylinux_2_28_x86_64", "manylinux_2_17_x86_64")
assert not same("manylinux_2_17_aarch64", "manylinux_2_17_x86_64") and not same("linux_x86_64", "manylinux_2_17_x86_64")
P
exit "$failed"
