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
        packages=(musl-tools xz-utils binutils)
        case $target in armv7-*) packages+=(gcc-arm-linux-gnueabihf qemu-user-static) ;; esac
        sudo apt-get update -qq
        sudo apt-get install -qq -y --no-install-recommends "${packages[@]}"
        ;;
esac
