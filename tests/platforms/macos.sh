#!/usr/bin/env bash
# macOS (ARM64 and x86-64): every crate is checked by the compiler, on Debian. Nothing is linked or run.
#
#   tests/platforms/macos.sh
#
# Needs Debian's rustc-web, cargo-web and rust-web-src: a compiler with the sources of its standard
# library.
set -euo pipefail
cd "$(dirname "$0")/../.."

export CARGO_TARGET_DIR=$PWD/target/platforms
export CARGO_INCREMENTAL=0 PYO3_NO_PYTHON=1
# Debian's compiler is a stable one; to build the standard library it has to be told.
export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
unset RUSTFLAGS RUSTC_WRAPPER CARGO_BUILD_TARGET

for tool in /usr/bin/cargo /usr/bin/rustc; do
    command -v "$tool" >/dev/null || {
        echo "$tool is missing; this script needs Debian's rustc-web, cargo-web and rust-web-src" >&2
        exit 1
    }
done

for target in aarch64-apple-darwin x86_64-apple-darwin; do
    echo "checking for $target"
    RUSTFLAGS="-D warnings" /usr/bin/cargo check --quiet --locked -Zbuild-std=std,panic_unwind,test,proc_macro \
        --target "$target" --workspace --lib --bins
done
