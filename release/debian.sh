#!/usr/bin/env bash
# Builds Debian packages for this machine: release/debian.sh [OUT], OUT is target/dist where it is not named.
#
#   libmidge0.1    the shared library; before 1.0 each minor version is an interface of its own, and so a
#                  package of its own
#   libmidge-dev   headers, static library, pkg-config and CMake files
#   midge          the command
#
# Settings are those of release/build.sh. Needs dpkg-dev.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
out=${1:-$CARGO_TARGET_DIR/dist}
version=$("$root/bindings/c/install.sh" --version)
revision=$version-1
arch=$(dpkg --print-architecture)
triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
maintainer='The Midge maintainers <midge@localhost.localdomain>'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/built"
out=$(cd "$out" && pwd)

target=$(rustc -vV | sed -n 's/^host: //p')
STAGE=$work/built LIBDIR=lib/$triplet "$root/release/build.sh" "$target"
soname=$(objdump -p "$work/built/lib/$triplet/libmidge.so.$version" | sed -n 's/^ *SONAME *//p')
library=libmidge${soname#libmidge.so.}

# The files of each package.
place() { # PACKAGE PATH...
    local package=$1 path
    for path in "${@:2}"; do
        mkdir -p "$work/$package/usr/$(dirname "$path")"
        cp -a "$work/built/$path" "$work/$package/usr/$path"
    done
}
place "$library" "lib/$triplet/libmidge.so.$version" "lib/$triplet/$soname"
chmod 644 "$work/$library/usr/lib/$triplet/libmidge.so.$version"
place libmidge-dev include "lib/$triplet/libmidge.so" "lib/$triplet/libmidge.a" "lib/$triplet/pkgconfig" "lib/$triplet/cmake" share/midge
place midge bin/midge
mkdir -p "$work/midge/usr/share/man/man1"
gzip -9n <"$root/release/midge.1" >"$work/midge/usr/share/man/man1/midge.1.gz"

# What a binary needs of other packages.
needs() {
    local binary=$1
    (
        cd "$work"
        mkdir -p debian
        printf 'Source: midge\n\nPackage: midge\nArchitecture: any\n' >debian/control
        dpkg-shlibdeps -O "$binary" 2>/dev/null | sed -n 's/^shlibs:Depends=//p'
    )
}

# One package. What follows its fields is the long description, line by line.
package() { # PACKAGE SECTION DEPENDS SUMMARY LINE...
    local name=$1 section=$2 depends=$3 summary=$4 folder=$work/$1 documents=$work/$1/usr/share/doc/$1
    mkdir -p "$folder/DEBIAN" "$documents"
    {
        cat "$root/release/copyright"
        sed -e 's/^/ /' -e 's/^ $/ ./' "$root/LICENSE-MIT"
        printf '\n'
        sed 's/^#* *//' "$work/built/share/doc/midge/THIRD-PARTY.md" | gzip -9n >"$documents/third-party.gz"
    } >"$documents/copyright"
    printf 'midge (%s) unstable; urgency=medium\n\n  * Release %s.\n\n -- %s  %s\n' \
        "$revision" "$version" "$maintainer" "$(date -Ru -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$documents/changelog.Debian.gz"

    {
        printf 'Package: %s\nSource: midge\nVersion: %s\nArchitecture: %s\nMaintainer: %s\n' "$name" "$revision" "$arch" "$maintainer"
        printf 'Installed-Size: %s\n' "$(du -sk --apparent-size "$folder/usr" | cut -f1)"
        printf 'Depends: %s\nSection: %s\nPriority: optional\n' "$depends" "$section"
        [ "$name" = midge ] || printf 'Multi-Arch: same\n'
        printf 'Description: %s\n' "$summary"
        printf ' %s\n' "${@:5}"
    } >"$folder/DEBIAN/control"
    (cd "$folder" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$folder/DEBIAN/md5sums"
    chmod -R u=rwX,go=rX "$folder"
    dpkg-deb --root-owner-group -Zxz --build "$folder" "$out/${name}_${revision}_$arch.deb"
}

mkdir -p "$work/$library/DEBIAN"
echo "libmidge ${soname#libmidge.so.} $library (>= $version)" >"$work/$library/DEBIAN/shlibs"
echo "activate-noawait ldconfig" >"$work/$library/DEBIAN/triggers"
about=("A complete MQTT 5.0, 3.1.1 and 3.1 broker that lives in the process of a"
    "program, and that the program can look into, publish through and control.")
package "$library" libs "$(needs "$work/$library/usr/lib/$triplet/libmidge.so.$version")" \
    "MQTT broker for programs, shared library" "${about[@]}" . "This package has the shared library."
package libmidge-dev libdevel "$library (= $revision)" \
    "MQTT broker for programs, development files" "${about[@]}" . "This package has the headers and the static library."
package midge net "$(needs "$work/midge/usr/bin/midge")" \
    "MQTT broker and clients for the command line" "${about[@]}" . \
    "This package has the command: a broker to serve and to test against, and" "clients to publish and to watch."
