# What the suites with mosquitto's commands share: counted checks, and a mosquitto_sub in the background whose
# messages are read one by one. To be read by a script that has set `limit`, in seconds, and `at`, the options of
# mosquitto_sub that name its broker.
# shellcheck shell=bash disable=SC2154 # limit and at are the script's

passed=0
failed=0

check() {
    local name=$1 expected=$2 got=$3
    if [ "$expected" = "$got" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n expected: %q\n got:      %q\n' "$name" "$expected" "$got"
    fi
}

# Runs mosquitto_sub in the background and returns when it is subscribed; its descriptor is in `live`. Its
# messages are read with `next`: the lines that -F marks with "M ".
live=
watch() {
    exec {live}< <(exec stdbuf -oL timeout "$limit" mosquitto_sub "${at[@]}" -d "$@" 2>&1)
    local line
    while read -r -t "$limit" -u "$live" line; do
        [[ $line == Subscribed* ]] && return 0
    done
    echo "not subscribed: $*"
    return 1
}
# The next message of the watcher with this descriptor.
next() {
    local line
    while read -r -t "$limit" -u "$1" line; do
        [[ $line == "M "* ]] && echo "${line#M }" && return 0
    done
    echo "(nothing came)"
}
