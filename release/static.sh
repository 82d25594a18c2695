#!/usr/bin/env bash
# Builds the command as one static file without symbols, for containers and for systems with any C library, and
# shows that it is one and serves.
#
#   release/static.sh [TARGET] [OUT]    TARGET is x86_64-unknown-linux-musl where it is not named, OUT is target/dist
#
#   OUT/midge-TARGET      the command; an image needs nothing besides: COPY midge-TARGET /midge
#
# rustup installs the standard library of the target, which brings what the file is linked with. PROFILE is a
# profile of cargo, release where it is not set. A command for another processor is run by qemu-user-static,
# and mosquitto's clients (mosquitto-clients) are what it serves.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
    -*)
        sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'
        [ "$1" = --help ]
        exit
        ;;
esac
target=${1:-x86_64-unknown-linux-musl}
[[ $target = *-linux-musl* ]] || { echo "static.sh: $target is no target of Linux with musl" >&2; exit 2; }
profile=${PROFILE:-release}
out=${2:-${CARGO_TARGET_DIR:-$PWD/target}/dist}
fail() {
    echo "static.sh: $1" >&2
    exit 1
}
# shellcheck source=tests/platforms/rustup.sh
. tests/platforms/rustup.sh
standard_library "$target"

variable=${profile^^}
export "CARGO_PROFILE_${variable//-/_}_STRIP=symbols"
variable=${target^^}
export "CARGO_TARGET_${variable//-/_}_LINKER=rust-lld"
cargo_for build "$target" -p midge-cli --bin midge --profile "$profile"
folder=$profile
[ "$profile" != dev ] || folder=debug
mkdir -p "$out"
midge=$out/midge-$target
cp "$CARGO_TARGET_DIR/$target/$folder/midge" "$midge"

# No interpreter, and no library that a loader would look for.
! readelf -lW "$midge" | grep -q INTERP || fail "it wants a loader"
! readelf -dW "$midge" | grep -q NEEDED || fail "it wants shared libraries"
! readelf -SW "$midge" | grep -q ' \.symtab ' || fail "it has symbols"
echo "$midge: $(stat -c %s "$midge") bytes, static"

# Serves a message that is kept, on a port of its own.
run=("$midge")
cpu=${target%%-*}
if [ "$cpu" != "$(uname -m)" ]; then
    [ "$cpu" != armv7 ] || cpu=arm
    run=("qemu-$cpu-static" "$midge")
fi
for tool in "${run[0]}" mosquitto_pub mosquitto_sub; do
    command -v "$tool" >/dev/null || fail "$tool is not there: install qemu-user-static and mosquitto-clients"
done
said=$(mktemp)
"${run[@]}" serve --log off --print-url --listen tcp://127.0.0.1:0 >"$said" &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -f "$said"' EXIT
url=$(timeout 60 tail -n +1 -F --pid "$server" "$said" 2>/dev/null | head -n 1) || true
[ -n "$url" ] || fail "it does not serve"
mosquitto_pub -p "${url##*:}" -q 1 -t ward/7/spo2 -m 97 -r
got=$(mosquitto_sub -p "${url##*:}" -W 60 -t 'ward/#' -C 1 -v)
[ "$got" = "ward/7/spo2 97" ] || fail "it served: $got"
kill "$server"
wait "$server" || fail "it stopped with $?"
echo "$("${run[@]}" --version) serves"
