#!/usr/bin/env bash
# midge.hpp in every version of C++, with g++ and clang++, with and without exceptions and RTTI, without
# a warning; what it does, under valgrind and with sanitizers; that all of the C interface is in it.
#   run.sh INCLUDE LIB OUT    headers and library as they were installed, and a directory to work in
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
include=$1
lib=$2
out=$3
mkdir -p "$out"
export LD_LIBRARY_PATH=$lib
# shellcheck source=tests/c/checks.sh
. "$root/tests/c/checks.sh"

# Functions of midge.h that another one of midge.hpp does better: by length, with options, as a snapshot.
superseded="midge_broker_clear_retained midge_broker_retained midge_broker_set_retained midge_broker_wait_subscribers
midge_bytes_copy midge_client_subscribe midge_client_unsubscribe midge_publish"
wrapped() {
    local symbol missing=0
    while read -r symbol; do
        grep -qw "$symbol" <<<"$superseded" && continue
        grep -qw "$symbol" "$include/midge.hpp" || { echo "$symbol is not in midge.hpp"; missing=1; }
    done <"$root/bindings/c/symbols.txt"
    return "$missing"
}
check "all of midge.h is wrapped" wrapped
# Each structure of midge::ev has its row in the table of docs/c.md, with all of its members.
tabled() {
    local name words row word missing=0 rows=0
    while read -r name words; do
        rows=$((rows + 1))
        [ -n "$words" ] || continue
        row=$(sed -n "s/^| .* | \(\`$name\`: .*\) |\$/\1/p" "$root/docs/c.md")
        for word in "$name" $words; do
            [[ $row == *"\`$word\`"* ]] || { echo "midge::ev::$name: $word is not in docs/c.md"; missing=1; }
        done
    done < <(awk '/^namespace ev \{/ { on = 1 } /^} \/\/ namespace ev/ { on = 0 }
        on && /^struct .* \{$/ { printf "%s", $2 }
        on && /^  [^\/ ]+ .*;$/ { sub(/^  [^ ]+/, ""); gsub(/[,;]/, ""); printf "%s", $0 }
        on && /^};$/ { print "" }' "$include/midge.hpp")
    [ "$rows" -gt 10 ] && [ "$missing" -eq 0 ]
}
check "the kinds of events stand in docs/c.md" tabled

printf '#include <midge.hpp>\n#include <midge.hpp>\nint main() { return 0; }\n' >"$out/plus.cpp"
strict=(-Wall -Wextra -Wpedantic -Wold-style-cast -Wconversion -Wsign-conversion -Wshadow -Wnon-virtual-dtor -Werror "-I$include" "-I$root/tests/cpp" -pthread)
too_old() { ! "$1" -std=c++14 "-I$include" -fsyntax-only "$out/plus.cpp" && grep -q 'midge.hpp needs C++17' "$out/log"; }
for compiler in g++ clang++; do
    command -v "$compiler" >/dev/null 2>&1 || { echo "skipped: $compiler is not installed"; continue; }
    check "an older $compiler is told" too_old "$compiler"
    for std in c++17 c++20 c++2b; do
        for plain in "" "-fno-exceptions -fno-rtti"; do
            # shellcheck disable=SC2086 # two words
            for source in "$out/plus.cpp" "$root/tests/cpp/midge.cpp" "$root/tests/cpp/probes.cpp"; do
                # What is linked below is compiled there.
                [[ "$source" != "$out/plus.cpp" && ("$std$plain" = c++20 || "$std$plain" = "c++17-fno-exceptions -fno-rtti") ]] && continue
                check "$(basename "$source") $compiler $std $plain" "$compiler" "-std=$std" "${strict[@]}" $plain -fsyntax-only "$source"
            done
        done
    done
    for program in midge probes; do
        build=("$compiler" -g "${strict[@]}" "$root/tests/cpp/$program.cpp" "-L$lib" -lmidge)
        check "link $program $compiler" "${build[@]}" -std=c++20 -o "$out/$program-$compiler"
        check "link $program $compiler without exceptions" "${build[@]}" -std=c++17 -fno-exceptions -fno-rtti -o "$out/$program-plain-$compiler"
        check "run $program $compiler" quiet "$out/$program-$compiler"
        check "run $program $compiler without exceptions" quiet "$out/$program-plain-$compiler"
    done
done
# With and without exceptions in one program: each does what it was compiled for.
printf '#include <midge.hpp>\nint plain() { return int(midge::broker::start("no://where").kind()); }\n' >"$out/plain.cpp"
cat >"$out/both.cpp" <<'END'
#include <midge.hpp>
int plain();
int main() {
  try {
    midge::broker::start("no://where").value();
  } catch (const midge::exception &e) {
    return plain() == int(e.error().kind()) ? 0 : 2;
  }
  return 1;
}
END
both() {
    g++ -std=c++17 "-I$include" -fno-exceptions -c "$out/plain.cpp" -o "$out/plain.o" &&
        g++ -std=c++17 "-I$include" "$out/plain.o" "$out/both.cpp" "-L$lib" -lmidge -o "$out/both" && quiet "$out/both"
}
check "with and without exceptions in one program" both
for program in midge probes; do
    if command -v valgrind >/dev/null 2>&1; then
        check "valgrind $program" timeout 600 valgrind -q --fair-sched=try --error-exitcode=9 --leak-check=full \
            --errors-for-leak-kinds=definite,indirect "$out/$program-g++"
    else
        echo "skipped: valgrind is not installed"
    fi
    # But for vptr: it makes a pipe to see whether memory can be read, and one test leaves no descriptor.
    check "link $program sanitizers" g++ -g -std=c++20 "${strict[@]}" -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all \
        "$root/tests/cpp/$program.cpp" "-L$lib" -lmidge -o "$out/$program-asan"
    check "run $program sanitizers" timeout 300 "$out/$program-asan"
done
echo "C++: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
