#!/usr/bin/env bash
# Builds the wheel, installs it into an environment of its own and tests what is installed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target="${CARGO_TARGET_DIR:-$root/target}"
venv="$target/python-venv"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check -r "$root/tests/python/requirements.txt"
rm -rf "$target/wheels"
(cd "$root/python" && CARGO_TARGET_DIR="$target" "$venv/bin/maturin" build -q --profile dev --out "$target/wheels")
"$venv/bin/pip" install -q --disable-pip-version-check --force-reinstall --no-deps "$target"/wheels/midge-*.whl
cd "$root/tests/python"
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider --timeout 60 --doctest-modules --pyargs midge . "$@"
