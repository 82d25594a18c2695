#!/usr/bin/env bash
# Builds and installs the C library and tests what was installed: headers, linking in every way,
# the contract of midge.h, midge.hpp, the examples; with gcc, clang, valgrind and sanitizers.
#
#   run.sh            everything, as the gate does
#   run.sh NAME...    some of it: a program (broker), a program in another way (broker:valgrind), a group (cmake)
#   run.sh --list     the names that there are
#
# For programs alone nothing is installed: they are linked to what `cargo build` makes, as `cargo test` does.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target="${CARGO_TARGET_DIR:-$root/target}"
out="$target/c-tests"

# The programs of the contract, which are linked in every way, and those of midge.hpp, which
# tests/cpp/run.sh compiles in every version of C++.
programs=(broker misuse garbage contract look guest signals process left polled)
plus_programs=(midge probes)
ways=(shared pkg static valgrind sanitizers)
# What else there is (groups.sh), in the order in which the gate runs it.
groups=(target interface header programs cpp cargo cmake unload allocations memory static install valgrind races sanitizers examples musl left_out hot)

is_in() {
    local wanted=$1 word
    shift
    for word in "$@"; do [ "$word" != "$wanted" ] || return 0; done
    return 1
}
is_known() {
    if is_in "${1%%:*}" "${programs[@]}" "${plus_programs[@]}"; then
        [ "$1" = "${1%%:*}" ] || is_in "${1#*:}" "${ways[@]}"
    else
        is_in "$1" "${groups[@]}"
    fi
}
list() {
    echo "programs   ${programs[*]} ${plus_programs[*]}"
    echo "ways       ${ways[*]}    (as in broker:valgrind; without one: shared)"
    echo "groups     ${groups[*]}"
}
# shellcheck source=tests/arguments.sh
. "$root/tests/arguments.sh"
for name in "${names[@]}"; do
    is_known "$name" || {
        echo "run.sh: nothing is called $name. There is:"
        list
        exit 2
    } >&2
done
[ ${#names[@]} -gt 0 ] || rm -rf "$out"
mkdir -p "$out"

# shellcheck source=tests/c/checks.sh
. "$root/tests/c/checks.sh"
# A tool that is missing is told, and fails in the gate.
skip() {
    echo "skipped: $1 is not installed"
    [ "${CI:-}" != true ] || failed=$((failed + 1))
}
has() { command -v "$1" >/dev/null 2>&1; }
# Before 1.0 each minor version is an interface of its own, for the loader and for CMake.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
IFS=. read -r major minor _ <<<"$version"
if [ "$major" -eq 0 ]; then interface=0.$minor; else interface=$major; fi

# The library as it is built for tests of Rust, where the loader finds it.
build() {
    (cd "$root" && cargo build -q -p midge-c) || exit 1
    lib=$out/built
    include=$root/include
    mkdir -p "$lib"
    ln -sf "$target/debug/libmidge.so" "$lib/libmidge.so"
    ln -sf libmidge.so "$lib/libmidge.so.$interface"
    export LD_LIBRARY_PATH=$lib
}

# Built as for another target, with tools that leave a note when they are called; installed below $out.
install_all() {
    local tool
    host=$(rustc -vV | sed -n 's/^host: //p')
    rm -rf "$out/tools" "$out/root" "$out/used"
    mkdir "$out/tools"
    for tool in ld ar nm objcopy gcc; do
        printf '#!/bin/sh\necho %s >>"%s"\nexec "%s" "$@"\n' "$tool" "$out/used" "$(command -v "$tool")" >"$out/tools/other-$tool"
        printf '#!/bin/sh\necho "the host'"'"'s %s was called" >&2\nexit 1\n' "$tool" >"$out/tools/$tool"
    done
    cp "$out/tools/ld" "$out/tools/ld.bfd"
    rm "$out/tools/gcc"
    chmod +x "$out"/tools/*
    # The compiler looks for its own linker on the search path last.
    crossed=(env "PATH=$out/tools:$PATH" "COMPILER_PATH=$(dirname "$(command -v ld)")" "CARGO_BUILD_TARGET=$host" CROSS_COMPILE=other-)
    DESTDIR="$out/root" PREFIX=/opt/midge PROFILE=dev "${crossed[@]}" "$root/bindings/c/install.sh" || exit 1

    lib=$out/root/opt/midge/lib
    include=$out/root/opt/midge/include
    export LD_LIBRARY_PATH=$lib PKG_CONFIG_PATH=$lib/pkgconfig
    if has pkg-config; then
        read -ra pkg_shared <<<"$(pkg-config --cflags --libs midge)"
        read -ra pkg_static <<<"$(pkg-config --static --cflags --libs midge)"
    else
        skip pkg-config
        pkg_shared=("-I$include" "-L$lib" -lmidge)
        read -ra pkg_static <<<"${pkg_shared[*]} $(sed -n 's/^Libs.private: //p' "$lib/pkgconfig/midge.pc")"
    fi
}

c=(gcc -std=c11 -D_GNU_SOURCE -g -Wall -Wextra -Werror -pthread "-I$root/tests/c")
plus=(g++ -std=c++20 -g -Wall -Wextra -Werror -pthread "-I$root/tests/cpp")
sanitize=("-fsanitize=address,undefined" -fno-sanitize-recover=all)
grind=(timeout 600 valgrind -q --fair-sched=try --error-exitcode=9 --leak-check=full "--errors-for-leak-kinds=definite,indirect")
finds() { ! timeout 60 "$@" && grep -qE 'definitely lost|LeakSanitizer|heap-buffer-overflow|Invalid write' "$out/log"; }

# Every wrong argument that there can be, made of the header.
garbage() { python3 "$root/tests/c/garbage.py" "$include/midge.h" "$root/bindings/c/symbols.txt" >"$out/garbage.c"; }

# Links a program in one way, once.
declare -A linked=()
link() {
    local program=$1 way=$2 source=$root/tests/c/$1.c compiler=("${c[@]}") with=("-I$include" "-L$lib" -lmidge)
    [ -z "${linked[$program-$way]:-}" ] || return 0
    linked[$program-$way]=1
    if is_in "$program" "${plus_programs[@]}"; then
        source=$root/tests/cpp/$program.cpp
        compiler=("${plus[@]}")
    fi
    if [ "$program" = garbage ]; then
        source=$out/garbage.c
        check "make garbage" garbage
    fi

    case $way in
        pkg) with=("${pkg_shared[@]}") ;;
        static) with=("${pkg_static[@]/-lmidge/$lib/libmidge.a}") ;;
        sanitizers)
            with+=("${sanitize[@]}")
            # But for vptr: it makes a pipe to see whether memory can be read, and one test leaves no descriptor.
            ! is_in "$program" "${plus_programs[@]}" || with+=(-fno-sanitize=vptr)
            ;;
    esac
    check "link $program $way" "${compiler[@]}" "$source" "${with[@]}" -o "$out/$program-$way"
}

# Runs a program in one way.
one() {
    local program=$1 way=$2 more=()
    case $way in
        valgrind)
            has valgrind || { skip valgrind; return; }
            [ "$program" != guest ] || more=(20)
            link "$program" shared
            check "valgrind $program" "${grind[@]}" "$out/$program-shared" "${more[@]}"
            ;;
        sanitizers)
            is_in "$program" "${plus_programs[@]}" || more=(100)
            link "$program" sanitizers
            check "run $program sanitizers" timeout 300 "$out/$program-sanitizers" "${more[@]}"
            ;;
        *)
            link "$program" "$way"
            check "run $program $way" quiet "$out/$program-$way"
            ;;
    esac
}

# shellcheck source=tests/c/groups.sh
. "$root/tests/c/groups.sh"

# Whether all that is asked for does without an installation.
is_quick() {
    [ ${#names[@]} -gt 0 ] || return 1
    for name in "${names[@]}"; do
        is_in "${name%%:*}" "${programs[@]}" "${plus_programs[@]}" || return 1
        case $name in *:pkg | *:static) return 1 ;; esac
    done
}
if is_quick; then build; else install_all; fi
[ ${#names[@]} -gt 0 ] || names=("${groups[@]}")
for name in "${names[@]}"; do
    if is_in "$name" "${groups[@]}"; then
        "group_$name"
    elif [ "$name" = "${name%%:*}" ]; then
        one "$name" shared
    else
        one "${name%%:*}" "${name#*:}"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
