#!/usr/bin/env bash
# Publishes what release/assemble.sh has made, one registry at a time; the workflow brings the credentials.
# What is there already stays, so that a step that failed can be run again.
#
#   release/publish.sh image     the container image to ghcr.io; REGISTRY_USER and REGISTRY_PASSWORD log in
#   release/publish.sh stage     puts the distributions of the Python package into release/python
#   release/publish.sh crates    the crates, each after what it needs; CARGO_REGISTRY_TOKEN
#   release/publish.sh github    the release with all files and its notes; GH_TOKEN
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(release/version.sh)
folder=release/dist
(cd "$folder" && sha256sum --check --strict --quiet SHA256SUMS)

case ${1:-} in
    image)
        name=ghcr.io/$(tr '[:upper:]' '[:lower:]' <<<"$GITHUB_REPOSITORY")
        skopeo login --username "$REGISTRY_USER" --password-stdin ghcr.io <<<"$REGISTRY_PASSWORD"
        layout=$(mktemp -d)
        tar -xf "$folder/midge-$version.oci.tar" -C "$layout"
        digest=$(release/container.sh --push "$layout" "$name" | tail -1)
        printf 'name=%s\ndigest=%s\n' "$name" "$digest" >>"$GITHUB_OUTPUT"
        ;;
    stage)
        rm -rf release/python
        mkdir release/python
        cp "$folder"/midge-*.whl "$folder/midge-$version.tar.gz" release/python/
        ;;
    crates)
        for crate in midge-codec midge-core midge midge-cli; do
            if cargo info --quiet --registry crates-io "$crate@$version" >/dev/null 2>&1; then
                echo "$crate $version is published"
            else
                cargo publish --locked -p "$crate"
            fi
        done
        ;;
    github)
        mapfile -t files < <(find "$folder" -type f ! -name NOTES.md | LC_ALL=C sort)
        if gh release view "v$version" >/dev/null 2>&1; then
            gh release upload "v$version" --clobber "${files[@]}"
        else
            gh release create "v$version" --verify-tag --title "Midge $version" --notes-file "$folder/NOTES.md" "${files[@]}"
        fi
        ;;
    *)
        sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d' >&2
        exit 2
        ;;
esac
