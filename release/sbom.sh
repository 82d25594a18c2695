#!/usr/bin/env bash
# Writes what the C library and the command are made of, as CycloneDX: sbom.sh TARGET FOLDER makes
# FOLDER/libmidge.cdx.json and FOLDER/midge.cdx.json. The same sources give the same bytes.
# Installs cargo-cyclonedx below target/, or MIDGE_TOOLS, where it is missing.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=$1
folder=$(cd "$2" && pwd)
tools=${MIDGE_TOOLS:-$root/target/tools}
if ! command -v cargo-cyclonedx >/dev/null; then
    [ -x "$tools/bin/cargo-cyclonedx" ] || {
        echo "installing cargo-cyclonedx below target/"
        env -u CARGO_BUILD_TARGET CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked cargo-cyclonedx --version '^0.5.9' \
            --root "$tools" --target-dir "$tools/build-cyclonedx"
        rm -rf "$tools/build-cyclonedx"
    }
    PATH=$tools/bin:$PATH
fi

# It writes beside every manifest, so it gets a copy.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C "$root" --exclude=target -c Cargo.toml Cargo.lock crates bindings examples/rust | tar -x -C "$work"
list() { # MEMBER NAME
    cargo cyclonedx --quiet --manifest-path "$work/$1/Cargo.toml" --format json --spec-version 1.5 --target "$target" \
        --override-filename sbom
    # Crates of this workspace are named by their place.
    sed "s|$work|/midge|g" "$work/$1/sbom.json" >"$folder/$2.cdx.json"
}
list bindings/c libmidge
list crates/midge-cli midge
