#!/usr/bin/env bash
# Checks all Python of the repository with ruff; then builds the wheel, installs it into an environment
# of its own, outside the source tree, and tests what is installed. Arguments go to pytest.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$target/python-venv
stamp=$venv/requirements.sha256
wanted=$(sha256sum <"$root/tests/python/requirements.txt")
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r "$root/tests/python/requirements.txt"
  echo "$wanted" >"$stamp"
fi
"$venv/bin/ruff" check -q --no-cache "$root"
"$venv/bin/ruff" format -q --check --no-cache "$root"
rm -rf "$target/wheels"
# Its own target: the paths of this machine are no part of it, so nothing is shared with other builds.
PATH=$venv/bin:$PATH CARGO_TARGET_DIR=$target/python-build MATURIN_PEP517_ARGS="--quiet --profile dev" \
  "$venv/bin/pip" wheel -q --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir "$target/wheels" "$root/python"
"$venv/bin/pip" install -q --disable-pip-version-check --force-reinstall --no-deps "$target"/wheels/midge-*.whl
bash "$root/tests/python/elsewhere.sh" "$target"/wheels/midge-*.whl
cd "$root/tests/python"
MIDGE_WHEEL=$(echo "$target"/wheels/midge-*.whl)
export MIDGE_ROOT=$root MIDGE_WHEEL
exec "$venv/bin/python" -m pytest -q --timeout 60 --doctest-modules --pyargs midge . "$@"
