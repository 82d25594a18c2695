#!/usr/bin/env bash
# Builds and installs the C library: headers, shared and static library, pkg-config and CMake files.
#   PREFIX   where it will live                       /usr/local
#   LIBDIR   below the prefix                         lib
#   DESTDIR  put in front of the prefix, for packages
#   PROFILE  release or dev                           release
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-lib}
profile=${PROFILE:-release}
target=${CARGO_TARGET_DIR:-$root/target}
case $profile in dev) built=$target/debug ;; *) built=$target/$profile ;; esac
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
minor=${version#*.}
minor=${minor%%.*}

# Builds, and asks what a program that links the static library needs besides. The compiler says so
# only when it links, so the answer is kept beside the library.
asked=$built/midge-native-static-libs
build() {
    local said
    said=$(cd "$root" && cargo rustc -q -p midge-c --lib --profile "$profile" -- --print native-static-libs 2>&1) ||
        { printf '%s\n' "$said" >&2; return 1; }
    said=$(sed -n 's/^note: native-static-libs: //p' <<<"$said" | tail -1)
    [ -z "$said" ] || printf '%s\n' "$said" >"$asked"
}
build
[ -s "$asked" ] || { touch "$root/bindings/c/src/lib.rs" && build; }
private=$(cat "$asked")

to=${DESTDIR:-}$prefix
mkdir -p "$to/include" "$to/$libdir/pkgconfig" "$to/$libdir/cmake/midge"
install -m 644 "$root/include/midge.h" "$root/include/midge.hpp" "$to/include/"
install -m 755 "$built/libmidge.so" "$to/$libdir/libmidge.so.$version"
ln -sf "libmidge.so.$version" "$to/$libdir/libmidge.so.0"
ln -sf libmidge.so.0 "$to/$libdir/libmidge.so"

# One object with nothing global but midge_*, so that it links next to another Rust library.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nm -D --defined-only "$built/libmidge.so" | awk '$3 ~ /^midge_/ {print $3}' >"$work/symbols"
undefined=()
while read -r symbol; do undefined+=(-u "$symbol"); done <"$work/symbols"
ld -r "${undefined[@]}" -o "$work/all.o" "$built/libmidge.a"
# The compiler's intermediate code, where it is embedded, is only for its own linker.
objcopy --keep-global-symbols="$work/symbols" --remove-section=.llvmbc --remove-section=.llvmcmd \
    "$work/all.o" "$work/midge.o"
rm -f "$to/$libdir/libmidge.a"
ar rcs "$to/$libdir/libmidge.a" "$work/midge.o"

# The way from the library folder up to the prefix.
up=..
slashes=${libdir//[^\/]/}
for ((n = 0; n < ${#slashes}; n++)); do up=../$up; done
fill() {
    sed -e "s|@UP@|$1|g" -e "s|@LIBDIR@|$libdir|g" -e "s|@VERSION@|$version|g" -e "s|@MINOR@|$minor|g" \
        -e "s|@PRIVATE@|$private|g" -e "s|@PRIVATE_LIST@|${private// /;}|g" \
        -e "s|@SHARED@|libmidge.so.$version|g" "$root/bindings/c/package/$2.in" >"$3/$2"
}
fill "../$up" midge.pc "$to/$libdir/pkgconfig"
fill "$up" midge-config.cmake "$to/$libdir/cmake/midge"
fill "$up" midge-config-version.cmake "$to/$libdir/cmake/midge"
