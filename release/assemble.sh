#!/usr/bin/env bash
# Makes of the files of all targets what is published: the container image of the static commands, the notes,
# an audit of all distributions of the Python package, and the checksums of everything.
#
#   release/assemble.sh [FOLDER]      release/dist by default, with the files in it
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-release/dist}
version=$(release/version.sh)
rm -rf "$folder"/*.oci.tar "$folder/NOTES.md" "$folder/SHA256SUMS"

python/release.sh audit "$folder"/midge-*.whl "$folder"/midge-"$version".tar.gz

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
programs=()
for pair in amd64=x86_64 arm64=aarch64; do
    program=$folder/midge-${pair#*=}-unknown-linux-musl
    [ ! -f "$program" ] || programs+=("${pair%=*}=$program")
done
[ ${#programs[@]} -gt 0 ] || { echo "$folder has no static command for the container" >&2; exit 1; }
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo) # only root may start it in a root of its own
"${as_root[@]}" release/container.sh "$work/image" "${programs[@]}"
[ "$(id -u)" -eq 0 ] || sudo chown -R "$(id -u)" "$work"
tar --sort=name --mtime="@$(git log -1 --format=%ct)" --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw \
    -C "$work/image" -cf "$folder/midge-$version.oci.tar" .

release/notes.sh "$version" >"$folder/NOTES.md"
release/checksums.sh "$folder"
