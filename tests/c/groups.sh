# The groups of tests/c/run.sh: what is checked beside single programs. To be read by run.sh, which has
# installed the library and says where.
# shellcheck shell=bash disable=SC2154 # include, lib, out, root, target and the flags are set by run.sh

unknown_tool() {
    ! CARGO_BUILD_TARGET=mips64-unknown-linux-gnuabi64 "$root/bindings/c/install.sh" && grep -q 'mips64-linux-gnuabi64-ld.* is not there' "$out/log"
}
# Built as for another target: with the tools of that target only, and from where cargo puts it. A
# library that an earlier build has left elsewhere is not what was asked for. Another target indeed: musl.
group_target() {
    local tool
    for tool in ld ar nm objcopy; do check "the target's $tool" grep -qx "$tool" "$out/used"; done
    check "what was built for the target is installed" cmp "$target/$host/debug/libmidge.so" "$lib/libmidge.so"
    check "a target without tools is refused" unknown_tool
}

symbols() { nm -D --defined-only "$lib/libmidge.so" | awk '{print $3}' | sort | diff - "$root/bindings/c/symbols.txt"; }
declared() { grep -o 'midge_[a-z_]*(' "$include/midge.h" | grep -v '_fn(' | tr -d '(' | sort -u | grep -Fxf "$root/bindings/c/symbols.txt" | diff - "$root/bindings/c/symbols.txt"; }
localised() { ! nm "$lib/libmidge.a" | grep -E ' [A-TV-Z] ' | grep -vE ' U | midge_'; }
ungrouped() { readelf -gW "$lib/libmidge.a" | grep -q 'There are no section groups'; }
soname() { readelf -d "$lib/libmidge.so" | grep -q "SONAME.*\[libmidge.so.$interface\]" && readelf -d "$lib/libmidge.so" | grep -q NODELETE; }
named() { grep -qF "IMPORTED_SONAME \"libmidge.so.$interface\"" "$lib/cmake/midge/midge-config.cmake" && [ -e "$lib/libmidge.so.$interface" ]; }
pathless() { ! grep -aFq -e "$1" "$lib/libmidge.so" "$lib/libmidge.a"; }
documented() {
    local symbol missing=0
    while read -r symbol; do grep -q "\`$symbol\`" "$root/docs/c.md" || { echo "$symbol"; missing=1; }; done <"$root/bindings/c/symbols.txt"
    return "$missing"
}
everything() { ! grep -oE 'midge_[a-z_]+\(' "$root/tests/c/everything.h" | tr -d '(' | sort -u | comm -13 - "$root/bindings/c/symbols.txt" | grep .; }
# What the library gives away: the committed list, and nothing else; nothing says where it was built.
group_interface() {
    local path
    check "symbols" symbols
    check "every symbol is declared" declared
    check "static symbols" localised
    check "static sections stand in no group" ungrouped
    check "soname and nodelete" soname
    check "soname of the CMake package" named
    for path in "$root" "$target" "${CARGO_HOME:-$HOME/.cargo}" "$HOME" "$(rustc --print sysroot)"; do check "no path $path" pathless "$path/"; done
    check "every function stands in docs/c.md" documented
    check "every function is called from every callback" everything
    if has abidiff; then
        check "binary interface" "$root/tests/c/abi.sh" "$include"
    else
        skip abidiff
    fi
    check "layout of structures" gcc -std=c11 "-I$include" -c "$root/tests/c/layout.c" -o /dev/null
}

musl_log() {
    cat "$out/musl-log"
    [ "$1" -eq 0 ]
}
# A target with another C library, statically linked.
# A build of its own, without all that can be left out.
without_all() {
    mkdir -p "$out/left-out"
    (cd "$root" && cargo build -q -p midge-c --no-default-features) && cp "$target/debug/libmidge.so" "$out/left-out/" &&
        ln -sf libmidge.so "$out/left-out/libmidge.so.$interface"
}
group_left_out() {
    check "build without all that can be left out" without_all
    check "link left_out" "${c[@]}" "$root/tests/c/left_out.c" "-I$include" "-L$out/left-out" -lmidge -o "$out/left-out/left_out"
    check "run left_out" quiet env "LD_LIBRARY_PATH=$out/left-out" "$out/left-out/left_out"
}

group_musl() {
    local status=0
    "$root/tests/c/musl.sh" >"$out/musl-log" 2>&1 || status=$?
    if [ "$status" -eq 77 ]; then
        tail -n 1 "$out/musl-log"
        skip "Rust for musl"
    else
        check "musl" musl_log "$status"
    fi
}

# The header alone and twice, in every language version.
group_header() {
    local suite cc cxx std warnings
    printf '#include <midge.h>\n#include <midge.h>\nint main(void) { return 0; }\n' >"$out/header.c"
    cp "$out/header.c" "$out/header.cpp"
    warnings=(-Wall -Wextra -pedantic -Werror "-I$include" -fsyntax-only)
    for suite in "gcc g++" "clang clang++"; do
        read -r cc cxx <<<"$suite"
        has "$cc" || { skip "$cc"; continue; }
        for std in c99 c11 c17; do
            check "header $cc $std" "$cc" "-std=$std" "${warnings[@]}" "$out/header.c"
        done
        for std in c++11 c++14 c++17 c++20; do
            check "header $cxx $std" "$cxx" "-std=$std" "${warnings[@]}" "$out/header.cpp"
        done
    done
}

# The programs, linked in every way.
group_programs() {
    local program way
    for program in "${programs[@]}"; do
        for way in shared pkg static; do one "$program" "$way"; done
    done
    for way in shared pkg static; do check "run in a forked child, $way" quiet "$out/garbage-$way" fork; done
}

# midge.hpp, in every version of C++.
group_cpp() {
    check "C++" "$root/tests/cpp/run.sh" "$include" "$lib" "$out/cpp"
    grep '^skipped' "$out/log"
}

metadata() {
    python3 - "$root/bindings/c" "$(readelf -d "$lib/libmidge.so" | sed -n 's/.*SONAME.*\[libmidge.so.\(.*\)\]/\1/p')" <<'END'
import pathlib, sys, tomllib
crate, soname = pathlib.Path(sys.argv[1]), sys.argv[2]
manifest = tomllib.loads((crate / "Cargo.toml").read_text())
capi = manifest["package"]["metadata"]["capi"]
assets = [crate / asset["from"] for asset in capi["install"]["include"]["asset"]]
assert {asset.name for asset in assets if asset.is_file()} == {"midge.h", "midge.hpp"}, assets
assert manifest["features"]["capi"] == []
assert capi["library"]["version_suffix_components"] == soname.count(".") + 1, soname
END
}
# For packagers who use cargo-c: what the metadata names is there. tests/c/cargo-c.sh installs with it.
group_cargo() {
    check "metadata for cargo-c" metadata
}

configure() { cmake -S "$root/tests/c/consumer" -B "$out/cmake" "-DSOURCES=$root" "-DCMAKE_PREFIX_PATH=$out/root/opt/midge"; }
# Whether the package says that it fits a version.
fits() {
    local wanted=$1 count major=0 minor=0
    count=$(tr -dc . <<<"$wanted" | wc -c)
    IFS=. read -r major minor _ <<<"$wanted.0"
    # shellcheck disable=SC2016 # a variable of CMake
    printf 'include("%s")\nmessage("fits ${PACKAGE_VERSION_COMPATIBLE}")\n' "$lib/cmake/midge/midge-config-version.cmake" >"$out/fits.cmake"
    cmake "-DPACKAGE_FIND_VERSION=$wanted" "-DPACKAGE_FIND_VERSION_MAJOR=$major" "-DPACKAGE_FIND_VERSION_MINOR=$minor" \
        "-DPACKAGE_FIND_VERSION_COUNT=$((count + 1))" -P "$out/fits.cmake" 2>&1 | grep -qx "fits $2"
}
# The package for CMake.
group_cmake() {
    local program wanted
    if has cmake; then
        check "cmake configure" configure
        check "cmake build" cmake --build "$out/cmake" -j 2
        for program in c_shared c_static c_any c_alone cpp_static; do check "run cmake $program" quiet "$out/cmake/$program"; done
        for wanted in "$interface" "$version" "$major"; do check "cmake: $version fits $wanted" fits "$wanted" TRUE; done
        for wanted in "$major.$((minor + 1))" "$((major + 1))" "$major.$minor.999"; do check "cmake: $version does not fit $wanted" fits "$wanted" FALSE; done
    else
        skip cmake
    fi
}

# dlopen, dlclose, and a broker in a destructor.
group_unload() {
    check "link unload" "${c[@]}" "$root/tests/c/unload.c" "-I$include" -ldl -o "$out/unload"
    check "link plugin" "${c[@]}" -shared -fPIC "$root/tests/c/plugin.c" "-I$include" "-L$lib" -lmidge -o "$out/plugin.so"
    check "run unload" quiet "$out/unload" "$lib/libmidge.so" "$out/plugin.so"
}

# What is allocated for a message once everything has warmed up.
group_allocations() {
    check "link allocations" "${c[@]}" "$root/tests/c/allocations.c" "-I$include" "-L$lib" -lmidge -rdynamic -o "$out/allocations"
    check "run allocations" quiet "$out/allocations"
}

# With an allocator of its own, which the static library uses, too.
group_memory() {
    check "link memory" "${c[@]}" "$root/tests/c/memory.c" "-I$include" "-L$lib" -lmidge -rdynamic -o "$out/memory"
    check "run memory" quiet "$out/memory"
    check "link memory static" "${c[@]}" "$root/tests/c/memory.c" "${pkg_static[@]/-lmidge/$lib/libmidge.a}" -o "$out/memory-static"
    check "run memory static" quiet "$out/memory-static"
}

natives() {
    local said
    said=$(cd "$root" && touch bindings/c/src/lib.rs && cargo rustc -q -p midge-c --lib -- --print native-static-libs 2>&1 |
        sed -n 's/^note: native-static-libs: //p' | tail -1)
    # The program that links brings the unwinder: -lgcc_s, or -lgcc_eh for -static.
    said=${said//-lgcc_s /}
    [ -n "$said" ] && [ "$said" = "$(sed -n 's/^Libs.private: //p' "$lib/pkgconfig/midge.pc")" ] &&
        grep -qF -- "${said// /;}" "$lib/cmake/midge/midge-config.cmake"
}
other() { rustc --crate-type staticlib --edition 2024 -o "$out/libother.a" "$root/tests/c/other.rs"; }
two() {
    local linker=$1 kind=$2 first=$3 second=$4
    "${c[@]}" "-fuse-ld=$linker" "-f$kind" "-$kind" "$root/tests/c/two.c" "-I$include" "$first" "$second" "${needs[@]}" -o "$out/two" &&
        quiet "$out/two"
}
# What a program needs besides the static library: what midge.pc and the CMake package name is what
# the compiler says. Beside another Rust library it links with each linker, as position-independent
# program and as fixed one, in either order, and without shared libraries.
group_static() {
    local linker kind alone needs
    read -ra needs <<<"$(sed -n 's/^Libs.private: //p' "$lib/pkgconfig/midge.pc")"
    check "libraries that the static one needs" natives
    check "another Rust library" other
    for linker in bfd gold lld mold; do
        for kind in pie no-pie; do
            check "two Rust libraries, $linker, $kind" two "$linker" "$kind" "$lib/libmidge.a" "$out/libother.a"
            check "two Rust libraries, $linker, $kind, other order" two "$linker" "$kind" "$out/libother.a" "$lib/libmidge.a"
        done
    done
    for alone in "gcc -static" "gcc -static-pie" "clang -static"; do
        check "link $alone" sh -c "$alone -w -pthread '$root/tests/c/two.c' '$out/libother.a' \$(pkg-config --static --cflags --libs midge) -o '$out/alone'"
        check "run $alone" quiet "$out/alone"
    done
}

told() {
    PREFIX=$out/here PROFILE=dev "${crossed[@]}" "$root/bindings/c/install.sh" >"$out/told" 2>"$out/progress" || return 1
    cat "$out/told"
    grep -q 'building midge' "$out/told" && grep -q 'built in [0-9]* s' "$out/told" && grep -q Finished "$out/progress" || return 1
    ! grep -q 'native artifacts\|native-static-libs' "$out/progress" || return 1
    local rpath flags
    rpath=$(sed -n 's/^    link programs with  *//p' "$out/told")
    (
        unset LD_LIBRARY_PATH PKG_CONFIG_PATH
        eval "$(grep '^    export PKG_CONFIG_PATH=' "$out/told")"
        read -ra flags <<<"$(pkg-config --cflags --libs midge)"
        gcc "$out/quick.c" "${flags[@]}" -o "$out/quick-here" && gcc "$out/quick.c" "${flags[@]}" "$rpath" -o "$out/quick-rpath" &&
            ! "$out/quick-here" </dev/null 2>/dev/null && "$out/quick-rpath" </dev/null || exit 1
        eval "$(grep '^    export LD_LIBRARY_PATH=' "$out/told")"
        "$out/quick-here" </dev/null
    )
}
quick_start() { awk '/^```c$/ {on = 1; next} /^```$/ {on = 0} on' "$1" >"$out/quick.c" && gcc -Wall -Wextra -Werror "$out/quick.c" "${pkg_shared[@]}" -o "$out/quick"; }
gone() {
    : >"$out/here/share/mine"
    PREFIX=$out/here "$root/bindings/c/install.sh" uninstall && [ "$(find "$out/here" ! -type d)" = "$out/here/share/mine" ] &&
        [ "$(find "$out/here" -type d | wc -l)" -eq 2 ] &&
        PREFIX=$out/here "$root/bindings/c/install.sh" uninstall | grep -q 'nothing is installed'
}
# It leaves nothing at all of a prefix that was its own.
alone() {
    local to=$out/mine/opt/it
    mkdir -p "$to/lib/deep/pkgconfig" && : >"$to/lib/deep/pkgconfig/midge.pc" && : >"$to/lib/deep/libmidge.a" &&
        PREFIX=$to LIBDIR=lib/deep "$root/bindings/c/install.sh" uninstall && [ ! -e "$to" ] && [ -d "$out/mine/opt" ]
}
# What cannot be written is known before anything is built, and before anything is removed.
refused() {
    : >"$out/a-file"
    ! PREFIX=$out/a-file/here "$root/bindings/c/install.sh" >"$out/told" 2>&1 && cat "$out/told" &&
        [ "$(cat "$out/told")" = "install.sh: cannot write to $out/a-file: run with sudo, or set PREFIX to a place of your own, such as PREFIX=\$HOME/.local" ]
}
helps() { "$root/bindings/c/install.sh" --help | grep -q '^  install.sh uninstall' && ! "$root/bindings/c/install.sh" nonsense 2>/dev/null; }
# Installed for this machine, where nothing is set up for it: what the script says at its end is what is
# missing, and what it has installed it removes.
group_install() {
    check "quick start of README.md" quick_start "$root/README.md"
    check "what install.sh says at its end is enough" told
    check "install.sh uninstall" gone
    check "install.sh uninstall leaves no folders" alone
    check "install.sh says first what it may not write" refused
    check "install.sh --help" helps
}

# The programs under valgrind, which does find a leak and a write behind the end.
group_valgrind() {
    local mistake program
    if ! has valgrind; then
        skip valgrind
        return
    fi
    check "link leak" "${c[@]}" "$root/tests/c/leak.c" "${pkg_shared[@]}" -o "$out/leak"
    for mistake in leak write; do check "valgrind finds a $mistake" finds "${grind[@]}" "$out/leak" "$mistake"; done
    for program in broker misuse garbage contract look guest left; do one "$program" valgrind; done
}

raced() { TSAN_OPTIONS=history_size=7:suppressions=$lib/../share/midge/midge.tsan timeout 120 "$@"; }
finds_race() { ! "$@" && grep -qE "data race|[Cc]onflicting" "$out/log"; }
# Races: those of a program are found, in callbacks too, and nothing else is.
group_races() {
    local compiler tool look share race
    share=$out/root/opt/midge/share/midge
    race=("${c[@]}" "$root/tests/c/race.c" "${pkg_shared[@]}")
    for compiler in gcc clang; do
        has "$compiler" || { skip "$compiler"; continue; }
        check "link race $compiler" "$compiler" "${race[@]:1}" -fsanitize=thread -o "$out/race-$compiler"
        check "no race, $compiler" raced "$out/race-$compiler" no
        check "a race, $compiler" finds_race raced "$out/race-$compiler" yes
    done
    if has valgrind; then
        check "link race valgrind" "${race[@]}" -DMIDGE_VALGRIND -o "$out/race"
        for tool in helgrind drd; do
            look=(timeout 300 valgrind -q "--tool=$tool" --fair-sched=try --error-exitcode=9 "--suppressions=$share/midge.valgrind")
            check "no race, $tool" "${look[@]}" "$out/race" no
            check "a race, $tool" finds_race "${look[@]}" "$out/race" yes
        done
    fi
}

# The programs with sanitizers, which do find a leak and a write behind the end.
group_sanitizers() {
    local mistake program
    check "link leak sanitizers" "${c[@]}" "${sanitize[@]}" "$root/tests/c/leak.c" "${pkg_shared[@]}" -o "$out/leak-asan"
    for mistake in leak write; do check "sanitizers find a $mistake" finds "$out/leak-asan" "$mistake"; done
    for program in "${programs[@]}"; do one "$program" sanitizers; done
}

quick_start_cpp() { awk '/^```cpp$/ {on = 1; next} /^```$/ {on = 0} on' "$root/docs/c.md" >"$out/quick.cpp" && g++ -std=c++17 -Wall -Wextra -Werror -pthread "$out/quick.cpp" "${pkg_shared[@]}" -o "$out/quick-cpp"; }
built_as_said() {
    local line
    line=$(sed -n "s/^| $1 | \`\(gcc .*\)\` |\$/\1/p" "$root/docs/c.md" | sed 's/\\|/|/g')
    [ -n "$line" ] && (cd "$out" && cp quick.c app.c && sh -c "$line $2" && quiet ./app </dev/null)
}
says() {
    local expected=$1
    shift
    echo "$expected" >"$out/input"
    timeout 60 "$@" < <(cat "$out/input") >"$out/said" 2>&1
    grep -q "$expected" "$out/said" || { cat "$out/said"; return 1; }
}
# The examples, as their first lines say; the quick starts of the README and of docs/c.md are programs.
group_examples() {
    local source
    for source in "$root"/examples/c/*.c; do
        check "build $(basename "$source")" gcc -Wall -Wextra -Werror -pthread "$source" "${pkg_shared[@]}" -o "$out/$(basename "$source" .c)-example"
    done
    check "quick start of docs/c.md" quick_start "$root/docs/c.md"
    check "quick start of README.md" quick_start "$root/README.md"
    check "quick start of docs/c.md in C++" quick_start_cpp
    # The lines of the table of docs/c.md that say how to build.
    check "docs/c.md: shared" built_as_said "gcc and pkg-config, shared" ""
    check "docs/c.md: static" built_as_said "gcc and pkg-config, static" ""
    check "docs/c.md: without any shared library" built_as_said "gcc and pkg-config, static" -static
    check "run the quick start" quiet "$out/quick"
    check "build hooks.cpp" g++ -std=c++17 -Wall -Wextra -Werror -pthread "$root/examples/c/hooks.cpp" "${pkg_shared[@]}" -o "$out/hooks-example"
    check "run minimal" says "ward/7/spo2 = 97" "$out/minimal-example"
    check "run epoll" says "from/host" "$out/epoll-example"
    check "run loop" says "from/host" "$out/loop-example"
    check "run hooks" says "ward/checked = 97" "$out/hooks-example"
    check "run bedside" says "200 samples, 1 alarms, 1 offline, watchdog fed" "$out/bedside-example" "$out/events.log"
    check "bedside wrote its events" grep -q "client=bed-1 .*connection_lost" "$out/events.log"
}

small() { [ "$(stat -c %s "$out/hot-static")" -lt 3000000 ]; }
executed() { valgrind --tool=callgrind --callgrind-out-file=/dev/null "$out/hot" "$1" 2>&1 | sed -n 's/.*Collected : //p'; }
counted() {
    local few many each known
    few=$(executed 6400) many=$(executed 70400) known=$(cat "$root/bindings/c/hot-instructions.txt")
    each=$(((many - few) / 64000))
    echo "$each instructions for each message, $known before"
    [ "$each" -gt 0 ] && [ $((each * 100)) -le $((known * 105)) ]
}
# What is delivered: how large a program gets, and how many instructions it takes from a publish to
# an event of the same process. bindings/c/hot-instructions.txt says how many it took before.
group_hot() {
    DESTDIR="$out/release" PREFIX=/opt/midge "$root/bindings/c/install.sh" || exit 1
    local -x LD_LIBRARY_PATH=$out/release/opt/midge/lib
    local lib=$LD_LIBRARY_PATH needs hot
    read -ra needs <<<"$(sed -n 's/^Libs.private: //p' "$lib/pkgconfig/midge.pc")"
    hot=(gcc -O2 -Wall -Wextra -Werror "$root/tests/c/hot.c" "-I$include")
    check "link hot" "${hot[@]}" "-L$lib" -lmidge -o "$out/hot"
    check "run hot" quiet "$out/hot" 10048
    check "link hot static" "${hot[@]}" "$lib/libmidge.a" "${needs[@]}" -s -o "$out/hot-static"
    check "run hot static" quiet "$out/hot-static" 10048
    check "a stripped static program is below 3 MB" small
    if has valgrind; then check "instructions of the hot path" counted; else skip valgrind; fi
}
