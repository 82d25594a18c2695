#!/usr/bin/env bash
# The binary interface that midge.h describes, against the description that is committed.
#   abi.sh INCLUDE          compares; says what has changed, and fails
#   abi.sh INCLUDE --save   writes bindings/c/abi.xml anew
# The header is compiled into a library of empty functions, so that the description has exactly what
# C programs see, and nothing of how it is done.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
    echo '#include <midge.h>'
    gcc -E -P -x c "$1/midge.h" | python3 -c '
import re, sys
text = sys.stdin.read()
prototype = re.compile(r"^\s*(?P<result>(?:const |struct |unsigned )*[A-Za-z_0-9]+ \*?)(?P<name>midge_[a-z_]+)(?P<arguments>\([^;{}]*\));", re.M)
text = re.sub(r"__attribute__\(\((?:[^()]|\([^()]*\))*\)\)\s*", "", text)
for found in prototype.finditer(text):
    if "typedef" in found["result"]:
        continue
    void = found["result"].strip() == "void"
    body = "" if void else "return given;"
    local = "" if void else "static {} given; ".format(found["result"].strip())
    print("{}{}{} {{ {}{} }}".format(found["result"], found["name"], found["arguments"], local, body))
'
} >"$work/stub.c"
gcc -std=c11 -g -fPIC -shared -w "-I$1" "$work/stub.c" -o "$work/libmidge.so"
diff <(nm -D --defined-only "$work/libmidge.so" | awk '{print $3}' | sort) "$root/bindings/c/symbols.txt"
describe() {
    abidw --no-comp-dir-path --no-corpus-path --no-show-locs "$work/libmidge.so" | sed "s|$work/||"
}
if [ "${2:-}" = --save ]; then
    describe >"$root/bindings/c/abi.xml"
else
    describe >"$work/abi.xml"
    abidiff "$root/bindings/c/abi.xml" "$work/abi.xml"
fi
