"""Fleet tracking: trucks report where they are and get orders; one drives into a tunnel and resumes.

    pip install ./python paho-mqtt
    python examples/python/fleet.py

The broker's clock is moved by hand, so that an hour in a tunnel takes no time.
"""

import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import midge

PATIENCE = 10  # seconds that a step may take


class Orders:
    """The orders that have come to a truck."""

    def __init__(self) -> None:
        self.places: list[str] = []
        self.changed = threading.Condition()

    def on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        with self.changed:
            self.places.append(message.payload.decode())
            self.changed.notify_all()

    def wait_for(self, count: int) -> list[str]:
        with self.changed:
            self.changed.wait_for(lambda: len(self.places) >= count, PATIENCE)
            return list(self.places)


class Truck:
    """An ordinary MQTT 5.0 client, as it runs in the truck."""

    def __init__(self, broker: midge.Broker, name: str) -> None:
        self.name = name
        self.orders = Orders()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        self.client.on_message = self.orders.on_message

        # Orders wait for an hour; a short tunnel is not worth a word.
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        lost = Properties(PacketTypes.WILLMESSAGE)
        lost.WillDelayInterval = 60
        self.client.will_set(f"fleet/{name}/state", "lost", qos=1, properties=lost)
        self.client.connect(broker.host, broker.port, clean_start=False, properties=session)
        self.client.loop_start()
        self.client.subscribe(f"fleet/{name}/orders", qos=1)

    def report(self, position: str) -> None:
        self.client.publish(f"fleet/{self.name}/position", position, qos=1).wait_for_publish(
            PATIENCE
        )

    def into_the_tunnel(self) -> None:
        self.client.loop_stop()
        self.client.socket().close()

    def park(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def main() -> None:
    with midge.Broker(clock="manual", timeout=PATIENCE) as broker:
        positions = broker.subscribe("fleet/+/position")
        truck = Truck(broker, "truck-9")
        broker.wait_subscription("fleet/truck-9/orders")
        truck.report("48.40,9.99")
        position = positions.get(timeout=PATIENCE)
        print(f"{position.topic} = {position.text}")

        print("into the tunnel, without a word")
        truck.into_the_tunnel()
        broker.wait_client("truck-9", connected=False)
        broker.clock.advance(60)
        print(f"a minute later: {broker.expect('fleet/truck-9/state').text}")

        for place in ("Ulm", "Linz", "Graz"):
            broker.publish("fleet/truck-9/orders", place, qos=1)
        print(f"orders that wait: {broker.sessions['truck-9'].queued}")

        truck = Truck(broker, "truck-9")
        orders = truck.orders.wait_for(3)
        print(f"out of the tunnel, orders: {', '.join(orders)}")
        truck.park()
        if orders != ["Ulm", "Linz", "Graz"]:
            raise SystemExit("an order is missing")


if __name__ == "__main__":
    main()
