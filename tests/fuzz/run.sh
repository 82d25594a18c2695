#!/usr/bin/env bash
# Fuzzes each parser for so many seconds (60), from its corpus. Needs a nightly compiler; installs
# cargo-fuzz below target/ where it is missing.
#
#   tests/fuzz/run.sh [SECONDS] [TARGET...]
#
# A finding ends it; its input is in the folder `artifacts` of the crate, and becomes a file of the corpus.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
shift || true
tools=$PWD/target/tools/fuzz
if ! command -v cargo-fuzz >/dev/null; then
    [ -x "$tools/bin/cargo-fuzz" ] ||
        cargo install --quiet --locked cargo-fuzz --version '^0.13' --root "$tools" --target-dir "$tools/build"
    rm -rf "$tools/build"
    PATH="$tools/bin:$PATH"
fi

ran=0
for fuzz in crates/*/fuzz; do
    crate=${fuzz%/fuzz}
    for target in $(cd "$crate" && cargo +nightly fuzz list); do
        [ $# -eq 0 ] || [[ " $* " == *" $target "* ]] || continue
        echo "== $target"
        # New inputs stay out of the committed corpus.
        grown=$PWD/target/fuzz/$target
        mkdir -p "$grown"
        (cd "$crate" && cargo +nightly fuzz run "$target" "$grown" "fuzz/corpus/$target" -- \
            "-max_total_time=$seconds" -timeout=5 -rss_limit_mb=1024 -print_final_stats=1)
        ran=$((ran + 1))
    done
done
[ "$ran" -gt 0 ] || { echo "no such target" >&2; exit 2; }
echo "$ran targets, no finding"
