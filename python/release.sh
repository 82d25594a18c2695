#!/usr/bin/env bash
# Builds what is released of the Python package, audits it and tries it.
#
#   release.sh                 the source distribution and the wheel of this machine
#   release.sh sdist           the source distribution, built again with no network
#   release.sh wheel TARGET... wheels for these targets
#   release.sh audit FILE...   audits distributions that are there
#   release.sh test WHEEL      runs the tests of the Python package with a wheel, on this machine
#   release.sh --matrix        prints the targets there are
#
# OUT (default python/dist) is where files go; what is there of other targets stays. A target needs
# `rustup target add TARGET`; those of Linux are linked by zig, which comes from PyPI, against the oldest
# C library that they serve.
#
# One wheel of a target serves all CPythons from 3.11 on (cp311-abi3), and one each of FREE_THREADED
# (default 3.14t; empty for none) the free-threaded ones, which have a stable interface from 3.15 on only.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
matrix=(
    x86_64-unknown-linux-gnu # manylinux_2_17
    aarch64-unknown-linux-gnu
    armv7-unknown-linux-gnueabihf
    x86_64-unknown-linux-musl # musllinux_1_2
    aarch64-unknown-linux-musl
    universal2-apple-darwin # on a Mac
    x86_64-pc-windows-msvc  # on Windows
    aarch64-pc-windows-msvc
)
out=${OUT:-$here/dist}
mkdir -p "$out"
out=$(cd "$out" && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case $(uname -s) in
    MINGW* | MSYS*) bin=Scripts python=python ;;
    *) bin=bin python=python3 ;;
esac

# The tools, in an environment of their own that is made once for their versions.
tools() {
    local venv=$target/python-release
    if ! cmp -s "$here/release-requirements.txt" "$venv/requirements.txt"; then
        rm -rf "$venv"
        "$python" -m venv "$venv"
        "$venv/$bin/pip" install -q --disable-pip-version-check -r "$here/release-requirements.txt"
        cp "$here/release-requirements.txt" "$venv/requirements.txt"
    fi
    PATH=$venv/$bin:$PATH # zig is found through the environment's Python
    python=$venv/$bin/python
}

build() { # INTERPRETER OPTION... : a release wheel, stripped, without paths of this machine, tried by INTERPRETER
    local with=$1 made=$target/python-wheel name required=()
    shift
    rm -rf "$made"
    (
        cd "$here"
        CARGO_ENCODED_RUSTFLAGS=$("$python" backend.py flags) CARGO_TARGET_DIR=$target \
            maturin build --quiet --release --strip --locked --out "$made" "$@"
    )

    command -v "$with" >/dev/null || with=$python
    [ "$with" != "$python" ] || [ "$2" != "$(host)" ] || [[ " $* " = *" --interpreter "* ]] || required=(--required)
    for name in "$made"/*.whl; do
        "$python" "$here/backend.py" clean "$name"
        "$python" "$here/audit.py" "$name"
        "$with" "$here/try_wheel.py" ${required[@]+"${required[@]}"} "$name"
        mv "$name" "$out"
    done
}

wheels() { # TARGET : its wheel for the stable interface, and those that need their own
    local options=(--target "$1") version
    case $1 in
        *-linux-gnu*) options+=(--zig --compatibility manylinux_2_17) ;;
        *-linux-musl*) options+=(--zig --compatibility musllinux_1_2) ;;
    esac
    build "$python" "${options[@]}"
    for version in ${FREE_THREADED-3.14t}; do
        build "python$version" "${options[@]}" --interpreter "python$version" --no-default-features
    done
}

# What others build from has to work by itself: here with the crates beside it and no network at all.
sdist() {
    rm -f "$out"/midge-*.tar.gz
    (cd "$here" && maturin sdist --out "$out" >&2)
    "$python" "$here/audit.py" "$out"/midge-*.tar.gz

    local without=() offline="with an unreachable proxy"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    tar -xzf "$out"/midge-*.tar.gz -C "$work"
    (
        cd "$work"/midge-*
        mkdir .cargo
        # Not --locked: Cargo.lock still has what is left out of a source distribution.
        cargo vendor --quiet --versioned-dirs vendor >.cargo/config.toml
    )

    if unshare -rn true 2>/dev/null; then
        without=(unshare -rn)
        offline="in a network namespace of its own"
    fi
    local from=$work/venv
    "$python" -m venv "$from"
    "$from/$bin/pip" install -q --disable-pip-version-check "$(grep '^maturin==' "$here/release-requirements.txt")"
    (
        cd "$work"/midge-*
        export PATH=$from/$bin:$PATH CARGO_NET_OFFLINE=true CARGO_TARGET_DIR=$work/target
        export http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9
        ${without[@]+"${without[@]}"} "$from/$bin/pip" install -q --disable-pip-version-check --no-index --no-deps --no-build-isolation .
    )
    "$from/$bin/python" "$here/try_wheel.py" --installed

    # Where there is no Rust, it says so instead of a trace.
    local said
    said=$(PATH=$from/$bin:/usr/bin:/bin CARGO=no-cargo "$from/$bin/pip" install --disable-pip-version-check --no-index --no-deps \
        --no-build-isolation --target "$work/nothing" "$out"/midge-*.tar.gz 2>&1) && { echo "it builds without cargo" >&2; exit 1; }
    if ! grep -q "midge is built from source here, which needs Rust" <<<"$said" || grep -q Traceback <<<"$said"; then
        printf 'without Rust it says:\n%s\n' "$said" >&2
        exit 1
    fi
    echo "the source distribution builds midge $offline"
}

# The tests of the package with a wheel as it is released.
tests() { # WHEEL
    local venv=$target/python-wheel-tests wheel
    wheel=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/$bin/pip" install -q --disable-pip-version-check -r "$root/tests/python/requirements.txt"
    "$venv/$bin/pip" install -q --disable-pip-version-check --no-index --no-deps "$wheel"
    (
        cd "$root/tests/python"
        MIDGE_ROOT=$root MIDGE_WHEEL=$wheel "$venv/$bin/python" -m pytest -q --timeout 60 --doctest-modules --pyargs midge .
    )
}

host() {
    rustc -vV | sed -n 's/^host: //p'
}

case ${1:-} in
    --matrix) printf '%s\n' "${matrix[@]}" ;;
    sdist)
        tools
        sdist
        ;;
    wheel)
        [ $# -gt 1 ] || { echo "usage: release.sh wheel TARGET..." >&2; exit 2; }
        tools
        for each in "${@:2}"; do
            wheels "$each"
        done
        ;;
    audit)
        tools
        "$python" "$here/audit.py" "${@:2}"
        ;;
    test)
        tools
        tests "$2"
        ;;
    "")
        tools
        sdist
        wheels "$(host)"
        ;;
    *)
        echo "usage: release.sh [sdist | wheel TARGET... | audit FILE... | test WHEEL | --matrix]" >&2
        exit 2
        ;;
esac
