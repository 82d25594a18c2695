#!/usr/bin/env bash
# How large the C library is, as a shared one without symbols, and what each feature that can be left out
# adds to it. docs/packages.md has the table.
#
#   sizes.sh           measures all and prints the table; minutes, because each is a build of its own
#   sizes.sh --save    writes it into docs/packages.md
#   sizes.sh minimal   builds the preset `minimal` alone, and fails if it is larger than the table says by
#                      more than 3 %, if it is above its limit, or if what is left out of it does not say so
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target="${CARGO_TARGET_DIR:-$root/target}"
out=$target/sizes
page=$root/docs/packages.md
# Bytes; what a device has to have room for.
limit=1550000

# Installs as an argument of install.sh says, and prints the bytes of the shared library.
measure() {
    local to=$out/$1
    shift
    rm -rf "$to"
    CARGO_TARGET_DIR=$out/build PREFIX=$to "$root/bindings/c/install.sh" "$@" >&2 || exit 1
    strip -o "$to/stripped.so" "$to/lib/libmidge.so"
    stat -c %s "$to/stripped.so"
}
kilobytes() { echo "$((($1 + 500) / 1000)) kB"; }

table() {
    local feature all less minimal
    echo "| build | shared library, stripped |"
    echo "|---|---|"
    echo "| all, for speed (the default) | $(kilobytes "$(measure release)") |"
    all=$(PROFILE=minimal measure all)
    echo "| all, for size (\`PROFILE=minimal\`) | $(kilobytes "$all") |"
    for feature in mqtt31 sys toml unix; do
        less=$(PROFILE=minimal measure "without-$feature" "--without=$feature")
        echo "| of that, \`$feature\` | $(kilobytes $((all - less))) |"
    done
    minimal=$(measure minimal --preset=minimal)
    echo "| without all of these, for size (\`--preset=minimal\`) | $(kilobytes "$minimal") |"
}

# What is left out says so; the rest works.
answers() {
    gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -pthread "-I$root/tests/c" "-I$out/minimal/include" \
        "$root/tests/c/left_out.c" "-L$out/minimal/lib" "-Wl,-rpath,$out/minimal/lib" -lmidge -o "$out/left_out"
    timeout 60 "$out/left_out"
}

mkdir -p "$out"
case ${1:-} in
    '') table ;;
    --save)
        table >"$out/table"
        sed -i -e "/^<!-- sizes -->$/,/^<!-- end of sizes -->$/{//!d;}" -e "/^<!-- sizes -->$/r $out/table" "$page"
        ;;
    minimal)
        bytes=$(measure minimal --preset=minimal)
        said=$(sed -n 's/.*--preset=minimal.*| \([0-9]*\) kB |$/\1/p' "$page")
        echo "the preset minimal has $bytes bytes; $page says $said kB, the limit is $limit bytes"
        if [ "$bytes" -gt "$limit" ] || [ "$bytes" -gt "$((said * 1030))" ] || [ "$bytes" -lt "$((said * 970))" ]; then
            echo "measure again: tests/c/sizes.sh --save" >&2
            exit 1
        fi
        answers
        ;;
    *)
        sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d' >&2
        exit 2
        ;;
esac
