# A compiler of rustup, with the standard library of another target; for sourcing in the root of the checkout.
# shellcheck shell=bash

export CARGO_TARGET_DIR=$PWD/target/platforms/rustup
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 CARGO_INCREMENTAL=0
unset RUSTC RUSTDOC RUSTC_BOOTSTRAP RUSTFLAGS RUSTC_WRAPPER CARGO_BUILD_TARGET

# Installs the standard library of a target where it is missing; ends the script where that cannot be had.
standard_library() {
    [ -z "$(find "$(rustc --print target-libdir --target "$1")" -name 'libstd-*' 2>/dev/null)" ] || return 0
    { command -v rustup >/dev/null && rustup target add "$1" >&2; } || {
        echo "there is no standard library for $1, and rustup cannot install it" >&2
        exit 77
    }
}

# cargo COMMAND TARGET ARGUMENT...
cargo_for() { cargo "$1" --quiet --locked --target "$2" "${@:3}"; }
