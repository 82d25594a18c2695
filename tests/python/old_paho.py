"""paho-mqtt 1.x against a broker: all QoS, retained, will, both versions of the protocol."""

import threading

import paho.mqtt.client as paho

import midge

VERSIONS = {"3.1.1": paho.MQTTv311, "5.0": paho.MQTTv5}


def client(broker, name, version, **settings):
    one = paho.Client(name, protocol=VERSIONS[version])
    one.received, one.arrived = [], threading.Condition()

    def on_message(_, __, message):
        with one.arrived:
            one.received.append((message.topic, message.payload, message.qos, message.retain))
            one.arrived.notify_all()

    one.on_message = on_message
    if will := settings.get("will"):
        one.will_set(*will)
    one.connect(broker.host, broker.port)
    one.loop_start()
    broker.wait_client(name)
    return one


def check(version):
    with midge.Broker() as broker:
        broker.publish("kept", "first", retain=True)
        reader = client(broker, "reader", version)
        reader.subscribe("#", 2)
        broker.wait_subscription("#", client="reader")

        writer = client(broker, "writer", version, will=("gone", "writer", 1))
        for qos in range(3):
            writer.publish("t", str(qos), qos).wait_for_publish()
        writer.loop_stop()
        writer.socket().close()
        broker.wait_client("writer", connected=False)

        wanted = [("kept", b"first", 0, 1)]
        wanted += [("t", str(qos).encode(), qos, 0) for qos in range(3)]
        wanted += [("gone", b"writer", 1, 0)]
        with reader.arrived:
            assert reader.arrived.wait_for(lambda: len(reader.received) == len(wanted), 10)
        assert reader.received == wanted, reader.received
        reader.disconnect()
        reader.loop_stop()


if __name__ == "__main__":
    for name in VERSIONS:
        check(name)
    print("paho-mqtt", __import__("paho.mqtt").mqtt.__version__, "passed")
