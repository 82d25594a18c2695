# What the suites of the C library share: counted checks, and programs that leave standard error alone. To be
# read by a script that has set `out`, a directory to work in.
# shellcheck shell=bash disable=SC2154 # out is the script's

passed=0
failed=0
check() {
    local name=$1
    shift
    if "$@" >"$out/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        tail -n 40 "$out/log"
    fi
}
# A program must leave standard error alone.
quiet() {
    timeout 300 "$@" 2>"$out/stderr"
    local status=$?
    cat "$out/stderr"
    [ "$status" -eq 0 ] && [ ! -s "$out/stderr" ]
}
