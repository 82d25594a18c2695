#!/usr/bin/env bash
# Mutation tests: changes the core and the codec one expression at a time and runs the tests. A mutant
# that survives is a line that no test looks at.
#
#   tests/mutants/run.sh [--list] [--in-diff BASE | FILE...]
#
# --in-diff BASE limits it to what has changed since this checkout left BASE, FILEs to these source
# files; without both, BASE is origin/main. --list shows the mutants and runs nothing. Each mutant takes
# a build and the tests, so a change of some hundred lines takes an hour. The survivors are listed in
# target/mutants/mutants.out/missed.txt; those of no consequence go into config.toml, with the reason.
#
# Installs cargo-mutants below target/ where it is missing. Status: 0 all mutants were caught, 2 some
# survived, 3 some took too long, 4 the tests fail without any.
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() {
    sed -n '5,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

base=
list=
files=()
while [ $# -gt 0 ]; do
    case $1 in
        --list) list=1 ;;
        --in-diff)
            [ $# -gt 1 ] || usage
            base=$2
            shift
            ;;
        -*) usage ;;
        *) files+=("$1") ;;
    esac
    shift
done
[ -z "$base" ] || [ ${#files[@]} -eq 0 ] || usage

unset CARGO_TARGET_DIR RUSTFLAGS
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 CARGO_INCREMENTAL=1
tools=$PWD/target/tools/mutants
mutants=$tools/bin/cargo-mutants
if ! "$mutants" mutants --version 2>/dev/null | grep -q '^cargo-mutants 27\.'; then
    echo "installing cargo-mutants below target/"
    cargo install --quiet --locked cargo-mutants --version '^27' --root "$tools" --target-dir "$tools/build"
    rm -rf "$tools/build"
fi

mkdir -p target/mutants
if [ ${#files[@]} -eq 0 ]; then
    diff=target/mutants/change.diff
    git diff --merge-base "${base:-origin/main}" -- crates/midge-core crates/midge-codec >"$diff"
    if [ ! -s "$diff" ]; then
        echo "neither the core nor the codec has changed since ${base:-origin/main}"
        exit 0
    fi
    selection=(--in-diff "$diff")
else
    selection=()
    for file in "${files[@]}"; do
        [ -f "$file" ] || { echo "no file $file" >&2; exit 2; }
        selection+=(--file "$file")
    done
fi

if [ -n "$list" ]; then
    exec "$mutants" mutants --config tests/mutants/config.toml --list "${selection[@]}"
fi
exec "$mutants" mutants --config tests/mutants/config.toml --output target/mutants \
    --jobs 1 --cap-lints true "${selection[@]}" -- --lib --tests
