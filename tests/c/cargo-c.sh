#!/usr/bin/env bash
# Installs the C library with cargo-c, as packagers of distributions do, and links a program with it.
# Not part of the gate: building cargo-c takes longer than all of it. Builds cargo-c where it is missing.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target="${CARGO_TARGET_DIR:-$root/target}"
out="$target/cargo-c"
rm -rf "$out"
mkdir -p "$out"
command -v cargo-cinstall >/dev/null || {
    cargo install --locked cargo-c --root "$target/tools"
    PATH="$target/tools/bin:$PATH"
}

cd "$root"
cargo cinstall -p midge-c --destdir="$out" --prefix=/usr --libdir=lib
readelf -d "$out/usr/lib/libmidge.so.0.1" | grep -q 'SONAME.*libmidge.so.0.1\]'
rustc --crate-type staticlib --edition 2024 -o "$out/libother.a" tests/c/other.rs
gcc tests/c/two.c "$out/libother.a" "-I$out/usr/include" "-L$out/usr/lib" -lmidge -o "$out/two"
LD_LIBRARY_PATH="$out/usr/lib" "$out/two"
echo "1 passed, 0 failed"
