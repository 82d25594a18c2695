#!/usr/bin/env bash
# A rehearsal of a release on this machine: everything that needs no other machine and no registry. Takes half
# an hour or more, for optimized builds.
#
#   release/all.sh [TARGET...]     x86_64-unknown-linux-gnu and x86_64-unknown-linux-musl by default
#
# Leaves the files in release/dist. TESTS=1 also runs the tests of targets that this machine can run, as the
# workflow does; the gate has them all.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- x86_64-unknown-linux-gnu x86_64-unknown-linux-musl
options=()
[ -n "${TESTS:-}" ] || options=(--no-tests)

release/check.sh
rm -rf release/dist
release/sources.sh
for target in "$@"; do
    echo "== $target"
    release/target.sh "${options[@]}" "$target"
done
release/assemble.sh
ls -l release/dist
