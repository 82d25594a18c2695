#!/usr/bin/env bash
# Tries a wheel that the Python of this machine cannot load: the README's first example and the command.
#
#   tests/platforms/python-elsewhere.sh WHEEL...
#
# aarch64 and armv7 run with Debian's Python for them, under QEMU; musl on x86-64 with a Python that is built
# with musl from Debian's sources, which takes some minutes, once. All of it lies below target/, and nothing is
# installed. Needs Debian's qemu-user-static, or musl-tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}/python-elsewhere

# apt with a state of its own: the packages of the machine do not matter and do not change.
apt() { # ARCHITECTURE COMMAND...
    local state=$target/apt-$1 architecture=$1
    shift
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/parts"
    sed 's/^Types: deb$/Types: deb deb-src/' /etc/apt/sources.list.d/debian.sources >"$state/parts/debian.sources"
    apt-get -qq -o "Dir::State=$state" -o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache" \
        -o Dir::State::status=/dev/null -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$state/parts" \
        -o "APT::Architecture=$architecture" -o "APT::Architectures::=$architecture" -o APT::Sandbox::User=root "$@"
}

# Debian's Python of ARCHITECTURE, with the libraries it is linked with, in a folder of its own.
unpack() {
    local architecture=$1 root=$target/$1 names
    [ -e "$root/usr/bin/python3" ] && return 0
    rm -rf "$root" "$target/debs-$1"
    mkdir -p "$root" "$target/debs-$1"

    apt "$architecture" update
    mapfile -t names < <(apt "$architecture" -s --no-install-recommends install python3 2>/dev/null | sed -n 's/^Inst \([^ ]*\).*/\1/p')
    [ ${#names[@]} -gt 0 ] || { echo "Debian has no python3 for $architecture" >&2; exit 1; }
    (cd "$target/debs-$1" && apt "$architecture" download "${names[@]}")
    for package in "$target/debs-$1"/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --exclude=./dev
    done
    rm -rf "$target/debs-$1"
}

# A Python that is linked with musl: as much of it as is built without other libraries.
build_with_musl() {
    local sources=$target/musl-sources
    [ -x "$target/musl/python" ] && return 0
    rm -rf "$sources" "$target/musl"
    mkdir -p "$sources"
    apt amd64 update
    (cd "$sources" && apt amd64 source --tar-only python3.11 && tar -xzf python3.11_*.orig.tar.gz)

    # Its configure wants the name of the platform from a compiler that has Debian's.
    cat >"$sources/cc" <<'SH'
#!/bin/sh
[ "$1" != --print-multiarch ] || { echo x86_64-linux-musl; exit; }
exec musl-gcc "$@"
SH
    chmod +x "$sources/cc"
    (
        cd "$sources"/Python-3.11.*
        CC=$sources/cc CFLAGS="-O1 -g0" ./configure -q --without-ensurepip --disable-test-modules
        make -j2 -s python sharedmods
    ) >"$sources/log" 2>&1 || {
        tail "$sources/log" >&2
        exit 1
    }
    mv "$sources"/Python-3.11.* "$target/musl"
    rm -rf "$sources"
}

missing() {
    echo "$1 is missing; it is in Debian's $2" >&2
    exit 1
}

[ $# -gt 0 ] || { sed -n '2,/^$/p' "$0" >&2; exit 2; }
for wheel in "$@"; do
    case $wheel in
        *manylinux*_aarch64.whl) architecture=arm64 emulator=qemu-aarch64-static ;;
        *manylinux*_armv7l.whl) architecture=armhf emulator=qemu-arm-static ;;
        *musllinux*_x86_64.whl)
            command -v musl-gcc >/dev/null || missing musl-gcc musl-tools
            build_with_musl
            python3 python/try_wheel.py "$wheel" --with "$target/musl/python"
            continue
            ;;
        *)
            echo "$(basename "$wheel"): there is no Python for it here" >&2
            exit 1
            ;;
    esac
    command -v "$emulator" >/dev/null || missing "$emulator" qemu-user-static
    unpack "$architecture"
    python3 python/try_wheel.py "$wheel" --with "$emulator" -L "$target/$architecture" "$(readlink -f "$target/$architecture/usr/bin/python3")"
done
