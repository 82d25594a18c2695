#!/usr/bin/env bash
# The command for Windows: midge-VERSION-TARGET.zip, the program with its licences.
#
#   release/windows.sh TARGET OUT
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1 out=$2
case $(uname -s) in MINGW* | MSYS*) python=python ;; *) python=python3 ;; esac
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

CARGO_ENCODED_RUSTFLAGS=$("$python" python/backend.py flags) CARGO_PROFILE_RELEASE_STRIP=symbols \
    cargo build --quiet --release --locked --target "$target" -p midge-cli
"$python" release/archive.py "$out/midge-$(release/version.sh)-$target" \
    "${CARGO_TARGET_DIR:-target}/$target/release/midge.exe" README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT
