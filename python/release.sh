#!/usr/bin/env bash
# Builds what is released of the Python package: the source distribution, checked by building from it,
# and wheels.
#
#   release.sh [OUT]                  source distribution and the wheel of this machine
#   TARGETS="..." release.sh [OUT]    those targets; each needs `rustup target add`, and Linux ones zig
#                                     (`pip install maturin[zig]`)
#   release.sh --matrix               prints the whole matrix
#
# One wheel serves all CPythons from 3.11 on (cp311-abi3). The free-threaded builds have a stable
# interface of their own from 3.15 on (cp315-abi3.abi3t): that wheel is built with FREE_THREADED set to
# such an interpreter.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
matrix=(
    x86_64-unknown-linux-gnu     # manylinux2014 (glibc 2.17), by zig
    aarch64-unknown-linux-gnu
    armv7-unknown-linux-gnueabihf
    x86_64-unknown-linux-musl    # musllinux_1_2
    aarch64-unknown-linux-musl
    x86_64-apple-darwin          # on a Mac
    aarch64-apple-darwin
)
if [ "${1:-}" = --matrix ]; then
    printf '%s\n' "${matrix[@]}"
    exit 0
fi
out=${1:-$here/dist}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check 'maturin[zig]>=1.16,<2'
maturin=$work/venv/bin/maturin
export PATH=$work/venv/bin:$PATH # zig is found through the environment's Python
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/../target}

CARGO_ENCODED_RUSTFLAGS=$(python3 "$here/backend.py" flags)
export CARGO_ENCODED_RUSTFLAGS

wheel() { # OPTION... : one release wheel, stripped, with its SBOM
    (cd "$here" && "$maturin" build --release --strip --out "$out" "$@")
}

rm -f "$out"/midge-*
(cd "$here" && "$maturin" sdist --out "$out")
if [ -n "${TARGETS:-}" ]; then
    for target in $TARGETS; do
        case $target in
            *-linux-gnu*) wheel --target "$target" --zig --compatibility manylinux2014 ;;
            *-linux-musl) wheel --target "$target" --zig --compatibility musllinux_1_2 ;;
            *) wheel --target "$target" ;;
        esac
    done
else
    wheel
fi
[ -z "${FREE_THREADED:-}" ] || wheel --interpreter "$FREE_THREADED" --no-default-features --features abi3t

python3 "$here/backend.py" clean "$out"/midge-*.whl

# The source distribution is what others build from: it has to work by itself.
python3 -m venv "$work/from-source"
CARGO_TARGET_DIR=$work/target "$work/from-source/bin/pip" install -q --disable-pip-version-check "$out"/midge-*.tar.gz
(cd / && "$work/from-source/bin/python" -c '
import midge
with midge.Broker() as broker:
    broker.publish("a", "b")
    assert broker.expect("a").text == "b"
print("the source distribution builds midge", midge.__version__)')

for file in "$out"/midge-*.whl; do
    size=$(stat -c %s "$file" 2>/dev/null || stat -f %z "$file")
    echo "$(basename "$file") $((size / 1024)) KiB"
    [ "$size" -lt 3000000 ] || { echo "larger than 3 MB" >&2; exit 1; }
    python3 -m zipfile -l "$file" | grep -q 'sboms/.*\.json' || { echo "without an SBOM" >&2; exit 1; }
    mkdir -p "$work/content" && python3 -m zipfile -e "$file" "$work/content"
    for path in "$(cd "$here/.." && pwd)" "${CARGO_HOME:-$HOME/.cargo}"; do
        if grep -rqF "$path" "$work/content"; then
            echo "$(basename "$file") has paths of this machine: $path" >&2
            exit 1
        fi
    done
    rm -r "$work/content"
done
