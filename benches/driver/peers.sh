#!/usr/bin/env bash
# Gets the peers that package registries have, into benches/peers (never committed):
# mosquitto from Debian, rumqttd with cargo, amqtt with pip, aedes with npm.
# Call it with the names of those wanted, or none for all. Whatever is missing is left out of a run
# with `ab.py --broker`.
set -euo pipefail
peers="${PEERS:-$(cd "$(dirname "$0")/.." && pwd)/peers}"
mkdir -p "$peers"
for name in "${@:-mosquitto rumqttd amqtt aedes}"; do
  for peer in $name; do
    case "$peer" in
      mosquitto) command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || apt-get install -y mosquitto ;;
      rumqttd) cargo install rumqttd --version 0.20.0 --root "$peers/rumqttd" ;;
      amqtt) python3 -m venv "$peers/amqtt" && "$peers/amqtt/bin/pip" install --quiet amqtt==0.12.1 ;;
      aedes) npm install --silent --prefix "$peers/aedes" aedes@1.2.0 ;;
      *) echo "no such peer: $peer" >&2; exit 2 ;;
    esac
  done
done
