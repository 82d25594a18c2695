#!/usr/bin/env bash
# Writes SHA256SUMS of all files of a folder into it, and reads them back.
#
#   release/checksums.sh FOLDER
set -euo pipefail
cd "$1"
rm -f SHA256SUMS
mapfile -d '' files < <(find . -type f ! -name SHA256SUMS -printf '%P\0' | LC_ALL=C sort -z)
[ ${#files[@]} -gt 0 ] || { echo "$1 has no files" >&2; exit 1; }
sha256sum -- "${files[@]}" >SHA256SUMS
sha256sum --check --strict --quiet SHA256SUMS
echo "SHA256SUMS: ${#files[@]} files"
