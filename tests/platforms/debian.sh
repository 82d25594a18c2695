# Debian's compiler, which comes with the sources of its standard library and so builds for any target; for
# sourcing in the root of the checkout.
# shellcheck shell=bash

export CARGO_TARGET_DIR=$PWD/target/platforms
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 CARGO_INCREMENTAL=0
# It is a stable one; to build the standard library it has to be told.
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
unset RUSTFLAGS RUSTC_WRAPPER CARGO_BUILD_TARGET

# need PACKAGES COMMAND...: ends the script where the compiler or a command is missing.
need() {
    local tool packages=$1
    shift
    for tool in /usr/bin/cargo /usr/bin/rustc "$@"; do
        command -v "$tool" >/dev/null || {
            echo "$tool is missing; this script needs Debian's $packages" >&2
            exit 1
        }
    done
}

# cargo COMMAND TARGET ARGUMENT...
cargo_for() {
    /usr/bin/cargo "$1" --quiet --locked -Zbuild-std=std,panic_unwind,test,proc_macro --target "$2" "${@:3}"
}
