# Keeps the places of a build out of what is built; for sourcing, with the checkout in `root`. Cargo gets it
# by the environment, or by the arguments in `flags`.
# shellcheck shell=bash disable=SC2034 # flags is the script's

# Where it was built stays out of what is built. Flags of the caller come first.
registry=${CARGO_HOME:-$HOME/.cargo}
remaps=("--remap-path-prefix=$root=midge" "--remap-path-prefix=$registry=cargo"
    "--remap-path-prefix=$(rustc --print sysroot)=rust")
[ -z "${CARGO_TARGET_DIR:-}" ] || remaps+=("--remap-path-prefix=$CARGO_TARGET_DIR=target")
flags=()
if [ -n "${CARGO_ENCODED_RUSTFLAGS:-}" ]; then
    export CARGO_ENCODED_RUSTFLAGS
    for remap in "${remaps[@]}"; do CARGO_ENCODED_RUSTFLAGS+=$'\x1f'$remap; done
elif [ -n "${RUSTFLAGS:-}" ]; then
    CARGO_ENCODED_RUSTFLAGS=
    for flag in $RUSTFLAGS; do CARGO_ENCODED_RUSTFLAGS+=$flag$'\x1f'; done
    for remap in "${remaps[@]}"; do CARGO_ENCODED_RUSTFLAGS+=$remap$'\x1f'; done
    export CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\x1f'}
else
    # Joined with the flags of configuration files.
    list=$(printf '"%s",' "${remaps[@]}")
    flags=(--config "build.rustflags=[${list%,}]")
fi
