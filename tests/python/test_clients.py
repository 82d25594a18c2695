"""Clients of other makes."""

import asyncio
import threading

import aiomqtt
import gmqtt
import paho.mqtt.client as paho
import pytest

from midge import Broker


@pytest.mark.parametrize("version", ["3.1", "3.1.1", "5.0"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho(mqtt_broker, device, version, qos):
    one = device(mqtt_broker, version=version)
    one.client.subscribe("to/+", qos)
    mqtt_broker.wait_subscription("to/+", client="device")
    assert mqtt_broker.publish("to/device", "command", qos=2).matched == 1
    assert one.wait(1) == [("to/device", b"command", qos)]
    one.client.publish("from/device", b"state", qos, retain=True)
    message = mqtt_broker.expect("from/device", b"state", qos=qos, client="device", retain=True)
    assert mqtt_broker.retained["from/device"] == message
    one.close()
    mqtt_broker.wait_client("device", connected=False)


def test_paho_resumes_its_session_and_has_a_will(mqtt_broker, device, mqtt_protocol):
    keywords = {} if mqtt_protocol == "5.0" else {"clean_session": False}
    connect = {}
    if mqtt_protocol == "5.0":
        properties = paho.Properties(paho.PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        connect = {"clean_start": False, "properties": properties}

    def come():
        return device(
            mqtt_broker,
            version=mqtt_protocol,
            connect=connect,
            before=lambda client: client.will_set("will", "gone", qos=1, retain=True),
            **keywords,
        )

    first = come()
    first.client.subscribe("to/device", 1)
    mqtt_broker.wait_subscription("to/device")
    first.vanish()
    mqtt_broker.expect("will", "gone", qos=1, retain=True, timeout=10)
    mqtt_broker.publish("to/device", "while away", qos=1)
    mqtt_broker.restart()
    second = come()
    assert second.session_present
    assert second.wait(1) == [("to/device", b"while away", 1)]


class SocketClient(paho.Client):
    """paho on a socket that is connected already."""

    def __init__(self, broker, client_id):
        super().__init__(paho.CallbackAPIVersion.VERSION2, client_id)
        self._broker = broker

    def _create_socket(self):
        sock = self._broker.socket()
        sock.setblocking(False)
        return sock


def test_paho_without_a_port():
    with Broker(port=None) as broker:
        client = SocketClient(broker, "inside")
        subscribed = threading.Event()
        client.on_connect = lambda *_: client.subscribe("t")
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect("unused")
        client.loop_start()
        assert subscribed.wait(10)
        assert broker.clients["inside"].peer == "memory"
        client.publish("hello", "x", 1)
        broker.expect("hello", "x", timeout=10)
        client.disconnect()
        client.loop_stop()


async def test_aiomqtt_without_a_port():
    async with Broker(port=None) as broker:
        client = aiomqtt.Client("unused", identifier="inside")

        def connected():
            sock = broker.socket()
            sock.setblocking(False)
            return sock

        client._client._create_socket = connected
        async with client:
            await client.subscribe("t")
            await broker.aio.wait_subscription("t", client="inside")
            broker.publish("t", "x")
            message = await anext(aiter(client.messages))
            assert message.payload == b"x"


async def test_aiomqtt(mqtt_broker):
    async with aiomqtt.Client(mqtt_broker.host, mqtt_broker.port, identifier="one") as client:
        await client.subscribe("a/#", qos=1)
        await mqtt_broker.aio.wait_subscription("a/#")
        readings = mqtt_broker.subscribe("b/+")
        mqtt_broker.publish("a/x", "1", qos=1)
        message = await anext(aiter(client.messages))
        assert (str(message.topic), message.payload) == ("a/x", b"1")
        await client.publish("b/y", "2", qos=2)
        message = await readings.aget(timeout=10)
        assert (message.topic, message.text, message.client_id) == ("b/y", "2", "one")
        await mqtt_broker.aio.expect("b/y", "2", timeout=10)
        await mqtt_broker.aio.settle(10)
    await mqtt_broker.aio.wait_client("one", connected=False, timeout=10)


async def test_gmqtt(mqtt_broker):
    client = gmqtt.Client("g")
    arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    client.on_message = lambda c, topic, payload, qos, properties: arrived.set_result(payload)
    await client.connect(mqtt_broker.host, mqtt_broker.port)
    client.subscribe("to/g", qos=1)
    await mqtt_broker.aio.wait_subscription("to/g", timeout=10)
    mqtt_broker.publish("to/g", "hello", qos=1)
    assert await asyncio.wait_for(arrived, 10) == b"hello"
    client.publish("from/g", "answer", qos=1, user_property=("a", "b"))
    message = await mqtt_broker.aio.expect("from/g", timeout=10)
    assert message.properties.user == (("a", "b"),)
    await client.disconnect()
