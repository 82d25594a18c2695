#!/usr/bin/env bash
# Runs everything: formatting, lints, documentation, tests of every language, interoperability.
#
#   ./test.sh            all parts, one after the other
#   ./test.sh PART...    only these; each stands alone, so that jobs may run them side by side
#   ./test.sh --list     the parts that there are
#
# Installs what it needs where it is missing (Debian packages as root; everything else below target/).
set -uo pipefail
cd "$(dirname "$0")" || exit
parts=(checks rust platforms c python interop)
list() { printf '%s\n' "${parts[@]}"; }
# shellcheck source=tests/arguments.sh
. tests/arguments.sh
[ ${#names[@]} -gt 0 ] || names=("${parts[@]}")
for part in "${names[@]}"; do
    [[ " ${parts[*]} " = *" $part "* ]] || { echo "test.sh: no part is called $part. There is: ${parts[*]}" >&2; exit 2; }
done
# The machine's own toolchain: rust-toolchain.toml is for machines without a chosen one.
if command -v rustup >/dev/null; then
    RUSTUP_TOOLCHAIN="${RUSTUP_TOOLCHAIN:-$(rustup default | cut -d ' ' -f 1)}"
    export RUSTUP_TOOLCHAIN
fi
export CARGO_TERM_COLOR=never CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 CARGO_INCREMENTAL=0
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
passed=0
failed=0

step() {
    local name=$1
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        echo "$passed passed, $failed failed"
        exit 1
    fi
}

need_packages() {
    local missing=()
    for package in "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    echo "installing ${missing[*]}"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"; } >/dev/null
}

# Formatting of C and C++; include/midge.h is what cbindgen makes of it.
clang_format() {
    local files
    mapfile -t files < <(git ls-files '*.c' '*.h' '*.cpp' '*.hpp' ':!include/midge.h')
    [ ${#files[@]} -gt 0 ] && clang-format --dry-run -Werror "${files[@]}"
}

# Every shell script, whatever its name.
shell_scripts() {
    local files
    mapfile -t files < <(git grep -lE '^#!.*\b(ba|da)?sh\b')
    [ ${#files[@]} -gt 0 ] && shellcheck -x "${files[@]}"
}

# The core knows no runtime and does no IO; the codec depends on nothing of ours.
layers() {
    ! cargo tree -q -p midge-core -e normal --prefix none | grep -E '^(tokio|mio|async-std|smol|socket2) ' &&
        ! cargo tree -q -p midge-codec -e normal --prefix none | grep -E '^(tokio|mio|midge|midge-core) '
}

# Each part has a job of its own.
jobs_of_parts() {
    local listed
    printf -v listed '%s, ' "${parts[@]}"
    grep -qF "part: [${listed%, }]" .github/workflows/gate.yml
}

# The rules of CONTRIBUTING that a program can check, and that the program still finds what breaks them.
air_and_voice() {
    python3 tools/voice/voice.py --self-test --quiet && python3 tools/voice/voice.py
}

# Where the oldest compiler cannot be had, that is told; the job `msrv` has it.
oldest_compiler() {
    local status=0
    timeout 900 tests/msrv.sh || status=$?
    [ "$status" -eq 0 ] || [ "$status" -eq 77 ]
}

rust_tests() {
    timeout 900 cargo test --workspace --no-fail-fast 2>&1 | tee "$CARGO_TARGET_DIR/tests.log" | grep -E '^(test result|failures:|error|warning)|FAILED|panicked|^    [a-z_0-9:]+$'
    return "${PIPESTATUS[0]}"
}

# What is looked at without being run.
checks() {
    step "format" cargo fmt --all --check
    step "format of C and C++" clang_format
    step "shell scripts" shell_scripts
    step "workflows" tests/workflows.sh
    step "release" tests/release.sh
    step "jobs of the parts" jobs_of_parts
    step "lints" timeout 900 cargo clippy -q --workspace --all-targets -- -D warnings
    step "documentation" env RUSTDOCFLAGS=-Dwarnings timeout 600 cargo doc -q --workspace --no-deps
    step "documentation site" timeout 300 docs/site/build.sh
    step "layers" layers
    step "floors" python3 tools/floors/floors.py
    step "air and voice" air_and_voice
    step "published packages" timeout 1200 tests/packages.sh
    step "oldest compiler" oldest_compiler
    step "dependencies" timeout 900 tests/deny.sh
    step "public API" cargo run -q --locked --manifest-path tools/public-api/Cargo.toml --target-dir "$CARGO_TARGET_DIR/tools"
}

rust() {
    step "Rust tests" rust_tests
    step "conformance over a transport that cuts and hesitates" env MIDGE_TRANSPORT=faulty timeout 600 cargo test -q -p midge-testkit --test v5
    step "conformance without threads, by the loop of a host" env MIDGE_THREADS=0 timeout 600 cargo test -q -p midge-testkit --test v5 --test v3
    step "conformance evidence" cargo run -q -p midge-testkit --bin conformance -- --check --results "$CARGO_TARGET_DIR/tests.log"
    step "interleavings" timeout 900 tests/interleavings/run.sh

    for example in building appliances hooks listeners event_loop serve; do
        # A port for the one that takes it; the end of its input ends it as Enter does.
        step "example $example" timeout 60 cargo run -q -p midge --example "$example" -- 127.0.0.1:0 </dev/null
    done
}

platforms() {
    step "packages of platforms" need_packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static rustc-web cargo-web rust-web-src gcc-mingw-w64-x86-64 g++-mingw-w64-x86-64-posix wine wine64
    step "macOS" timeout 900 tests/platforms/macos.sh
    step "ARM64" timeout 1500 tests/platforms/linux.sh aarch64-unknown-linux-gnu -- \
        core handle c:broker c:misuse c:garbage c:contract c:look
    step "Windows" timeout 1500 tests/platforms/windows.sh
}

c() { step "tests/c/run.sh" timeout 1500 tests/c/run.sh; }
python() { step "tests/python/run.sh" timeout 1500 tests/python/run.sh; }
interop() { step "tests/interop/run.sh" timeout 1500 tests/interop/run.sh; }

step "packages" need_packages musl-tools mosquitto-clients valgrind pkg-config cmake abigail-tools gcc g++ clang clang-format libclang-rt-dev binutils lld mold shellcheck
mkdir -p "$CARGO_TARGET_DIR"
for part in "${names[@]}"; do "$part"; done
echo "$passed passed, $failed failed"
