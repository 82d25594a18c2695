#!/usr/bin/env bash
# What is released for all targets at once: the sources with all crates that they need, and the source
# distribution of the Python package.
#
#   release/sources.sh [OUT]      OUT is release/dist by default
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-release/dist}
mkdir -p "$out"
release/source.sh "$out"
OUT=$out python/release.sh sdist
