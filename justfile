# Single targets: `just NAME`. Each is a command that also works alone.

# Lists the targets.
default:
    @just --list

# Everything that must pass before a change lands.
test:
    ./test.sh

# Formats Rust.
format:
    cargo fmt --all

# Rust lints, as the gate runs them.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

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

# The files that are made of the code: options, public API, header, Python reference.
generate:
    cargo run -q -p midge-cli -- config --markdown > docs/configuration.md
    cargo run --locked --manifest-path tools/public-api/Cargo.toml --target-dir target/tools -- --save
    MIDGE_UPDATE=1 cargo test -q -p midge-c --test header
    tests/python/api_reference.py docs/python-api.md --save
