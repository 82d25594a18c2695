#!/usr/bin/env bash
# The installed wheel in bare environments: with paho-mqtt 1.x, in every other CPython of this machine,
# and built from the source distribution.   elsewhere.sh WHEEL
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
wheel=$1
here=$root/tests/python

environment() { # NAME PYTHON REQUIREMENT... : a bare environment, made once
    local name=$1 python=$2
    shift 2
    venv=$target/python-$name
    if [ "$(cat "$venv/requirements" 2>/dev/null)" != "$*" ]; then
        rm -rf "$venv"
        "$python" -m venv "$venv"
        "$venv/bin/pip" install -q --disable-pip-version-check "$@"
        echo "$*" >"$venv/requirements"
    fi
    "$venv/bin/pip" install -q --disable-pip-version-check --force-reinstall --no-deps "$wheel"
}

environment paho1 python3 paho-mqtt==1.6.1
(cd / && timeout 120 "$venv/bin/python" -W error::ResourceWarning "$here/old_paho.py")

known=$(python3 -c 'import sys; print(sys.version_info[:2])')
for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3 /usr/bin/python3.[0-9]* /usr/local/bin/python3.[0-9]*; do
    case $python in *config) continue ;; esac
    [ -x "$python" ] || continue
    version=$("$python" -c 'import sys; print(sys.version_info[:2] if sys.version_info >= (3, 11) and sys.implementation.name == "cpython" else "")' 2>/dev/null) || continue
    case $known in *"$version"*) continue ;; esac
    known="$known $version"
    requirements=$(grep -E '^(pytest|pytest-timeout|paho-mqtt|trio)==' "$here/requirements.txt")
    # shellcheck disable=SC2086 # one argument a line
    environment "$(tr -dc 0-9 <<<"$version")" "$python" $requirements
    echo "CPython $version"
    (cd "$here" && timeout 600 "$venv/bin/python" -m pytest -q --timeout 60 -p no:cacheprovider -p no:unraisableexception \
        test_broker.py test_expect.py test_hooks.py test_life.py test_ends.py)
done
