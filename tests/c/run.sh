#!/usr/bin/env bash
# Builds the C library and tests it with gcc, clang and valgrind.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target="${CARGO_TARGET_DIR:-$root/target}"
out="$target/c-tests"
mkdir -p "$out"
passed=0
failed=0
check() {
    local name=$1
    shift
    if "$@" >"$out/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        cat "$out/log"
    fi
}

cargo build -q -p midge-c --manifest-path "$root/Cargo.toml" || exit 1

# The header alone and twice, in every language version.
printf '#include <midge.h>\n#include <midge.h>\nint main(void) { return 0; }\n' >"$out/header.c"
cp "$out/header.c" "$out/header.cpp"
warnings=(-Wall -Wextra -pedantic -Werror "-I$root/include" -fsyntax-only)
for std in c99 c11 c17; do
    for cc in gcc clang; do
        check "header $cc $std" "$cc" "-std=$std" "${warnings[@]}" "$out/header.c"
    done
done
for std in c++11 c++14 c++17 c++20; do
    for cc in g++ clang++; do
        check "header $cc $std" "$cc" "-std=$std" "${warnings[@]}" "$out/header.cpp"
    done
done

# Shared and static, under valgrind.
flags=(-std=c11 -D_GNU_SOURCE -g -Wall -Wextra -Werror "-I$root/include" "$root/tests/c/broker.c" -pthread)
check "link shared" gcc "${flags[@]}" "-L$target/debug" -lmidge "-Wl,-rpath,$target/debug" -o "$out/shared"
check "link static" gcc "${flags[@]}" "$target/debug/libmidge.a" -lm -ldl -o "$out/static"
for program in shared static; do
    check "run $program" timeout 120 "$out/$program"
    grep -E 'passed,' "$out/log" || true
done
check "valgrind" timeout 300 valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect "$out/shared" no-fork
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
