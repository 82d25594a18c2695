#!/usr/bin/env bash
# Builds and installs the C library: headers, shared and static library, pkg-config and CMake files.
#   install.sh [OPTION]... builds and installs
#   install.sh uninstall   removes what an installation with the same settings has written
#   install.sh --version   prints the version
#   install.sh --help      says this
# Options:
#   --without=LIST      leaves out features: mqtt31, sys, toml, unix, or all, separated by commas; what is
#                       left out answers MIDGE_E_UNSUPPORTED
#   --preset=minimal    as --without=all with PROFILE=minimal: the smallest library, at the cost of speed
# Settings come from the environment:
#   PREFIX    where it will live                                  /usr/local
#   LIBDIR    below the prefix                                    lib
#   DESTDIR   put in front of the prefix, for packages
#   PROFILE   release or dev, or another profile of cargo         release
#   CARGO_BUILD_TARGET    the target, if it is not this machine
#   CROSS_COMPILE         what the names of its tools begin with, such as aarch64-linux-gnu-
#   CC LD AR NM OBJCOPY   its tools, one by one; LD is GNU ld
# CARGO_TARGET_DIR, RUSTFLAGS and the other variables of cargo work as usual.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd -P)
prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-lib}
profile=${PROFILE:-release}
[ "$prefix" = / ] || prefix=${prefix%/}
to=${DESTDIR:-}$prefix
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
# Before 1.0 each minor version is an interface of its own; build.rs says the same.
major=${version%%.*}
minor=${version#*.}
minor=${minor%%.*}
if [ "$major" -eq 0 ]; then interface=0.$minor; else interface=$major; fi

say() { printf 'install.sh: %s\n' "$*"; }
help() { sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; }
fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

# Whether it may write is known before anything is built or removed: what is not there yet is made in
# the nearest folder that is.
writable() {
    local folder
    for folder in "$@"; do
        while [ ! -e "$folder" ]; do folder=$(dirname "$folder"); done
        if [ ! -d "$folder" ] || [ ! -w "$folder" ]; then
            fail "cannot write to $folder: run with sudo, or set PREFIX to a place of your own, such as PREFIX=\$HOME/.local"
        fi
    done
}

# Removes folders that are empty, where that is allowed.
prune() {
    local folder
    for folder in "$@"; do
        rmdir "$folder" 2>/dev/null || true
    done
}

uninstall() {
    local file found=
    for file in "$to/include/midge.h" "$to/include/midge.hpp" "$to/$libdir/libmidge.a" "$to/$libdir/libmidge.so" \
        "$to/$libdir/libmidge.so.$interface" "$to/$libdir/libmidge.so.$version" "$to/$libdir/pkgconfig/midge.pc" \
        "$to/$libdir/cmake/midge/midge-config.cmake" "$to/$libdir/cmake/midge/midge-config-version.cmake" \
        "$to/share/midge/midge.tsan" "$to/share/midge/midge.valgrind"; do
        [ -e "$file" ] || [ -L "$file" ] || continue
        writable "$(dirname "$file")"
        rm -f "$file"
        found=1
        say "removed $file"
    done
    if [ -z "$found" ]; then
        say "nothing is installed in $to"
        return
    fi

    prune "$to/$libdir/cmake/midge" "$to/share/midge"
    # What a prefix of its own has besides was made for it; those of the system are there without it.
    case $to in /usr | /usr/local) return ;; esac
    prune "$to/$libdir/cmake" "$to/$libdir/pkgconfig" "$to/share" "$to/include"
    file=$libdir
    while [ "$file" != . ] && [ "$file" != / ]; do
        prune "$to/$file"
        file=$(dirname "$file")
    done
    prune "$to"
}

# What can be left out: the features of bindings/c/Cargo.toml that are on by default.
mapfile -t optional < <(sed -n 's/^default = \[\(.*\)\]/\1/p' "$root/bindings/c/Cargo.toml" | tr -d '" ' | tr ',' '\n')
features=("${optional[@]}")
leave_out() {
    local name kept
    for name in ${1//,/ }; do
        # midge_has_feature() knows it with its dot, too.
        name=${name//mqtt3.1/mqtt31}
        if [ "$name" = all ]; then
            features=()
        elif [[ " ${optional[*]} " == *" $name "* ]]; then
            kept=()
            for feature in "${features[@]}"; do [ "$feature" = "$name" ] || kept+=("$feature"); done
            features=("${kept[@]}")
        else
            fail "there is no feature $name to leave out; there are: ${optional[*]}, all"
        fi
    done
}
action=install
for argument in "$@"; do
    case $argument in
        install | uninstall) action=$argument ;;
        --without=*) leave_out "${argument#*=}" ;;
        --preset=minimal)
            leave_out all
            profile=${PROFILE:-minimal}
            ;;
        --version)
            echo "$version"
            exit
            ;;
        -h | --help)
            help
            exit
            ;;
        *)
            help >&2
            exit 2
            ;;
    esac
done
if [ "$action" = uninstall ]; then
    uninstall
    exit
fi

folders=("$to/include" "$to/$libdir/pkgconfig" "$to/$libdir/cmake/midge" "$to/share/midge")
writable "${folders[@]}"
for name in cargo rustc; do
    command -v "$name" >/dev/null || fail "$name is not there; if only root does not find it: sudo env \"PATH=\$PATH\" $0"
done
host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_BUILD_TARGET:-$host}

# The tools of the target: those that are named, else those with its prefix, else those of the host
# if it has the same processor.
# shellcheck source=bindings/c/cross.sh
. "$root/bindings/c/cross.sh"
cross=${CROSS_COMPILE:-}
if [ -z "$cross" ] && [ "${target%%-*}" != "${host%%-*}" ]; then
    cross=$(cross_prefix "$target")
fi
tool() {
    local named=$1 name
    shift
    for name in ${named:+"$named"} "$@"; do
        # A variable may carry arguments, too.
        if command -v "${name%% *}" >/dev/null; then
            printf '%s\n' "$name"
            return
        fi
        [ "$name" != "$named" ] || break
    done
    fail "${named:-$1} is not there: the target $target needs tools of its own (CROSS_COMPILE, CC, LD, AR, NM, OBJCOPY)"
}
ld=$(tool "${LD:-}" "${cross}ld.bfd" "${cross}ld")
ar=$(tool "${AR:-}" "${cross}ar")
nm=$(tool "${NM:-}" "${cross}nm")
objcopy=$(tool "${OBJCOPY:-}" "${cross}objcopy")

if [ -n "${CARGO_BUILD_TARGET:-}" ]; then choose_linker "$target" "$cross"; fi

# shellcheck source=bindings/c/remap.sh
. "$root/bindings/c/remap.sh"

# Builds, and takes what cargo says that it has built, wherever that is. The compiler says on the way
# what a program needs besides to link the static library; cargo repeats that if nothing is to be done. It is for midge.pc and not shown.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build() {
    cd "$root"
    cargo "${flags[@]}" --color never rustc -p midge-c --lib --profile "$profile" \
        --no-default-features --features "${features[*]}" \
        --message-format=json-render-diagnostics -- --print native-static-libs 2>&1 >"$work/built" |
        tee "$work/said" | awk '
            /^note: (link against the following native artifacts|native-static-libs:)/ { note = 1; next }
            note && /^$/ { note = 0; next }
            { note = 0; print; fflush() }' >&2
}
say "building midge $version for $target, profile $profile, with ${features[*]:-nothing that can be left out}; the first time takes some minutes"
begun=$SECONDS
(build) || fail "the build has failed"
say "built in $((SECONDS - begun)) s"
artefact() {
    local files
    files=$(grep '"reason":"compiler-artifact".*"staticlib".*"name":"midge"' "$work/built" | sed 's/.*"filenames":\[\([^]]*\)\].*/\1/')
    tr ',' '\n' <<<"$files" | tr -d '"' | grep "/libmidge\.$1\$" || true
}
static=$(artefact a)
shared=$(artefact so)
[ -f "$static" ] || fail "cargo has built no libmidge.a for $target"

# The unwinder is left to the compiler that links: it takes libgcc_s, or libgcc_eh for -static.
private=$(sed -n 's/^note: native-static-libs: //p' "$work/said" | tail -1)
[ -n "$private" ] || fail "the compiler has not said what the static library needs"
private=$(tr ' ' '\n' <<<"$private" | grep -vx -e -lgcc_s -e -lgcc_eh | tr '\n' ' ' || true)
private=${private% }
# For musl Rust brings an unwinder of its own, which becomes part of the object.
objects=("$static")
unwinder=$(rustc --print target-libdir --target "$target")/self-contained/libunwind.a
if [[ " $private " == *" -lunwind "* ]] && [ -f "$unwinder" ]; then
    objects+=("$unwinder")
    private=${private/-lunwind/}
    private=${private# }
fi

# One object with nothing global but midge_*, so that it links next to another Rust library. Sections
# leave their groups: a linker keeps one group of each name, and what was made local in another copy
# would then point to nothing, as the personality routine of panics.
symbols=$root/bindings/c/symbols.txt
undefined=()
while read -r symbol; do undefined+=(-u "$symbol"); done <"$symbols"
$ld -r --force-group-allocation "${undefined[@]}" -o "$work/all.o" "${objects[@]}"
# The compiler's intermediate code, where it is embedded, is only for its own linker.
$objcopy --keep-global-symbols="$symbols" --remove-section=.llvmbc --remove-section=.llvmcmd \
    "$work/all.o" "$work/midge.o"
given=$($nm -g --defined-only "$work/midge.o" | awk '{print $NF}' | LC_ALL=C sort)
[ "$given" = "$(LC_ALL=C sort "$symbols")" ] || fail "$nm finds other symbols in the static library than symbols.txt has"
$ar rcsD "$work/libmidge.a" "$work/midge.o"

mkdir -p "${folders[@]}"
install -m 644 "$root/include/midge.h" "$root/include/midge.hpp" "$to/include/"
install -m 644 "$root/bindings/c/package/midge.tsan" "$root/bindings/c/package/midge.valgrind" "$to/share/midge/"
install -m 644 "$work/libmidge.a" "$to/$libdir/"
if [ -f "$shared" ]; then
    install -m 755 "$shared" "$to/$libdir/libmidge.so.$version"
    ln -sf "libmidge.so.$version" "$to/$libdir/libmidge.so.$interface"
    ln -sf "libmidge.so.$interface" "$to/$libdir/libmidge.so"
else
    say "$target has no shared libraries: the static one is installed"
fi

# The way from the library folder up to the prefix.
up=..
slashes=${libdir//[^\/]/}
for ((n = 0; n < ${#slashes}; n++)); do up=../$up; done
fill() {
    sed -e "s|@UP@|$1|g" -e "s|@LIBDIR@|$libdir|g" -e "s|@VERSION@|$version|g" -e "s|@MINOR@|$minor|g" \
        -e "s|@PRIVATE@|$private|g" -e "s|@PRIVATE_LIST@|${private// /;}|g" \
        -e "s|@SHARED@|libmidge.so.$version|g" -e "s|@SONAME@|libmidge.so.$interface|g" \
        "$root/bindings/c/package/$2.in" >"$work/$2"
    install -m 644 "$work/$2" "$3/"
}
fill "../$up" midge.pc "$to/$libdir/pkgconfig"
fill "$up" midge-config.cmake "$to/$libdir/cmake/midge"
fill "$up" midge-config-version.cmake "$to/$libdir/cmake/midge"
say "installed midge $version in $to"

# What is still to be done by hand, on this machine; a package or another target needs none of it.
[ -z "${DESTDIR:-}" ] && [ "$target" = "$host" ] || exit 0
folder=$(cd "$to/$libdir" && pwd)
PATH=$PATH:/sbin:/usr/sbin
listed=$(ldconfig -N -X -v 2>/dev/null | sed -n 's/^\(\/[^:]*\):.*/\1/p' || true)
if [ -f "$shared" ]; then
    if ! grep -qxF "$folder" <<<"$listed"; then
        say "the loader does not look into $folder. One of:"
        echo "    link programs with  -Wl,-rpath,$folder"
        echo "    export LD_LIBRARY_PATH=$folder"
        echo "    echo $folder >/etc/ld.so.conf.d/midge.conf && ldconfig    (as root)"
    elif ! ldconfig -p | grep -qF "$folder/libmidge.so.$interface"; then
        say "the loader does not know the library yet. As root:"
        echo "    ldconfig"
    fi
fi
found=$(pkg-config --variable=pcfiledir midge 2>/dev/null || true)
if [ -z "$found" ] || [ "$(cd "$found" && pwd -P)" != "$(cd "$folder/pkgconfig" && pwd -P)" ]; then
    say "for pkg-config:"
    echo "    export PKG_CONFIG_PATH=$folder/pkgconfig"
fi
case $prefix in
    /usr | /usr/local) ;;
    *)
        say "for CMake:"
        echo "    cmake -DCMAKE_PREFIX_PATH=$prefix ..."
        ;;
esac
