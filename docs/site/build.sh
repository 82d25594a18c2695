#!/usr/bin/env bash
# Builds the documentation as a site into target/site/html; a link that leads nowhere fails. Installs
# mkdocs below target/ where it is missing.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target="${CARGO_TARGET_DIR:-$root/target}"
here=$root/docs/site
site=$target/site
venv=$target/site-venv
wanted=$(sha256sum <"$here/requirements.txt")
if [ "$(cat "$venv/requirements.sha256" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
    echo "$wanted" >"$venv/requirements.sha256"
fi

# The pages and what they link to, laid out as here, so that a link is right in both places.
rm -rf "$site"
mkdir -p "$site/pages"
cd "$root"
git ls-files -z --cached --others --exclude-standard '*.md' 'docs/*' 'examples/*' 'include/*' 'LICENSE*' | while IFS= read -r -d '' file; do
    case $file in
        tests/README.md | tests/conformance/README.md) ;;
        .github/* | docs/site/* | tests/*) continue ;;
    esac
    [ -f "$file" ] && install -D -m 644 "$file" "$site/pages/$file"
done
cp "$here/mkdocs.yml" "$site/"
# Not --quiet: what is not logged does not count as a warning either.
if ! NO_MKDOCS_2_WARNING=1 "$venv/bin/mkdocs" build --strict --config-file "$site/mkdocs.yml" >"$site/log" 2>&1; then
    grep -E '^(WARNING|ERROR)|^Aborted' "$site/log" || cat "$site/log"
    exit 1
fi
echo "$site/html/index.html"
