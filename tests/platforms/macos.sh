#!/usr/bin/env bash
# macOS (ARM64 and x86-64): every crate is checked by the compiler, on Debian. Nothing is linked or run.
#
#   tests/platforms/macos.sh
#
# Needs Debian's rustc-web, cargo-web and rust-web-src: a compiler with the sources of its standard
# library.
set -euo pipefail
cd "$(dirname "$0")/../.."

# shellcheck source=tests/platforms/debian.sh
. tests/platforms/debian.sh
need "rustc-web, cargo-web and rust-web-src"
export PYO3_NO_PYTHON=1

for target in aarch64-apple-darwin x86_64-apple-darwin; do
    echo "checking for $target"
    RUSTFLAGS="-D warnings" cargo_for check "$target" --workspace --lib --bins
done
