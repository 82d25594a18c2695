#!/usr/bin/env bash
# Everything that is released for one target: the archive of C library and command, with musl the command as
# one file, Debian packages on such a machine, and the wheels. Where this machine can run the target, its Rust
# tests come first, and the tests of the Python package last.
#
#   release/target.sh [--no-tests] TARGET [OUT]      OUT is release/dist by default
set -euo pipefail
cd "$(dirname "$0")/.."
tests=1
if [ "${1:-}" = --no-tests ]; then
    tests=
    shift
fi
[ $# -ge 1 ] || { echo "usage: release/target.sh [--no-tests] TARGET [OUT]" >&2; exit 2; }
target=$1
out=${2:-release/dist}
mkdir -p "$out"
out=$(cd "$out" && pwd)
folder=${CARGO_TARGET_DIR:-$PWD/target}
native=
[ "$(rustc -vV | sed -n 's/^host: //p')" != "$target" ] || native=1

if [ -n "$tests" ] && [ -n "$native" ]; then
    cargo test --locked --workspace --exclude midge-c --exclude midge-python
fi

case $target in
    *-windows-* | *-apple-darwin) release/desktop.sh "$target" "$out" ;;
    *)
        release/build.sh "$target" "$out"
        if [ -n "$native" ] && [[ $target = *-linux-gnu ]] && command -v dpkg-architecture >/dev/null; then
            release/debian.sh "$out"
        fi
        if [[ $target = *-linux-musl ]]; then
            release/static.sh "$target" "$out"
        fi
        rm -f "$out/SHA256SUMS" # of these alone; release/checksums.sh has all
        ;;
esac

# One wheel serves both processors of macOS. It is built on each, to be tried there, and taken from one.
wheels=$folder/release-wheels/$target
rm -rf "$wheels"
case $target in
    *-apple-darwin) OUT=$wheels python/release.sh wheel universal2-apple-darwin ;;
    *) OUT=$wheels python/release.sh wheel "$target" ;;
esac
[ "$target" = x86_64-apple-darwin ] || cp "$wheels"/*.whl "$out"

# What the Python of this machine cannot load is tried with another one where there is one.
case $native:$target in
    :aarch64-*-gnu) needed=qemu-aarch64-static ;;
    :armv7-*-gnueabihf) needed=qemu-arm-static ;;
    *:x86_64-*-musl) needed=musl-gcc ;;
    *) needed= ;;
esac
if [ -n "$needed" ] && command -v "$needed" >/dev/null; then
    tests/platforms/python-elsewhere.sh "$wheels"/*-abi3-*.whl
fi

if [ -n "$tests" ] && [ -n "$native" ]; then
    python/release.sh test "$wheels"/*-abi3-*.whl
fi
