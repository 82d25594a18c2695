#!/usr/bin/env bash
# The notes of a release: what CHANGELOG.md says of it.
#
#   release/notes.sh [VERSION]       the version of this checkout by default
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-$(release/version.sh)}

# From the heading of the version to the next one, without blank lines at its ends.
notes=$(awk -v version="$version" '/^## / { inside = ($2 == version) ; next } inside' CHANGELOG.md)
[ -n "${notes//[[:space:]]/}" ] || { echo "CHANGELOG.md has no section for $version" >&2; exit 1; }
printf '%s\n' "$notes" | sed -e '/./,$!d'
