#!/usr/bin/env bash
# What the gate takes for granted on a bare Debian: components of the compiler, Python, node.
set -euo pipefail
rustup component add clippy rustfmt
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3 python3-venv nodejs npm
