#!/usr/bin/env bash
# Windows (x86-64), built and run on Debian: the codec, the core, the test kit and the command.
#
#   tests/platforms/windows.sh [--build | SUITE...]
#
# Builds for x86_64-pc-windows-gnu with Debian's compiler, which comes with the sources of its standard
# library, and runs the suites under Wine; --build builds only, SUITEs (such as v5 or midge_core) run
# alone. What needs Unix sockets or signals is left out by the tests themselves.
#
# Needs Debian's rustc-web, cargo-web, rust-web-src, gcc-mingw-w64-x86-64 and wine64.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=x86_64-pc-windows-gnu
# shellcheck source=tests/platforms/debian.sh
. tests/platforms/debian.sh
need "rustc-web, cargo-web, rust-web-src, gcc-mingw-w64-x86-64 and wine64" x86_64-w64-mingw32-gcc wine

echo "building for $target"
cargo_for build "$target" -p midge-cli
built=$(cargo_for test "$target" --no-run --message-format=json -p midge-codec -p midge-core -p midge-testkit --lib --tests |
    sed -n 's/.*"executable":"\([^"]*\/deps\/[^"]*\)".*/\1/p')
[ "${1:-}" != --build ] || exit 0

# Wine 8 has no bcryptprimitives.dll, in which the standard library looks for random numbers.
deps=$CARGO_TARGET_DIR/$target/debug/deps
cat >"$deps/prng.c" <<'C'
#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) {
  return RtlGenRandom(data, (ULONG)length);
}
C
x86_64-w64-mingw32-gcc -shared -O2 -o "$deps/bcryptprimitives.dll" "$deps/prng.c" -ladvapi32
cp "$deps/bcryptprimitives.dll" "$CARGO_TARGET_DIR/$target/debug/"

export WINEDEBUG=-all WINEPREFIX=$CARGO_TARGET_DIR/wine
wine wineboot --init >/dev/null 2>&1

failed=0
run() {
    echo "== $1"
    shift
    "$@" || failed=1
}

# Not by default: suites that last minutes under Wine (traps, ordering, cost, differential, stress, memory).
default="midge_codec midge_core corpus packets strings tables slices midge_testkit core v3 v5"
suites=("$@")
for executable in $built; do
    name=$(basename "$executable")
    name=${name%-*}
    case " ${suites[*]:-$default} " in *" $name "*) ;; *) continue ;; esac
    # Each starts in the folder of its crate, as cargo does it; paths in the sources are absolute.
    run "$name" wine "$executable" --quiet
done

# The command says its version, refuses what Windows lacks in a sentence, and serves.
command=$CARGO_TARGET_DIR/$target/debug/midge.exe
if [ ${#suites[@]} -eq 0 ]; then
    run "midge --version" wine "$command" --version
    echo "== midge serve unix://"
    refused=$(wine "$command" serve --listen unix:///s 2>&1) && failed=1
    [[ $refused == *"not supported on this platform"* ]] || {
        echo "it says: $refused"
        failed=1
    }
    run "midge exec" wine "$command" exec -- "$command" pub -t greeting -m hello
fi
exit "$failed"
