#!/usr/bin/env bash
# Starts a container's command in a root of its own, talks to it, and stops it; release/container.sh calls
# it in a network of its own.
#
#   container-start.sh ROOT USER EMULATOR COMMAND...    EMULATOR is a path in ROOT, or empty
set -euo pipefail
root=$1 user=$2 emulator=$3
shift 3
ip link set lo up

enter=(chroot --userspec="$user" "$root")
[ -z "$emulator" ] || enter+=("$emulator")

# Its log says when it listens. The coprocess becomes the broker, so its number is that of the broker.
coproc broker { exec "${enter[@]}" "$@" 2>&1; }
# shellcheck disable=SC2154 # the coprocess sets it
pid=$broker_PID
exec 3<&"${broker[0]}"
said=
while read -r -u 3 line; do
    said+=$line$'\n'
    case $line in *" listening "*) break ;; esac
done
case $said in
    *" listening "*) ;;
    *)
        printf 'it does not listen; it says:\n%s' "$said" >&2
        exit 1
        ;;
esac

"${enter[@]}" /midge pub -t greeting -m hello -q 1 --retain
got=$("${enter[@]}" /midge sub -t greeting --count 1 --timeout 60)
[ "$got" = hello ] || { echo "a subscriber gets: $got" >&2; exit 1; }

kill -TERM "$pid"
wait "$pid"
