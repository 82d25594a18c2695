#!/usr/bin/env bash
# What the release of a target needs on a fresh machine of its workflow: the compiler, its targets, the
# tools of the system.
#
#   release/setup.sh TARGET
set -euo pipefail
target=$1
rustup toolchain install stable --profile minimal --component clippy,rustfmt
rustup default stable
rustup target add "$target"
case $target in
    *-apple-darwin) rustup target add x86_64-apple-darwin aarch64-apple-darwin ;; # the wheel is of both
    *-linux-*)
        packages=(python3 python3-venv musl-tools mosquitto-clients xz-utils binutils dpkg-dev)
        case $target in armv7-*) packages+=(gcc-arm-linux-gnueabihf qemu-user-static) ;; esac
        as_root=()
        [ "$(id -u)" -eq 0 ] || as_root=(sudo)
        ${as_root[@]+"${as_root[@]}"} apt-get update -qq
        DEBIAN_FRONTEND=noninteractive ${as_root[@]+"${as_root[@]}"} apt-get install -qq -y --no-install-recommends "${packages[@]}"
        ;;
esac
