#!/usr/bin/env bash
# Checks everything that is published with the oldest compiler that Cargo.toml promises (rust-version),
# or with the toolchain that is named. Installs it by rustup where it is missing; where it cannot be had, it
# says so and gives 77.
#
#   tests/msrv.sh [TOOLCHAIN]
set -euo pipefail
cd "$(dirname "$0")/.."
toolchain=${1:-$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)}
[ -n "$toolchain" ] || { echo "Cargo.toml names no rust-version" >&2; exit 1; }
rustup run "$toolchain" rustc --version 2>/dev/null || rustup toolchain install "$toolchain" --profile minimal || {
    echo "the compiler $toolchain cannot be had here" >&2
    exit 77
}

# Tests may use more than the oldest compiler has; what is published may not.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/msrv"
cargo "+$toolchain" check --locked --workspace --exclude midge-testkit --all-features
echo "builds with $toolchain"
