#!/usr/bin/env bash
# Explores interleavings of the core: crates/midge-core/tests/interleavings.
#
#   tests/interleavings/run.sh [NAME] [--long] [--replay FILE]
#
# NAME limits the run to scenarios whose name contains it. --long explores until it is stopped or
# finds something. --replay runs the one schedule in FILE, which a failure has named, for the scenario
# NAME. MIDGE_ITERATIONS sets the schedules of a scenario under each scheduler.
set -euo pipefail
cd "$(dirname "$0")/../.."

name=
long=
replay=
while [ $# -gt 0 ]; do
    case $1 in
        --long) long=1 ;;
        --replay)
            replay=$(realpath "$2")
            shift
            ;;
        -*)
            sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
            exit 2
            ;;
        *) name=$1 ;;
    esac
    shift
done

# A build of its own: the flag changes the core and all that it is built with.
# Optimized a little: the schedules take thirty times as long without.
export RUSTFLAGS="--cfg shuttle"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/interleavings"
export CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_TEST_OPT_LEVEL=1
export CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_PROFILE_TEST_DEBUG=line-tables-only
export CARGO_INCREMENTAL=0
[ -n "$replay" ] || export RUST_BACKTRACE=0
mkdir -p "$CARGO_TARGET_DIR/schedules"
MIDGE_SCHEDULES=$(realpath "$CARGO_TARGET_DIR/schedules")
export MIDGE_SCHEDULES

# Addresses that are alike in each run make schedules replayable where they count for an order.
alike=()
if setarch -R true 2>/dev/null; then
    alike=(setarch -R)
fi

explore() {
    "${alike[@]}" cargo test -q -p midge-core --test interleavings -- --test-threads=1 "$@"
}

if [ -n "$replay" ]; then
    [ -n "$name" ] || { echo "--replay needs the NAME of the scenario" >&2; exit 2; }
    MIDGE_SCHEDULE=$replay explore --exact "$name"
    exit
fi

if [ -z "$long" ]; then
    explore ${name:+"$name"}
    exit
fi
export MIDGE_ITERATIONS="${MIDGE_ITERATIONS:-2000}"
for ((round = 1; ; round++)); do
    echo "== round $round, $MIDGE_ITERATIONS schedules of each scheduler"
    explore ${name:+"$name"}
done
