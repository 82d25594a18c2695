#!/usr/bin/env bash
# Builds what is released of the C library and the command for one target:
#
#   release/build.sh [TARGET] [OUT]     OUT is target/dist where it is not named
#
#   OUT/midge-VERSION-TARGET.tar.xz         headers, shared and static library, pkg-config and CMake files, the
#                                           command, licences of everything, SBOM; it works wherever it is unpacked
#   OUT/midge-VERSION-TARGET-debug.tar.xz   the symbols for debuggers, for the same folder
#   OUT/SHA256SUMS
#
# Nothing that depends on the place or the moment of a build goes into them: tests/c/packages.sh compares two. The time in the archives is
# SOURCE_DATE_EPOCH, or that of the last commit. PROFILE, CROSS_COMPILE, CC and the other settings of
# bindings/c/install.sh hold here, too. STAGE is a folder that gets the files instead of OUT. Needs cargo-cyclonedx, which it installs below target/.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
    -*)
        sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'
        [ "$1" = --help ] || [ "$1" = -h ]
        exit
        ;;
esac
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
host=$(rustc -vV | sed -n 's/^host: //p')
target=${1:-$host}
out=${2:-$CARGO_TARGET_DIR/dist}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
profile=${PROFILE:-release}
name=midge-$version-$target
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC CARGO_BUILD_TARGET=$target

fail() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}
for tool in xz tar python3; do command -v "$tool" >/dev/null || fail "$tool is not there"; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
out=$(cd "$out" && pwd)
prefix=$work/stage/$name

DESTDIR=$work/stage PREFIX=/$name "$root/bindings/c/install.sh"

# The command, with the same flags.
# shellcheck source=bindings/c/cross.sh
. "$root/bindings/c/cross.sh"
cross=${CROSS_COMPILE:-}
if [ -z "$cross" ] && [ "${target%%-*}" != "${host%%-*}" ]; then
    cross=$(cross_prefix "$target")
fi
(
    choose_linker "$target" "$cross"
    # shellcheck source=bindings/c/remap.sh
    . "$root/bindings/c/remap.sh"
    cd "$root"
    cargo "${flags[@]}" build --locked -p midge-cli --bin midge --profile "$profile"
)
folder=$profile
[ "$profile" != dev ] || folder=debug
install -D -m 755 "$CARGO_TARGET_DIR/$target/$folder/midge" "$prefix/bin/midge"

# Symbols apart. The libraries keep what a linker needs.
debug=$work/debug/$name
objcopy=${OBJCOPY:-${cross}objcopy}
apart() {
    local file=$1 symbols=$debug/${1#"$prefix"/}.debug
    mkdir -p "$(dirname "$symbols")"
    "$objcopy" --only-keep-debug "$file" "$symbols"
    "$objcopy" --strip-unneeded "$file"
    "$objcopy" --add-gnu-debuglink="$symbols" "$file"
}
apart "$prefix/bin/midge"
libdir=${LIBDIR:-lib}
shared=$prefix/$libdir/libmidge.so.$version
[ ! -f "$shared" ] || apart "$shared"
"$objcopy" --strip-debug "$prefix/$libdir/libmidge.a"

# What it is made of, and under which licences.
documents=$prefix/share/doc/midge
mkdir -p "$documents"
install -m 644 "$root"/LICENSE-APACHE "$root"/LICENSE-MIT "$root"/CHANGELOG.md "$documents/"
(cd "$root" && python3 release/licences.py "$target" midge-c midge-cli) >"$documents/THIRD-PARTY.md"
"$root/release/sbom.sh" "$target" "$documents"

# Nothing says where it was built. What comes with the compiler says where that was built.
for place in "$root" "${CARGO_HOME:-$HOME/.cargo}" "$CARGO_TARGET_DIR" "$work" "$(rustc --print sysroot)"; do
    ! grep -rlF -- "$place" "$prefix" "$debug" || fail "these files name $place"
done

if [ -n "${STAGE:-}" ]; then
    cp -a "$prefix/." "$STAGE/"
    exit
fi

pack() {
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw \
        --format=gnu -C "$1" -cf "$work/archive.tar" "$name"
    xz -9 --threads=1 -c "$work/archive.tar" >"$out/$2"
    echo "$out/$2"
}
pack "$work/stage" "$name.tar.xz"
pack "$work/debug" "$name-debug.tar.xz"
(cd "$out" && sha256sum ./*.tar.* | sed 's|\./||' >SHA256SUMS)
