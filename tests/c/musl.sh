#!/usr/bin/env bash
# Builds and installs the C library for a musl target, links a program with it that needs nothing else, and
# runs it. It needs musl-gcc, and Rust's standard library for that target, which rustup installs: Debian's
# compiler has none. Without either it says so and gives 77.
#
#   tests/c/musl.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
out="${CARGO_TARGET_DIR:-$root/target}/c-musl"
musl=$(uname -m)-unknown-linux-musl
rm -rf "$out"
mkdir -p "$out"
command -v musl-gcc >/dev/null || { echo "musl-gcc is missing: install musl-tools" >&2; exit 77; }
if [ -z "$(find "$(rustc --print target-libdir --target "$musl")" -name 'libstd-*' 2>/dev/null)" ]; then
    command -v rustup >/dev/null || { echo "there is no standard library for $musl, and no rustup" >&2; exit 77; }
    rustup target add "$musl"
fi

DESTDIR="$out" PREFIX=/opt/midge PROFILE=dev CC=musl-gcc CARGO_BUILD_TARGET=$musl "$root/bindings/c/install.sh"
flags=$(PKG_CONFIG_PATH=$out/opt/midge/lib/pkgconfig pkg-config --static --cflags --libs midge)
# shellcheck disable=SC2086 # several words
musl-gcc -static -std=c11 -D_GNU_SOURCE "-I$root/tests/c" "$root/tests/c/broker.c" $flags -o "$out/broker"
timeout 300 "$out/broker"
