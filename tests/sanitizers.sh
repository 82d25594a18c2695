#!/usr/bin/env bash
# Runs the tests of the C library, which has `unsafe` code, with the address sanitizer. Needs a nightly
# compiler. The C suite (tests/c/run.sh) has sanitizers of its own on the side of C.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/sanitizer"
# A caught panic is not dropped, since that could panic again; leaks are looked for by the C suite.
export ASAN_OPTIONS=detect_leaks=0

# With --target, build scripts and macros are built without the sanitizer.
cargo +nightly test --target "$host" -p midge-codec -p midge-c --lib --tests
