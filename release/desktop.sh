#!/usr/bin/env bash
# The command and the C library for Windows and macOS, on such a machine: midge-VERSION-TARGET.zip or .tar.xz with
# programs, libraries, headers and licences. Linux has release/build.sh.
#
#   release/desktop.sh TARGET OUT
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1 out=$2
case $target in
    *-apple-darwin) python=python3 program=midge libraries="libmidge.dylib libmidge.a" ;;
    *-windows-msvc) python=python program=midge.exe libraries="midge.dll midge.dll.lib midge.lib" ;;
    *)
        echo "desktop.sh: $target is neither Windows nor macOS" >&2
        exit 2
        ;;
esac
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
CARGO_ENCODED_RUSTFLAGS=$("$python" python/backend.py flags)
export SOURCE_DATE_EPOCH CARGO_ENCODED_RUSTFLAGS CARGO_PROFILE_RELEASE_STRIP=debuginfo
cargo build --quiet --release --locked --target "$target" -p midge-cli -p midge-c
built=${CARGO_TARGET_DIR:-target}/$target/release

# Programs find it beside them, or where they say, instead of where it was built.
case $target in *-apple-darwin) install_name_tool -id @rpath/libmidge.dylib "$built/libmidge.dylib" ;; esac

# On Windows a program looks for libraries beside itself.
case $target in *-windows-*) programs= ;; *) programs=bin/ ;; esac
files=("$programs$program=$built/$program")
for library in $libraries; do
    case $library in
        *.dll) files+=("$library=$built/$library") ;;
        *) files+=("lib/$library=$built/$library") ;;
    esac
done
for file in include/midge.h include/midge.hpp README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT; do
    files+=("$file=$file")
done
"$python" release/archive.py "$out/midge-$(release/version.sh)-$target" "${files[@]}"

# What was packed says its version.
said=$("$built/$program" --version)
[ "$said" = "midge $(release/version.sh)" ] || { echo "the command says $said" >&2; exit 1; }
