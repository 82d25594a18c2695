#!/usr/bin/env bash
# Licences, bans and sources of everything that the project depends on, as deny.toml says. `advisories`
# as an argument also looks for known vulnerabilities, which needs the network.
#
#   tests/deny.sh [advisories]
#
# Installs cargo-deny below target/ where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-$PWD/target}"
if ! command -v cargo-deny >/dev/null; then
    [ -x "$target/tools/bin/cargo-deny" ] || {
        echo "installing cargo-deny below target/"
        CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked cargo-deny --version '^0.20' \
            --no-default-features --root "$target/tools" --target-dir "$target/tools/build-deny"
        rm -rf "$target/tools/build-deny"
    }
    PATH="$target/tools/bin:$PATH"
fi

cargo deny --all-features --log-level error check --hide-inclusion-graph licenses bans sources "$@"
