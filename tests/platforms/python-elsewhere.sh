#!/usr/bin/env bash
# Tries a wheel of another processor with Debian's Python for it, under qemu-user: the README's first
# example and the command.
#
#   tests/platforms/python-elsewhere.sh WHEEL...     of aarch64 or armv7
#
# Unpacks that Python below target/, without installing anything. Needs Debian's qemu-user-static.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}/python-elsewhere

# Debian's Python of ARCHITECTURE, with the libraries it is linked with, in a folder of its own.
unpack() {
    local architecture=$1 root=$target/$1
    [ -e "$root/usr/bin/python3" ] && return 0
    rm -rf "$root" && mkdir -p "$root" "$target/apt/lists/partial" "$target/apt/cache/archives/partial" "$target/debs-$1"
    local options=(-o "Dir::State=$target/apt" -o "Dir::State::Lists=$target/apt/lists" -o "Dir::Cache=$target/apt/cache"
        -o Dir::State::status=/dev/null -o "APT::Architecture=$architecture" -o "APT::Architectures::=$architecture" -o APT::Sandbox::User=root)
    apt-get -qq "${options[@]}" update
    local names
    mapfile -t names < <(apt-get "${options[@]}" -s --no-install-recommends install python3 2>/dev/null | sed -n 's/^Inst \([^ ]*\).*/\1/p')
    [ ${#names[@]} -gt 0 ] || { echo "Debian has no python3 for $architecture" >&2; exit 1; }
    (cd "$target/debs-$1" && apt-get -qq "${options[@]}" download "${names[@]}")
    for package in "$target/debs-$1"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --exclude=./dev
    done
    rm -rf "$target/debs-$1"
}

[ $# -gt 0 ] || { sed -n '2,/^$/p' "$0" >&2; exit 2; }
for wheel in "$@"; do
    case $wheel in
        *linux*_aarch64.whl) architecture=arm64 emulator=qemu-aarch64-static ;;
        *linux*_armv7l.whl) architecture=armhf emulator=qemu-arm-static ;;
        *)
            echo "$(basename "$wheel"): of no processor that is emulated here" >&2
            exit 1
            ;;
    esac
    command -v "$emulator" >/dev/null || { echo "$emulator is missing; it is in Debian's qemu-user-static" >&2; exit 1; }
    unpack "$architecture"
    python3 python/try_wheel.py "$wheel" --with "$emulator" -L "$target/$architecture" "$(readlink -f "$target/$architecture/usr/bin/python3")"
done
