# The tools of another target; for sourcing.
# shellcheck shell=bash

# What the names of the tools of a target begin with, where compilers have no other name for it.
cross_prefix() {
    local cpu system
    # aarch64-unknown-linux-gnu is aarch64-linux-gnu for compilers; some have names of their own.
    IFS=- read -r cpu _ system <<<"$1"
    case $cpu in armv7* | thumbv7*) cpu=arm ;; i[3-6]86) cpu=i686 ;; riscv64*) cpu=riscv64 ;; esac
    printf '%s-%s-\n' "$cpu" "$system"
}

# Cargo links with the compiler of a target, unless it has been told about the target itself: CC, or gcc with
# this prefix.
choose_linker() {
    local target=$1 cross=$2 variable linker=${CC:-}
    variable=${target^^}
    variable=CARGO_TARGET_${variable//[-.]/_}_LINKER
    if [ -z "$linker" ] && [ -n "$cross" ]; then linker=${cross}gcc; fi
    if [ -n "$linker" ] && [ -z "${!variable:-}" ]; then export "$variable=$linker"; fi
}
