#!/usr/bin/env bash
# Windows (x86-64), built and run on Debian: the codec, the core, the test kit, the command, the C library;
# the module of the Python package is built and looked at.
#
#   tests/platforms/windows.sh [--build | NAME...]
#
# Builds for x86_64-pc-windows-gnu with Debian's compiler, which comes with the sources of its standard
# library, and runs the suites under Wine; --build builds only. NAMEs run alone: suites (such as v5 or
# midge_core), "command", "c" or "python". What needs Unix sockets or signals is left out by the tests
# themselves.
#
# Needs Debian's rustc-web, cargo-web, rust-web-src, gcc-mingw-w64-x86-64, g++-mingw-w64-x86-64-posix and
# wine64.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=x86_64-pc-windows-gnu
# shellcheck source=tests/platforms/debian.sh
. tests/platforms/debian.sh
need "rustc-web, cargo-web, rust-web-src, gcc-mingw-w64-x86-64, g++-mingw-w64-x86-64-posix and wine64" \
    x86_64-w64-mingw32-gcc x86_64-w64-mingw32-g++-posix wine
export PYO3_NO_PYTHON=1

# Not by default: suites that last minutes under Wine (traps, ordering, cost, differential, stress, memory).
wanted=" ${*:-midge_codec midge_core corpus packets strings tables slices midge_testkit core v3 v5 command c python} "
is_wanted() { [[ $wanted == *" $1 "* ]]; }

echo "building for $target"
cargo_for build "$target" -p midge-cli -p midge-python
said=$(cargo_for rustc "$target" -p midge-c --lib -- --print native-static-libs 2>&1) || {
    echo "$said"
    exit 1
}
built=$(cargo_for test "$target" --no-run --message-format=json -p midge-codec -p midge-core -p midge-testkit --lib --tests |
    sed -n 's/.*"executable":"\([^"]*\/deps\/[^"]*\)".*/\1/p')
[ "${1:-}" != --build ] || exit 0

debug=$CARGO_TARGET_DIR/$target/debug
out=$CARGO_TARGET_DIR/$target/tested
mkdir -p "$out"

# Wine 8 has no bcryptprimitives.dll, in which the standard library looks for random numbers.
cat >"$out/prng.c" <<'C'
#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) {
  return RtlGenRandom(data, (ULONG)length);
}
C
x86_64-w64-mingw32-gcc -shared -O2 -o "$out/bcryptprimitives.dll" "$out/prng.c" -ladvapi32
cp "$out/bcryptprimitives.dll" "$debug/deps/"
cp "$out/bcryptprimitives.dll" "$debug/"

export WINEDEBUG=-all WINEPREFIX=$CARGO_TARGET_DIR/wine
wine wineboot --init >/dev/null 2>&1

failed=0
run() {
    echo "== $1"
    shift
    "$@" || {
        echo "failed: $*"
        failed=1
    }
}

for executable in $built; do
    name=$(basename "$executable")
    name=${name%-*}
    is_wanted "$name" || continue
    # Each starts in the folder of its crate, as cargo does it; paths in the sources are absolute.
    run "$name" wine "$executable" --quiet
done

# The command says its version, refuses what Windows lacks in a sentence, and serves.
refused() {
    local said
    ! said=$(wine "$debug/midge.exe" serve --listen unix:///s 2>&1) || return 1
    [[ $said == *"this platform has no Unix sockets"* ]] || {
        echo "it says: $said"
        return 1
    }
}
# Ctrl-C stops it, as a console sends that: Wine makes one of a terminal.
interrupted() {
    x86_64-w64-mingw32-gcc -Wall -Wextra -Werror tests/platforms/interrupt.c -o "$out/interrupt.exe" || return 1
    local serve="serve --listen tcp://127.0.0.1:0 --print-url --log info"
    script -qec "wine '$out/interrupt.exe' '$debug/midge.exe' $serve" /dev/null </dev/null >"$out/interrupted" || return 1
    grep -q stopping "$out/interrupted"
}
if is_wanted command; then
    run "midge --version" wine "$debug/midge.exe" --version
    run "midge serve unix://" refused
    run "midge serve, Ctrl-C" interrupted
    run "midge exec" wine "$debug/midge.exe" exec -- "$debug/midge.exe" pub -t greeting -m hello
fi

# Names that a DLL exports, one a line.
exports() { x86_64-w64-mingw32-objdump -p "$1" | awk '/Ordinal\/Name Pointer/ { on = 1; next } !/\[/ { on = 0 } on { print $NF }'; }
# Other DLLs than those named that a DLL needs; an extended regular expression.
needs() { x86_64-w64-mingw32-objdump -p "$1" | sed -n 's/.*DLL Name: //p' | grep -viE "^($2)\$"; }
system='kernel32|ntdll|ws2_32|userenv|advapi32|msvcrt|bcryptprimitives|api-ms-win-[a-z0-9-]*'

symbols() { exports "$debug/midge.dll" | LC_ALL=C sort | diff - <(LC_ALL=C sort bindings/c/symbols.txt); }
stands_alone() { ! needs "$debug/midge.dll" "($system)\.dll"; }
# What the static library needs, as docs/c.md says and the compiler has to.
natives=(-lkernel32 -lntdll -luserenv -lws2_32 -ldbghelp)
documented() {
    grep -qx "note: native-static-libs: ${natives[*]}" <<<"$said" && grep -qF -- "${natives[*]}" docs/c.md
}
# program SOURCE KIND: compiles it in C or C++, links it to the library in one way, and runs it.
program() {
    local source=$1 kind=$2 executable
    local -a compiler=(x86_64-w64-mingw32-gcc -std=gnu11)
    local -a library=("$debug/libmidge.dll.a" -lws2_32)
    [[ $source != *.cpp ]] || compiler=(x86_64-w64-mingw32-g++-posix -std=c++17)
    [ "$kind" != static ] || library=(-DMIDGE_STATIC "$debug/libmidge.a" "${natives[@]}")
    executable=$out/$(basename "$source")-$kind.exe
    # The program's own parts stand in it: what it finds beside it is the library alone.
    "${compiler[@]}" -Wall -Wextra -Werror -O1 -Iinclude "$source" "${library[@]}" -static -lpthread -o "$executable" &&
        wine "$executable"
}
if is_wanted c; then
    cp "$debug/midge.dll" "$out/"
    run "symbols of midge.dll" symbols
    run "what midge.dll needs" stands_alone
    run "what libmidge.a needs" documented
    for source in tests/c/broker.c tests/c/contract.c tests/c/misuse.c tests/c/look.c tests/cpp/midge.cpp; do
        run "$source, midge.dll" program "$source" shared
    done
    for source in tests/c/broker.c tests/c/contract.c; do
        run "$source, static" program "$source" static
    done
fi

# The module exports what Python looks for, and needs the stable interface of Python alone.
module() {
    [ "$(exports "$debug/_midge.dll")" = PyInit__midge ] || return 1
    ! needs "$debug/_midge.dll" "($system|python3)\.dll" &&
        x86_64-w64-mingw32-objdump -p "$debug/_midge.dll" | grep 'DLL Name: python3\.dll' >/dev/null
}
if is_wanted python; then
    run "the module of the Python package" module
fi
[ "$failed" -eq 0 ]
