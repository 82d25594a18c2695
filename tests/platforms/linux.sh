#!/usr/bin/env bash
# Linux on other processors and with musl, built on Debian and run under QEMU: the Rust suites, the
# command, and the contract of the C library.
#
#   tests/platforms/linux.sh [--build] [TARGET...] [-- SUITE...]
#
# Builds for each TARGET (without one: for all of them) and runs what was built; --build builds only.
# SUITEs run alone: those of Rust by their names (midge_core, v5, handle), `command` for the command, `c` for
# all programs of the C library and `c:broker` for one of them.
#
#   aarch64-unknown-linux-gnu   armv7-unknown-linux-gnueabihf    riscv64gc-unknown-linux-gnu
#   x86_64-unknown-linux-musl   aarch64-unknown-linux-musl       armv7-unknown-linux-musleabihf
#
# For gnu it takes Debian's compiler, which comes with the sources of its standard library (rustc-web,
# cargo-web, rust-web-src), and the C compiler of the target, such as gcc-aarch64-linux-gnu. For musl
# rustup installs the standard library, which brings what a static program is linked with. Other processors
# need qemu-user-static.
set -euo pipefail
cd "$(dirname "$0")/../.."

all=(aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf riscv64gc-unknown-linux-gnu
    x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf)
# Not by default: suites that last long under emulation (packets, traps, ordering, cost, differential, stress,
# memory, large), and fairness, which counts turns of a machine that has two processors.
default=(midge_codec midge_core midge_testkit midge corpus strings tables slices core v3 v5
    handle listeners ends errors extremes reentry sink store threads command c)
programs=(broker misuse garbage contract look guest signals process left)

is_in() {
    local wanted=$1 word
    shift
    for word in "$@"; do [ "$word" != "$wanted" ] || return 0; done
    return 1
}

build_only=
targets=()
suites=()
while [ $# -gt 0 ]; do
    case $1 in
        --build) build_only=1 ;;
        --)
            shift
            suites=("$@")
            break
            ;;
        -h | --help)
            sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'
            exit
            ;;
        *)
            is_in "$1" "${all[@]}" || {
                echo "linux.sh: there is no target $1. There is: ${all[*]}" >&2
                exit 2
            }
            targets+=("$1")
            ;;
    esac
    shift
done
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")
[ ${#suites[@]} -gt 0 ] || suites=("${default[@]}")

# Which of the suites stand where.
libraries=()
tests=()
contract=()
packages=()
for suite in "${suites[@]}"; do
    case $suite in
        command) continue ;;
        c) contract=("${programs[@]}") && continue ;;
        c:*)
            is_in "${suite#c:}" "${programs[@]}" || { echo "linux.sh: there is no program $suite" >&2; exit 2; }
            contract+=("${suite#c:}")
            continue
            ;;
    esac
    if [ -d "crates/${suite//_/-}" ]; then
        libraries+=(-p "${suite//_/-}")
        continue
    fi
    file=$(compgen -G "crates/*/tests/$suite.rs" || compgen -G "crates/*/tests/$suite/main.rs") ||
        { echo "linux.sh: there is no suite $suite" >&2; exit 2; }
    package=${file#crates/}
    packages+=(-p "${package%%/*}")
    tests+=(--test "$suite")
done

# Tells cargo how programs of a target are linked, and sets how they are run: `cargo_for`, `c_compiler`, `emulator`.
tools_for() {
    local cpu=${target%%-*} gnu
    case $cpu in
        x86_64) emulator=() ;;
        armv7) emulator=(qemu-arm-static) ;;
        riscv64gc) emulator=(qemu-riscv64-static) ;;
        *) emulator=("qemu-$cpu-static") ;;
    esac
    local variable=${target^^}
    variable=CARGO_TARGET_${variable//-/_}_LINKER

    if [[ $target = *-musl* ]]; then
        # shellcheck source=tests/platforms/rustup.sh
        . tests/platforms/rustup.sh
        standard_library "$target"
        c_compiler=()
        export "$variable=rust-lld"
    else
        # shellcheck source=tests/platforms/debian.sh
        . tests/platforms/debian.sh
        case $cpu in
            armv7) gnu=arm-linux-gnueabihf ;;
            riscv64gc) gnu=riscv64-linux-gnu ;;
            *) gnu=$cpu-linux-gnu ;;
        esac
        need "rustc-web, cargo-web, rust-web-src, qemu-user-static and gcc-$gnu" "$gnu-gcc" "${emulator[0]}"
        c_compiler=("$gnu-gcc" -std=c11 -D_GNU_SOURCE -g -Wall -Wextra -Werror -pthread -Itests/c -Iinclude)
        emulator+=(-L "/usr/$gnu")
        export "$variable=$gnu-gcc"
    fi
    [ ${#emulator[@]} -eq 0 ] || command -v "${emulator[0]}" >/dev/null ||
        { echo "${emulator[0]} is missing; this script needs Debian's qemu-user-static" >&2; exit 1; }
    debug=$CARGO_TARGET_DIR/$target/debug
}

build() {
    built=
    if [ ${#libraries[@]} -gt 0 ]; then
        built+=$(cargo_for test "$target" --no-run --message-format=json "${libraries[@]}" --lib | executables)$'\n'
    fi
    if [ ${#tests[@]} -gt 0 ]; then
        built+=$(cargo_for test "$target" --no-run --message-format=json "${packages[@]}" "${tests[@]}" | executables)
    fi
    ! is_in command "${suites[@]}" || cargo_for build "$target" -p midge-cli
    [ ${#contract[@]} -eq 0 ] || cargo_for build "$target" -p midge-c
}
executables() { sed -n 's/.*"executable":"\([^"]*\/deps\/[^"]*\)".*/\1/p'; }

# A panic that a test wants is not traced: that takes longer than the test waits, under emulation.
export RUST_BACKTRACE=0
# A program that starts itself again starts for the processor of this machine.
left_out=(--skip many_brokers_come_and_go_without_a_trace)
failed=0
run() {
    echo "== $target: $1"
    shift
    timeout 900 "$@" || {
        echo "FAILED: it gave $?"
        failed=1
    }
}

# The contract of the C library, shared; what valgrind and sanitizers say of it does not depend on the processor.
run_contract() {
    local out=$CARGO_TARGET_DIR/$target/c program source
    mkdir -p "$out"
    cp "$debug/libmidge.so" "$out/"
    ln -sf libmidge.so "$out/$(readelf -d "$out/libmidge.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')"
    python3 tests/c/garbage.py include/midge.h bindings/c/symbols.txt >"$out/garbage.c"

    # What it says of structures is for addresses of 64 bits.
    [[ $target = arm* ]] || "${c_compiler[@]}" -c tests/c/layout.c -o "$out/layout.o"
    for program in "${contract[@]}"; do
        source=tests/c/$program.c
        [ "$program" != garbage ] || source=$out/garbage.c
        "${c_compiler[@]}" "$source" "-L$out" -lmidge -o "$out/$program"
        run "c:$program" "${emulator[@]}" -E "LD_LIBRARY_PATH=$out" "$out/$program"
    done
}

# A port of its own, and what one client sends comes to another.
run_command() {
    local midge=("${emulator[@]}" "$debug/midge") url said server
    run "midge --version" "${midge[@]}" --version

    echo "== $target: midge serve"
    said=$(mktemp)
    "${midge[@]}" serve --log off --print-url --listen tcp://127.0.0.1:0 >"$said" &
    server=$!
    url=$(timeout 120 tail -n +1 -F --pid "$server" "$said" 2>/dev/null | head -n 1) || true
    "${midge[@]}" pub --url "$url" -t kept -m hello -r || failed=1
    [ "$("${midge[@]}" sub --url "$url" -t kept -C 1)" = hello ] || failed=1
    kill "$server"
    wait "$server" || failed=1
    rm "$said"
}

for target in "${targets[@]}"; do
    echo "building for $target"
    tools_for
    build
    [ -z "$build_only" ] || continue
    for executable in $built; do
        name=$(basename "$executable")
        name=${name%-*}
        run "$name" "${emulator[@]}" "$executable" --quiet "${left_out[@]}"
    done
    ! is_in command "${suites[@]}" || run_command
    [ ${#contract[@]} -eq 0 ] || [ ${#c_compiler[@]} -eq 0 ] || run_contract
done
exit "$failed"
