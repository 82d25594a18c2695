#!/usr/bin/env bash
# mosquitto_pub, mosquitto_sub and mosquitto_rr against the broker at MQTT_HOST, MQTT_PORT and
# MQTT_SOCKET. Every wait is for something that happens; its limit only ends a failure.
#   mosquitto.sh [NAME...]    the tests of these names only
#   mosquitto.sh --list       the names
set -uo pipefail
limit=15
in_every_version=(in_every_qos retained will resumed many_in_order large)
once=(between_versions properties request_and_response shared_subscription receive_maximum retain_as_published
    session_expiry unix_socket sys_topics)
if [ "${1:-}" = --list ]; then
    printf '%s\n' "${in_every_version[@]}" "${once[@]}"
    exit
fi
wanted=" ${*:-${in_every_version[*]} ${once[*]}} "
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
at=(-h "$MQTT_HOST" -p "$MQTT_PORT")
# shellcheck source=tests/interop/watching.sh
. "$(dirname "$0")/watching.sh"

publish() { timeout $limit mosquitto_pub "${at[@]}" "$@"; }
subscribe() { timeout $limit mosquitto_sub "${at[@]}" "$@"; }

# Reads the watcher to its end.
done_watching() {
    cat <&"$live" >/dev/null
    exec {live}<&-
}

in_every_qos() {
    local version=$1 qos
    for qos in 0 1 2; do
        watch -V "$version" -q 2 -C 2 -t "$version/+/$qos" -F 'M %q %r %t %p'
        publish -V "$version" -q "$qos" -t "$version/a/$qos" -m "payload"
        publish -V "$version" -q "$qos" -t "$version/b/$qos" -n
        check "$version QoS $qos" "$qos 0 $version/a/$qos payload" "$(next "$live")"
        check "$version QoS $qos, empty" "$qos 0 $version/b/$qos " "$(next "$live") "
        done_watching
    done
}

retained() {
    local version=$1 base="$1/retained"
    publish -V "$version" -q 1 -r -t "$base/a" -m old
    publish -V "$version" -q 1 -r -t "$base/a" -m new
    publish -V "$version" -q 2 -r -t "$base/b" -m gone
    publish -V "$version" -q 1 -r -n -t "$base/b"
    publish -V "$version" -q 0 -r -t "$base/c" -m last
    local got
    got=$(subscribe -V "$version" -q 2 -t "$base/+" -C 2 -F '%q %r %t %p' | sort)
    check "$version retained" "0 1 $base/c last
1 1 $base/a new" "$got"
}

will() {
    local version=$1 base="$1/will"
    watch -V "$version" -q 1 -C 2 -t "$base/#" -F 'M %q %r %p'
    local reader=$live
    # The client with the will is killed when the other one has seen it there.
    stdbuf -oL mosquitto_sub -h "$MQTT_HOST" -p "$MQTT_PORT" -V "$version" -d -t "$base/none" \
        --will-topic "$base/gone" --will-payload bye --will-qos 1 --will-retain >"$scratch/victim" &
    local victim=$!
    tail -f --pid "$victim" "$scratch/victim" 2>/dev/null | grep -q -m1 Subscribed
    publish -V "$version" -q 1 -t "$base/alive" -m here
    live=$reader
    check "$version before the will" "1 0 here" "$(next "$live")"
    kill -KILL "$victim"
    wait "$victim" 2>/dev/null
    check "$version will" "1 0 bye" "$(next "$live")"
    done_watching
    check "$version retained will" "1 bye" "$(subscribe -V "$version" -q 1 -t "$base/gone" -C 1 -F '%r %p')"
}

resumed() {
    local version=$1 base="$1/resumed" n
    subscribe -V "$version" -c -i "$version-sleeper" -q 2 -t "$base/#" -E
    for n in 1 2 3 4 5; do
        publish -V "$version" -q $((1 + n % 2)) -t "$base/$n" -m "$n"
    done
    publish -V "$version" -q 0 -t "$base/0" -m "not kept"
    # mosquitto_sub prints QoS 2 when it is released, so each QoS has its own order.
    check "$version resumed" "1 2
1 4
2 1
2 3
2 5" "$(subscribe -V "$version" -c -i "$version-sleeper" -q 2 -t "$base/other" -C 5 -F '%q %p' | sort -s -k1,1)"
}

many_in_order() {
    local version=$1
    watch -V "$version" -q 2 -C 500 -t "$version/many" -F 'M %p'
    seq 500 | publish -V "$version" -q 1 -t "$version/many" -l
    local got
    got=$(for _ in $(seq 500); do next "$live"; done | cksum)
    check "$version 500 in order" "$(seq 500 | cksum)" "$got"
    done_watching
}

large() {
    local version=$1
    head -c 3000000 /dev/urandom >"$scratch/large"
    publish -V "$version" -q 1 -r -t "$version/large" -f "$scratch/large"
    subscribe -V "$version" -q 1 -t "$version/large" -C 1 -N >"$scratch/back"
    check "$version 3 MB" "$(cksum <"$scratch/large")" "$(cksum <"$scratch/back")"
    publish -V "$version" -q 1 -r -n -t "$version/large"
}

# Between versions: the properties that only one side knows disappear on the way.
between_versions() {
    watch -V mqttv31 -q 1 -C 1 -t between -F 'M %q %p'
    publish -V mqttv5 -q 2 -t between -m text -D publish user-property a b
    check "from 5 to 3.1" "1 text" "$(next "$live")"
    done_watching
}

# Properties of MQTT 5.
properties() {
    watch -V mqttv5 -q 1 -C 1 -t properties -D subscribe subscription-identifier 7 \
        -F 'M %C|%E|%F|%P|%R|%D|%S|%p'
    publish -V mqttv5 -q 1 -t properties -m text -D publish content-type text/plain \
        -D publish message-expiry-interval 3600 -D publish payload-format-indicator 1 \
        -D publish user-property b 2 -D publish user-property a 1 \
        -D publish response-topic answer/here -D publish correlation-data id-1
    check "properties" "text/plain|3600|1|b:2 a:1|answer/here|id-1|7|text" "$(next "$live")"
    done_watching
}

# Request and response: mosquitto_rr asks, a watcher and mosquitto_pub answer.
request_and_response() {
    local asker topic question
    watch -V mqttv5 -C 1 -t service/time -F 'M %R %p'
    timeout $limit mosquitto_rr -h "$MQTT_HOST" -p "$MQTT_PORT" -V mqttv5 -q 1 -t service/time \
        -e client/answer -m "what time" >"$scratch/answer" &
    asker=$!
    read -r topic question <<<"$(next "$live")"
    check "request" "what time" "$question"
    publish -V mqttv5 -q 1 -t "$topic" -m "tea time"
    wait $asker
    check "response" "tea time" "$(cat "$scratch/answer")"
    done_watching
}

# A shared subscription gives each message to one of its members.
shared_subscription() {
    local first second got
    # shellcheck disable=SC2016 # the topic begins with a dollar sign
    local team='$share/team/job'
    watch -V mqttv5 -q 1 -C 3 -t "$team" -F 'M %p'
    first=$live
    watch -V mqttv5 -q 1 -C 3 -t "$team" -F 'M %p'
    second=$live
    seq 6 | publish -V mqttv5 -q 1 -t job -l
    got=$(
        for live in $first $second; do
            for _ in 1 2 3; do next "$live"; done
        done | sort | tr '\n' ' '
    )
    check "shared subscription" "1 2 3 4 5 6 " "$got"
    for live in $first $second; do done_watching; done
}

# One at a time: Receive Maximum of the receiver.
receive_maximum() {
    subscribe -V mqttv5 -c -i one-at-a-time -q 2 -t window -E
    seq 10 | publish -V mqttv5 -q 2 -t window -l
    check "receive maximum" "$(seq 10)" \
        "$(subscribe -V mqttv5 -c -i one-at-a-time -q 2 -t window -D connect receive-maximum 1 -C 10)"
}

# The RETAIN flag as it was published.
retain_as_published() {
    check "retain as published" "1 x" "$(
        watch -V mqttv5 -C 1 -t rap --retain-as-published -F 'M %r %p' 2>/dev/null && {
            publish -V mqttv5 -r -t rap -m x
            next "$live"
        }
    )"
}

# Sessions do not outlive their expiry: without one nothing waits.
session_expiry() {
    subscribe -V mqttv5 -c -x 0 -i forgotten -q 1 -t forgotten -E
    publish -V mqttv5 -q 1 -t forgotten -m lost
    publish -V mqttv5 -q 1 -r -t forgotten -m kept
    check "no session without expiry" "1 kept" \
        "$(subscribe -V mqttv5 -c -i forgotten -q 1 -t forgotten -C 1 -F '%r %p')"
}

# Unix socket.
unix_socket() {
    mosquitto_pub --unix "$MQTT_SOCKET" -q 2 -r -t socket -m "over a socket"
    check "Unix socket" "over a socket" "$(timeout $limit mosquitto_sub --unix "$MQTT_SOCKET" -t socket -C 1)"
}

# What monitoring reads.
sys_topics() {
    # shellcheck disable=SC2016 # the topic begins with a dollar sign
    check '$SYS' "midge version" "$(subscribe -t '$SYS/broker/version' -C 1 | cut -d' ' -f1,2)"
    publish -r -t marker/broker/version -m seen
    # shellcheck disable=SC2016 # as above
    check 'no $SYS behind a wildcard' "marker/broker/version seen" \
        "$(subscribe -t '+/broker/version' -C 1 -v)"
}

for version in mqttv31 mqttv311 mqttv5; do
    for name in "${in_every_version[@]}"; do [[ $wanted != *" $name "* ]] || "$name" "$version"; done
done
for name in "${once[@]}"; do [[ $wanted != *" $name "* ]] || "$name"; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
