#!/usr/bin/env bash
# The version of this checkout, as Cargo.toml has it.
set -euo pipefail
cd "$(dirname "$0")/.."
sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml
