#!/usr/bin/env bash
# Builds the packages of the C library, installs each where nothing is, and builds and runs a program with it.
#
#   packages.sh           all of it; half an hour with the profile release
#   packages.sh NAME...   some of it; PROFILE=dev is the fast way
#   packages.sh --list    the names that there are
#
#   release   release/build.sh twice, from two folders: the same bytes; pkg-config, CMake and Meson find it
#             where it is unpacked
#   debian    release/debian.sh: lintian, and the packages in a root of their own
#   cmake     add_subdirectory() and FetchContent of a checkout
#   meson     a subproject of Meson
#   conan     `conan create`
#   vcpkg     the files of the port
#   source    the archive of all sources, built where no network is
#
# Meson, Ninja and Conan come from PyPI, into an environment below target/.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target="${CARGO_TARGET_DIR:-$root/target}"
out=$target/packages
profile=${PROFILE:-release}
everything=(release debian cmake meson conan vcpkg source)
list() { echo "${everything[*]}"; }
# shellcheck source=tests/arguments.sh
. "$root/tests/arguments.sh"
[ ${#names[@]} -gt 0 ] || names=("${everything[@]}")
mkdir -p "$out"
# shellcheck source=tests/c/checks.sh
. "$root/tests/c/checks.sh"

host=$(rustc -vV | sed -n 's/^host: //p')
version=$("$root/bindings/c/install.sh" --version)
export PROFILE=$profile CARGO_BUILD_TARGET=$host CARGO_TARGET_DIR=$out/cargo MIDGE_TOOLS=$target/tools

# The tools that people bring.
need_python() {
    [ -x "$out/venv/bin/conan" ] && return
    python3 -m venv "$out/venv" && "$out/venv/bin/pip" -q --disable-pip-version-check install 'meson>=1.4,<2' 'ninja>=1.11,<2' 'conan>=2.8,<3'
}
# The first example; the end of its input ends it.
runs() { timeout 60 "$@" </dev/null | grep -F 'clients connect to mqtt://127.0.0.1:'; }
# What is committed, elsewhere.
checkout() {
    rm -rf "$1"
    git clone -q "$root" "$1"
}

same() { cmp "$out/one/$1" "$out/two/$1"; }
build_release() {
    rm -rf "$out/one" "$out/two" "$out/unpacked"
    check "build the release" "$root/release/build.sh" "$host" "$out/one"
    check "a clone elsewhere" checkout "$out/elsewhere/clone"
    check "build it again" env CARGO_TARGET_DIR="$out/elsewhere/cargo" "$out/elsewhere/clone/release/build.sh" "$host" "$out/two"
    rm -rf "$out/elsewhere"
    check "the same library and command" same "midge-$version-$host.tar.xz"
    check "the same symbols" same "midge-$version-$host-debug.tar.xz"
    mkdir -p "$out/unpacked"
    check "unpack" tar -xJf "$out/one/midge-$version-$host.tar.xz" -C "$out/unpacked"
}
by_pkg_config() {
    local flags
    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    read -ra flags <<<"$(pkg-config --cflags --libs midge)"
    gcc "$root/examples/c/minimal.c" "${flags[@]}" "-Wl,-rpath,$prefix/lib" -o "$out/by_pkg_config" && runs "$out/by_pkg_config" || return 1
    read -ra flags <<<"$(pkg-config --static --cflags --libs midge)"
    gcc "$root/examples/c/minimal.c" "${flags[@]/-lmidge/$prefix/lib/libmidge.a}" -o "$out/by_pkg_config" && runs "$out/by_pkg_config"
}
by_cmake() {
    rm -rf "$out/by_cmake"
    cmake -S "$root/tests/c/consumer" -B "$out/by_cmake" "-DCMAKE_PREFIX_PATH=$prefix" "-DSOURCES=$root" &&
        cmake --build "$out/by_cmake" && "$out/by_cmake/c_shared" && "$out/by_cmake/c_static" && "$out/by_cmake/c_any"
}
by_meson() {
    rm -rf "$out/by_meson"
    PATH=$out/venv/bin:$PATH meson setup "$out/by_meson" "$root/tests/c/consumer" "-Dpkg_config_path=$prefix/lib/pkgconfig" "-Dsources=$root" &&
        PATH=$out/venv/bin:$PATH meson compile -C "$out/by_meson" && runs "$out/by_meson/minimal"
}
has_all() {
    local file
    for file in bin/midge include/midge.h include/midge.hpp lib/libmidge.a lib/libmidge.so lib/pkgconfig/midge.pc \
        lib/cmake/midge/midge-config.cmake share/doc/midge/{LICENSE-MIT,LICENSE-APACHE,THIRD-PARTY.md,libmidge.cdx.json,midge.cdx.json}; do
        [ -s "$prefix/$file" ] || { echo "no $file"; return 1; }
    done
    grep -q '^- tokio ' "$prefix/share/doc/midge/THIRD-PARTY.md" &&
        python3 -c 'import json, sys; names = {part["name"] for part in json.load(open(sys.argv[1]))["components"]}; assert {"tokio", "midge-core"} <= names, names' \
            "$prefix/share/doc/midge/libmidge.cdx.json"
}
test_release() {
    build_release
    prefix=$out/unpacked/midge-$version-$host
    check "everything is in it" has_all
    check "the command" "$prefix/bin/midge" --version
    check "pkg-config" by_pkg_config
    check "CMake" by_cmake
    check "tools of Python" need_python
    check "Meson" by_meson
}

# A root that has the C library of the system and nothing of ours.
fill_root() {
    local deb
    rm -rf "$out/root"
    mkdir -p "$out/root/var/lib/dpkg"
    touch "$out/root/var/lib/dpkg/status"
    for deb in "$out"/debian/*.deb; do
        # What they depend on is the system's, which stays outside.
        dpkg --root="$out/root" --force-depends --force-script-chrootless --log=/dev/null -i "$deb" || return 1
    done
}
in_root() {
    local lib
    lib=$out/root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
    PKG_CONFIG_LIBDIR=$lib/pkgconfig pkg-config --modversion midge | grep -x "$version" &&
        gcc "$root/examples/c/minimal.c" "-I$out/root/usr/include" "-L$lib" -lmidge -o "$out/in_root" &&
        LD_LIBRARY_PATH=$lib runs "$out/in_root" && "$out/root/usr/bin/midge" --version
}
removes() {
    dpkg --root="$out/root" --force-depends --force-script-chrootless --log=/dev/null -r midge libmidge-dev libmidge0.1 &&
        [ -z "$(find "$out/root/usr" -name '*midge*')" ]
}
test_debian() {
    rm -rf "$out/debian"
    check "build the Debian packages" "$root/release/debian.sh" "$out/debian"
    check "lintian" lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs,bogus-mail-host-in-debian-changelog,maintainer-address-malformed "$out"/debian/*.deb
    check "install them" fill_root
    check "the first example, compiled and run" in_root
    check "remove them" removes
}

# A program beside the library's sources. CMake and Meson take the commands of the checkout.
# shellcheck disable=SC2016 # CMake's own variables
WITH_EACH='foreach(kind midge static shared)
    add_executable(with_${kind} minimal.c)
    target_link_libraries(with_${kind} PRIVATE midge::${kind})
endforeach()'
project() {
    rm -rf "${out:?}/$1"
    mkdir -p "$out/$1"
    cp "$root/examples/c/minimal.c" "$out/$1/"
}
add_subdirectory() {
    project add
    printf '%s\n' 'cmake_minimum_required(VERSION 3.18)' 'project(program C)' 'set(MIDGE_WITHOUT toml,sys)' \
        "set(MIDGE_PROFILE $profile)" "add_subdirectory($root midge)" "$WITH_EACH" >"$out/add/CMakeLists.txt"
    cmake -S "$out/add" -B "$out/add/build" && cmake --build "$out/add/build" &&
        runs "$out/add/build/with_midge" && runs "$out/add/build/with_static" && runs "$out/add/build/with_shared"
}
fetch_content() {
    project fetch
    printf '%s\n' 'cmake_minimum_required(VERSION 3.18)' 'project(program C)' 'include(FetchContent)' \
        "set(MIDGE_PROFILE $profile)" "FetchContent_Declare(midge SOURCE_DIR $root)" \
        'FetchContent_MakeAvailable(midge)' 'add_executable(program minimal.c)' \
        'target_link_libraries(program PRIVATE midge::midge)' >"$out/fetch/CMakeLists.txt"
    cmake -S "$out/fetch" -B "$out/fetch/build" && cmake --build "$out/fetch/build" && runs "$out/fetch/build/program"
}
test_cmake() {
    check "add_subdirectory" add_subdirectory
    check "FetchContent" fetch_content
}

subproject() {
    project meson
    mkdir -p "$out/meson/subprojects"
    ln -s "$root" "$out/meson/subprojects/midge"
    printf '[wrap-file]\ndirectory = midge\n\n[provide]\nmidge = midge_dep\n' >"$out/meson/subprojects/midge.wrap"
    printf '%s\n' "project('program', 'c')" \
        "midge = dependency('midge', default_options: {'profile': '$profile', 'without': ['toml']})" \
        "executable('program', 'minimal.c', dependencies: midge)" >"$out/meson/meson.build"
    PATH=$out/venv/bin:$PATH meson setup "$out/meson/build" "$out/meson" &&
        PATH=$out/venv/bin:$PATH meson compile -C "$out/meson/build" && runs "$out/meson/build/program"
}
test_meson() {
    check "tools of Python" need_python
    check "a subproject of Meson" subproject
}

create() {
    export CONAN_HOME=$out/conan
    "$out/venv/bin/conan" profile detect --force || return 1
    if ! "$out/venv/bin/conan" create "$root/release/conan" -o "midge/*:profile=$profile" -o "midge/*:shared=$1" >"$out/created" 2>&1 </dev/null; then
        cat "$out/created"
        return 1
    fi
    grep -F 'clients connect to mqtt://127.0.0.1:' "$out/created"
}
test_conan() {
    check "tools of Python" need_python
    check "conan create, static" create False
    check "conan create, shared" create True
}

# The port's instructions, with the functions of vcpkg that they call written down: what would be installed.
port() {
    local to=$out/vcpkg
    rm -rf "$to"
    mkdir -p "$to"
    printf '%s\n' 'function(vcpkg_fixup_pkgconfig)' 'endfunction()' 'function(vcpkg_cmake_config_fixup)' 'endfunction()' \
        'function(vcpkg_install_copyright)' 'endfunction()' "set(CURRENT_PACKAGES_DIR $to/package)" "set(CURRENT_BUILDTREES_DIR $to/build)" \
        "set(CURRENT_PORT_DIR $root/release/vcpkg/midge)" 'set(PORT midge)' 'set(VCPKG_LIBRARY_LINKAGE static)' \
        "include($root/release/vcpkg/midge/portfile.cmake)" >"$to/run.cmake"
    [ "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["version"])' "$root/release/vcpkg/midge/vcpkg.json")" = "$version" ] &&
        cmake -P "$to/run.cmake" && [ -f "$to/package/lib/libmidge.a" ] && [ ! -e "$to/package/lib/libmidge.so" ] && [ -f "$to/package/include/midge.h" ]
}
test_vcpkg() { check "the port's own instructions (vcpkg itself is not called)" port; }

offline() {
    local folder=$out/source/midge-$version
    tar -xJf "$out/source/midge-$version-source.tar.xz" -C "$out/source" &&
        unshare --net env CARGO_HOME="$out/source/cargo-home" CARGO_NET_OFFLINE=true CARGO_TARGET_DIR="$out/source/cargo" PREFIX="$out/source/installed" \
            "$folder/bindings/c/install.sh" &&
        gcc "$root/examples/c/minimal.c" "-I$out/source/installed/include" "$out/source/installed/lib/libmidge.a" -lm -o "$out/source/minimal" &&
        runs "$out/source/minimal"
}
test_source() {
    rm -rf "$out/source"
    check "pack the sources" "$root/release/source.sh" "$out/source"
    check "build them with no network" offline
    rm -rf "$out/source/cargo" "$out/source/midge-$version"
}

for name in "${names[@]}"; do
    declare -F "test_$name" >/dev/null || {
        echo "packages.sh: nothing is called $name. There is: ${everything[*]}" >&2
        exit 2
    }
    "test_$name"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
