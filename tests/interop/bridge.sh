#!/usr/bin/env bash
# A mosquitto broker as a bridge to the broker at MQTT_HOST and MQTT_PORT, with its default settings,
# in each protocol version that it speaks: messages in, out and both ways, retained ones included.
# Every wait is for something that happens; its limit only ends a failure.
#   bridge.sh [VERSION...]    in these protocol versions only
#   bridge.sh --list          the versions
set -uo pipefail
limit=20
versions=(mqttv31 mqttv311 mqttv50)
if [ "${1:-}" = --list ]; then
    printf '%s\n' "${versions[@]}"
    exit
fi
[ $# -eq 0 ] || versions=("$@")
scratch=$(mktemp -d)
local_socket="$scratch/mosquitto"
bridge=
finish() {
    [ -n "$bridge" ] && kill "$bridge" 2>/dev/null && wait "$bridge" 2>/dev/null
    rm -rf "$scratch"
}
trap finish EXIT
# shellcheck source=tests/interop/watching.sh
. "$(dirname "$0")/watching.sh"

# `near` is mosquitto, `far` the broker that it is a bridge to.
options_of() {
    case $1 in
        near) echo "--unix $local_socket" ;;
        far) echo "-h $MQTT_HOST -p $MQTT_PORT" ;;
    esac
}
# shellcheck disable=SC2046 # words on purpose
publish() { timeout $limit mosquitto_pub $(options_of "$1") "${@:2}"; }
# shellcheck disable=SC2046
subscribe() { timeout $limit mosquitto_sub $(options_of "$1") "${@:2}"; }

# Watches a filter at one end; returns when it is subscribed.
watch_at() {
    read -ra at <<<"$(options_of "$1")"
    watch "${@:2}"
}
done_watching() {
    local descriptor
    for descriptor in "$@"; do
        exec {descriptor}<&-
    done
}

# Starts mosquitto; returns when its bridge has subscribed to what comes in. All settings of the bridge
# but its version are the default ones.
start() {
    local version=$1 line subscribed=0
    cat >"$scratch/conf" <<CONF
listener 0 $local_socket
allow_anonymous true
user root
persistence false
log_dest stderr
log_type all
connection bridge-$version
address $MQTT_HOST:$MQTT_PORT
bridge_protocol_version $version
topic # in 1 in/ $version/in/
topic # out 1 out/ $version/out/
topic # both 1 both/ $version/both/
CONF
    mkfifo "$scratch/log"
    mosquitto -c "$scratch/conf" 2>"$scratch/log" >/dev/null &
    bridge=$!
    exec {log}<"$scratch/log"
    rm "$scratch/log"
    while read -r -t $limit -u "$log" line; do
        [[ $line == *"Received SUBACK"* ]] && subscribed=$((subscribed + 1))
        if [ "$subscribed" -eq 2 ]; then
            # Whatever it says from now on, it does not wait for a reader.
            cat <&"$log" >/dev/null &
            return 0
        fi
    done
    echo "the bridge did not connect"
    return 1
}
stop() {
    kill -TERM "$bridge"
    wait "$bridge" 2>/dev/null
    bridge=
    exec {log}<&-
}

for version in "${versions[@]}"; do
    if ! start "$version"; then
        failed=$((failed + 1))
        echo "FAILED: $version connects"
        kill "$bridge" 2>/dev/null
        bridge=
        continue
    fi
    passed=$((passed + 1))
    watch_at near -q 1 -t '#' -F 'M %t %p'
    near=$live
    watch_at far -q 1 -t "$version/#" -F 'M %t %p'
    far=$live

    publish far -q 1 -t "$version/in/a" -m "1"
    check "$version in, far" "$version/in/a 1" "$(next "$far")"
    check "$version in, near" "in/a 1" "$(next "$near")"
    publish near -q 1 -t out/a -m "2"
    check "$version out, near" "out/a 2" "$(next "$near")"
    check "$version out, far" "$version/out/a 2" "$(next "$far")"

    # What goes both ways comes once: the bridge gets nothing back of what it brought.
    publish far -q 1 -t "$version/both/a" -m "3"
    check "$version both from far, far" "$version/both/a 3" "$(next "$far")"
    check "$version both from far, near" "both/a 3" "$(next "$near")"
    publish near -q 1 -t both/b -m "4"
    check "$version both from near, near" "both/b 4" "$(next "$near")"
    check "$version both from near, far" "$version/both/b 4" "$(next "$far")"

    # A retained message is retained at the other end, too, and goes with the one it came from.
    publish far -q 1 -r -t "$version/in/r" -m "5"
    publish near -q 1 -r -t out/r -m "6"
    check "$version retained, near" "in/r 5 out/r 6 " "$(for _ in 1 2; do next "$near"; done | sort | tr '\n' ' ')"
    check "$version retained, far" "$version/in/r 5 $version/out/r 6 " \
        "$(for _ in 1 2; do next "$far"; done | sort | tr '\n' ' ')"
    check "$version retained in" "1 in/r 5" "$(subscribe near -q 1 -t 'in/#' -C 1 -F '%r %t %p')"
    check "$version retained out" "1 $version/out/r 6" "$(subscribe far -q 1 -t "$version/out/#" -C 1 -F '%r %t %p')"
    publish far -q 1 -r -n -t "$version/in/r"
    publish near -q 1 -r -n -t out/r
    check "$version removed, near" "in/r out/r " "$(for _ in 1 2; do next "$near"; done | sort | tr '\n' ' ')"
    check "$version removed, far" "$version/in/r $version/out/r " \
        "$(for _ in 1 2; do next "$far"; done | sort | tr '\n' ' ')"
    publish far -q 1 -t "$version/in/end" -m "7"
    check "$version after all that" "in/end 7" "$(next "$near")"
    check "$version nothing is retained" "0 in/x 8" "$(
        watch_at near -q 1 -t 'in/#' -F 'M %r %t %p' && publish far -q 1 -t "$version/in/x" -m 8 && next "$live"
    )"
    done_watching "$near" "$far"
    stop
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
