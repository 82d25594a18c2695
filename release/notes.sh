#!/usr/bin/env bash
# The notes of a release: what CHANGELOG.md says of it. In a workflow its links lead to the tag.
#
#   release/notes.sh [VERSION]       the version of this checkout by default
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-$(release/version.sh)}

# From the heading of the version to the next one, without blank lines at its ends.
notes=$(awk -v version="$version" '/^## / { inside = ($2 == version) ; next } inside' CHANGELOG.md)
[ -n "${notes//[[:space:]]/}" ] || { echo "CHANGELOG.md has no section for $version" >&2; exit 1; }
place=
[ -z "${GITHUB_REPOSITORY:-}" ] || place=$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/blob/v$version/
printf '%s\n' "$notes" | sed -E -e '/./,$!d' -e "s|\]\(([a-zA-Z])|](${place}\1|g" -e "s|\]\(${place:-@}(https?:)|](\1|g"
