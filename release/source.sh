#!/usr/bin/env bash
# Packs the sources of the last commit with those of all crates that they need, so that they build with no
# network: release/source.sh [OUT] makes OUT/midge-VERSION-source.tar.xz; OUT is target/dist where it is not
# named. Everything in it is built as in a checkout, by bindings/c/install.sh or by cargo.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-${CARGO_TARGET_DIR:-$root/target}/dist}
version=$("$root/bindings/c/install.sh" --version)
name=midge-$version
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export LC_ALL=C TZ=UTC
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
out=$(cd "$out" && pwd)

git -C "$root" archive --prefix="$name/" HEAD | tar -x -C "$work"
cd "$work/$name"
mkdir -p .cargo
cargo vendor --quiet --locked --versioned-dirs vendor >>.cargo/config.toml
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw --format=gnu \
    -C "$work" -cf "$work/source.tar" "$name"
xz -6 --threads=1 -c "$work/source.tar" >"$out/$name-source.tar.xz"
echo "$out/$name-source.tar.xz"
