#!/usr/bin/env bash
# Ordinary clients against `midge serve`: the mosquitto commands, mosquitto as a bridge, and mqtt.js, in
# 3.1, 3.1.1 and 5.
# (rumqttc is tested in crates/midge/tests, paho-mqtt and aiomqtt in tests/python.)
# Installs what is missing: Debian packages as root, mqtt.js below target/.
#
#   run.sh               everything, as the gate does
#   run.sh NAME...       some of it: a suite (mosquitto, bridge, mqttjs), or one test of it (mosquitto:will,
#                        bridge:mqttv311, "mqttjs:5 shared subscription")
#   run.sh --list        the names that there are
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"

need_command() {
    local command=$1 package=$2
    command -v "$command" >/dev/null && return 0
    echo "installing $package"
    apt-get update -qq >/dev/null &&
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null
}

die() {
    echo "tests/interop: $1" >&2
    echo "0 passed, 1 failed"
    exit 1
}

# The names of all tests.
list() {
    bash "$here/mosquitto.sh" --list | sed 's/^/mosquitto:/'
    bash "$here/bridge.sh" --list | sed 's/^/bridge:/'
    sed -n "s/^\(test\|inEveryVersion\)('\([^']*\)'.*/mqttjs:\2/p" "$here/mqttjs/test.mjs"
}
# shellcheck source=tests/arguments.sh
. "$root/tests/arguments.sh"
[ ${#names[@]} -gt 0 ] || names=(mosquitto bridge mqttjs)
for name in "${names[@]}"; do
    case $name in
        mosquitto | bridge | mqttjs | mqttjs:*) ;;
        *)
            grep -qxF "$name" <<<"$(list)" || {
                echo "run.sh: nothing is called $name. There is:"
                list
                exit 2
            } >&2
            ;;
    esac
done

(cd "$root" && cargo build -q -p midge-cli) || die "cannot build the command"
midge="$CARGO_TARGET_DIR/debug/midge"

need_mosquitto() {
    need_command mosquitto_pub mosquitto-clients || die "cannot install mosquitto-clients"
    need_command mosquitto mosquitto || die "cannot install mosquitto"
}
# The exact versions of package-lock.json, outside the source tree; what is there already is taken.
js="$CARGO_TARGET_DIR/interop-mqttjs"
need_mqttjs() {
    need_command node nodejs || die "cannot install nodejs"
    need_command npm npm || die "cannot install npm"
    mkdir -p "$js" && cp "$here"/mqttjs/* "$js/"
    cmp -s "$js/package-lock.json" "$js/installed" && return
    (cd "$js" && timeout 180 npm ci --silent --no-audit --no-fund && cp package-lock.json installed) ||
        die "cannot install mqtt.js"
}

scratch=$(mktemp -d)
broker=
finish() {
    [ -n "$broker" ] && kill "$broker" 2>/dev/null && wait "$broker"
    rm -rf "$scratch"
}
trap finish EXIT

# Starts a broker of its own; sets MQTT_URL, MQTT_HOST, MQTT_PORT, MQTT_SOCKET.
serve() {
    mkfifo "$scratch/url"
    "$midge" serve --listen tcp://127.0.0.1:0 --listen "unix://$scratch/socket" --print-url \
        --log warn >"$scratch/url" 2>"$scratch/log" &
    broker=$!
    read -r -t 20 MQTT_URL <"$scratch/url" || die "the broker did not start"
    rm "$scratch/url"
    export MQTT_URL MQTT_HOST=127.0.0.1 MQTT_PORT="${MQTT_URL##*:}" MQTT_SOCKET="$scratch/socket"
}

# Stops it with SIGTERM: that has to end well.
stop() {
    local id=$broker
    broker=
    kill -TERM "$id"
    if ! wait "$id" || grep -E 'panic|ERROR' "$scratch/log"; then
        echo "FAILED: the broker did not end well"
        failed=$((failed + 1))
    fi
}

passed=0
failed=0

# Adds a suite's closing line, `N passed, N failed`.
suite() {
    local name=$1 output="$scratch/output"
    shift
    echo "-- $name"
    serve
    timeout 300 "$@" 2>&1 | tee "$output"
    local last
    last=$(tail -n 1 "$output")
    if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
    else
        echo "FAILED: $name did not come to its end"
        failed=$((failed + 1))
    fi
    stop
}

for name in "${names[@]}"; do
    # The test after the colon, if one is named.
    one=("${name#*:}")
    [ "$name" != "${name%%:*}" ] || one=()
    case ${name%%:*} in
        mosquitto)
            need_mosquitto
            suite "mosquitto_pub, mosquitto_sub, mosquitto_rr" bash "$here/mosquitto.sh" "${one[@]}"
            ;;
        bridge)
            need_mosquitto
            suite "mosquitto as a bridge" bash "$here/bridge.sh" "${one[@]}"
            ;;
        mqttjs)
            need_mqttjs
            suite "mqtt.js" node "$js/test.mjs" "${one[@]}"
            ;;
    esac
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
