#!/usr/bin/env bash
# Whether this checkout can be released: one version everywhere, a section of CHANGELOG.md, nothing that is
# not committed. With a tag it also has to be the tag of this version, and the section needs its date.
#
#   release/check.sh [TAG]           TAG is vVERSION; in a workflow that a tag started, that tag
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(release/version.sh)
if [ $# -eq 0 ] && [ "${GITHUB_REF_TYPE:-}" = tag ]; then
    set -- "$GITHUB_REF_NAME"
fi
status=0
wrong() {
    echo "$*" >&2
    status=1
}

metadata=$(cargo metadata --no-deps --locked --format-version 1)

# What every crate of the workspace says of itself and of the others.
while read -r name has; do
    [ "$has" = "$version" ] || wrong "$name has version $has, the workspace $version"
done <<<"$(python3 -c 'import json, sys
for package in json.load(sys.stdin)["packages"]:
    print(package["name"], package["version"])
    for needed in package["dependencies"]:
        if needed["name"].startswith("midge") and needed["req"] != "*":
            print(package["name"] + "->" + needed["name"], needed["req"].lstrip("^"))' <<<"$metadata")"

grep -q "^Status: ${version//./\\.}[,.]" README.md || wrong "the Status of README.md names another version than $version"

release/notes.sh "$version" >/dev/null || status=1
heading=$(grep -E "^## ${version//./\\.}( |\$)" CHANGELOG.md || true)
[ -z "$(git status --porcelain)" ] || wrong "the checkout has changes that are not committed"

if [ $# -gt 0 ]; then
    [ "$1" = "v$version" ] || wrong "the tag $1 is not v$version"
    [[ $heading =~ \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$ ]] || wrong "CHANGELOG.md gives $version no date: $heading"
    grep -q '"repository":"https://' <<<"$metadata" ||
        wrong "Cargo.toml names no repository, so that packages could not say where they come from"
fi
[ "$status" -eq 0 ] || exit 1
echo "midge $version can be released"
