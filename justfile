# Single targets: `just NAME`. Each is a command that also works alone.

# Lists the targets.
default:
    @just --list

# Everything that must pass before a change lands, or parts of it: `just test rust c`.
test *PARTS:
    ./test.sh {{PARTS}}

# Formats Rust, C, C++ and Python.
format:
    cargo fmt --all
    git ls-files '*.c' '*.h' '*.cpp' '*.hpp' ':!include/midge.h' | xargs clang-format -i
    ruff format

# Formatting, lints, documentation, layers, voice, dependencies, public API: what needs no test to run.
lint:
    ./test.sh checks
    ruff check
    ruff format --check

# Tests of the Rust crates; arguments go to cargo: `just rust -p midge-testkit --test v5 publish`.
rust *ARGS='--workspace':
    cargo test {{ARGS}}

# Builds and installs the wheel below target/ and tests it; arguments go to pytest: `just python -k expect`.
python *ARGS:
    tests/python/run.sh {{ARGS}}

# Builds, installs and tests the C library: `just c broker:valgrind`, `just c --list`.
c *NAMES:
    tests/c/run.sh {{NAMES}}

# Real clients against the command: `just interop mosquitto:will`, `just interop --list`.
interop *NAMES:
    tests/interop/run.sh {{NAMES}}

# How threads meet: `just interleavings takeover --long`.
interleavings *ARGS:
    tests/interleavings/run.sh {{ARGS}}

# Random clients against the model: `just stress --threads 4 --minutes 60`.
stress *ARGS='--threads 2 --minutes 1':
    cargo run --release -p midge-testkit --bin stress -- {{ARGS}}

# Changes each line that differs from BASE and looks whether a test notices.
mutants BASE='origin/main':
    tests/mutants/run.sh --in-diff {{BASE}}

# Fuzzes each parser for so many seconds.
fuzz SECONDS='60':
    tests/fuzz/run.sh {{SECONDS}}

# The documentation as a site, links checked.
site:
    docs/site/build.sh

# Instruction counts of the hot paths against the committed ones.
instructions:
    benches/micro/instructions.py --check

# The files that are made of the code, each by what the gate compares it with.
generate: generate-rust generate-c generate-python

# Options, public API, floors, and the lock of the benchmarks after a change of dependencies.
generate-rust:
    cargo run -q -p midge-cli -- config --markdown > docs/configuration.md
    cargo run --locked --manifest-path tools/public-api/Cargo.toml --target-dir target/tools -- --save
    python3 tools/floors/floors.py --save
    cargo update --workspace --manifest-path benches/micro/Cargo.toml

# The header and its binary interface; bindings/c/symbols.txt and tests/c/layout.c are written by hand.
generate-c:
    MIDGE_UPDATE=1 cargo test -q -p midge-c --test header
    tests/c/abi.sh include --save

# Types of the options and the reference, with the package as it is now installed below target/.
generate-python:
    tests/python/run.sh --collect-only -q
    target/python-venv/bin/python tests/python/options_types.py python/midge/_options.py --save
    target/python-venv/bin/python tests/python/api_reference.py docs/python-api.md --save

# The evidence of conformance, by a run of all tests.
conformance:
    cargo test --workspace > target/tests.log 2>&1
    cargo run -q -p midge-testkit --bin conformance -- --results target/tests.log
