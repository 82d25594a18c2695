"""The package as its users meet it, on real clients."""

import asyncio
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading

import aiomqtt
import paho.mqtt.client as paho
import pytest

import midge
from midge import ANY, Broker, ExpectationError, Message, Properties

VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5.0": paho.MQTTv5}


class Device:
    """A paho client that has connected, with what it received."""

    def __init__(self, broker, name, version="5.0", sock=None, **keywords):
        self.received = []
        self.arrived = threading.Condition()
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=VERSIONS[version], **keywords
        )
        self.client.on_message = self._on_message
        connected = threading.Event()
        self.client.on_connect = lambda *_: connected.set()
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        assert connected.wait(10)

    def _on_message(self, client, userdata, message):
        with self.arrived:
            self.received.append(message)
            self.arrived.notify_all()

    def wait(self, count):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, 10)
        return [(m.topic, m.payload, m.qos) for m in self.received]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_in_every_version_and_qos(mqtt_broker, version, qos):
    device = Device(mqtt_broker, "device", version)
    device.client.subscribe("to/+", qos)
    mqtt_broker.wait_subscription("to/+", client="device")
    assert mqtt_broker.publish("to/device", "command", qos=2) == 1
    assert device.wait(1) == [("to/device", b"command", qos)]
    device.client.publish("from/device", b"state", qos, retain=True)
    message = mqtt_broker.expect("from/device", b"state", qos=qos, client="device")
    assert message.retain and mqtt_broker.retained["from/device"].text == "state"
    device.close()
    mqtt_broker.wait_client("device", connected=False)


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_paho_resumes_its_session_and_has_a_will(mqtt_broker, version):
    if version == "5.0":
        keywords = {}
    else:
        keywords = {"clean_session": False}

    def connect():
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, "resumer", protocol=VERSIONS[version], **keywords
        )
        client.will_set("will", "gone", qos=1, retain=True)
        got, connected = [], threading.Event()
        client.on_message = lambda c, u, m: got.append((m.topic, m.payload))
        client.on_connect = lambda *_: connected.set()
        if version == "5.0":
            properties = paho.Properties(paho.PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
            client.connect(
                mqtt_broker.host, mqtt_broker.port, clean_start=False, properties=properties
            )
        else:
            client.connect(mqtt_broker.host, mqtt_broker.port)
        client.loop_start()
        assert connected.wait(10)
        return client, got

    client, _ = connect()
    client.subscribe("to/resumer", 1)
    mqtt_broker.wait_subscription("to/resumer")
    client.loop_stop()
    client.socket().close()
    assert mqtt_broker.expect("will", "gone", qos=1, timeout=10).retain
    mqtt_broker.publish("to/resumer", "while away", qos=1)
    client, got = connect()
    mqtt_broker.settle(10)
    client.disconnect()
    client.loop_stop()
    assert got == [("to/resumer", b"while away")]


def test_aiomqtt(mqtt_broker):
    async def run():
        async with aiomqtt.Client(mqtt_broker.host, mqtt_broker.port, identifier="one") as client:
            await client.subscribe("a/#", qos=1)
            readings = mqtt_broker.subscribe("b/+")
            mqtt_broker.publish("a/x", "1", qos=1)
            async for message in client.messages:
                assert (str(message.topic), message.payload) == ("a/x", b"1")
                break
            await client.publish("b/y", "2", qos=2)
            message = await readings.aget(timeout=10)
            assert (message.topic, message.text, message.client_id) == ("b/y", "2", "one")

    asyncio.run(run())


def test_a_cancelled_wait_loses_nothing(mqtt_broker):
    readings = mqtt_broker.subscribe("t")

    async def run():
        with pytest.raises(TimeoutError):
            await readings.aget(timeout=0.01)
        mqtt_broker.publish("t", "kept")
        assert (await readings.aget(timeout=10)).text == "kept"

    asyncio.run(run())
    asyncio.run(run())


def test_properties_go_through(mqtt_broker):
    properties = Properties(
        content_type="text/plain",
        response_topic="answers",
        correlation_data=b"\x00\x01",
        message_expiry=60,
        user=(("b", "1"), ("a", "2"), ("b", "3")),
    )
    readings = mqtt_broker.subscribe("t")
    mqtt_broker.publish("t", json={"spo2": 97}, qos=1, properties=properties, as_client="pump")
    message = readings.get(timeout=10)
    assert message.json() == {"spo2": 97} and message.client_id == "pump"
    assert message.properties == properties
    assert pickle.loads(pickle.dumps(message)) == message and hash(message)


def test_payloads(mqtt_broker):
    for payload in [b"bytes", bytearray(b"array"), memoryview(b"view"), "text", b"", b"x" * 100_000]:
        mqtt_broker.publish("t", payload)
        expected = payload.encode() if isinstance(payload, str) else bytes(payload)
        assert mqtt_broker.expect("t").payload == expected
    with pytest.raises(TypeError, match="payload"):
        mqtt_broker.publish("t", 5)


def test_expect_finds_what_was_and_waits_for_what_comes(mqtt_broker):
    mqtt_broker.publish("a/1", "first")
    mqtt_broker.publish("a/2", "second")
    assert mqtt_broker.expect("a/+", "second").topic == "a/2"
    assert mqtt_broker.expect("a/#").text == "first"
    publisher = threading.Thread(target=mqtt_broker.publish, args=("b", "later"))
    publisher.start()
    assert mqtt_broker.expect("b", timeout=10).text == "later"
    publisher.join()
    mqtt_broker.expect_none("b")
    mqtt_broker.publish("b", "extra")
    with pytest.raises(ExpectationError, match="extra"):
        mqtt_broker.expect_none()
    with pytest.raises(ExpectationError, match="'extra'"):
        mqtt_broker.expect("b", "other", timeout=0)
    assert [m.topic for m in mqtt_broker.messages] == ["a/1", "a/2", "b", "b"]


@pytest.mark.mqtt_broker(clock="manual")
def test_the_clock_can_be_moved(mqtt_broker):
    properties = Properties(message_expiry=60)
    mqtt_broker.publish("t", "short-lived", retain=True, properties=properties)
    mqtt_broker.clock.advance(59)
    assert mqtt_broker.retained["t"].properties.message_expiry == 1
    mqtt_broker.clock.advance(1)
    assert mqtt_broker.retained == {}


@pytest.mark.mqtt_broker(port=None)
def test_a_socket_without_a_port(mqtt_broker):
    with mqtt_broker.socket() as sock:
        sock.settimeout(10)
        sock.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01s")
        assert sock.recv(4) == b"\x20\x02\x00\x00"
        assert mqtt_broker.wait_client("s").peer == "memory"
    mqtt_broker.wait_client("s", connected=False)


def test_start_stop_restart(mqtt_broker_factory):
    broker = mqtt_broker_factory()
    port = broker.port
    with pytest.raises(midge.BindError):
        Broker(port=port).start()
    broker.publish("t", "x", retain=True)
    broker.restart()
    assert broker.port == port and broker.retained == {}
    broker.stop()
    broker.stop()
    with pytest.raises(midge.StoppedError):
        broker.publish("t")
    with pytest.raises(OSError):
        socket.create_connection((broker.host, port), timeout=5)


def test_reset_leaves_nothing(mqtt_broker_reset):
    broker = mqtt_broker_reset
    device = Device(broker, "device")
    broker.publish("t", "x", retain=True)
    broker.reset()
    assert broker.retained == {} and broker.sessions == {} and broker.messages == []
    device.client.loop_stop()


def test_mistakes_raise_before_anything_happens(mqtt_broker):
    for call, text in [
        (lambda: mqtt_broker.publish("a/+"), "topic"),
        (lambda: mqtt_broker.publish("t", qos=3), "qos"),
        (lambda: mqtt_broker.subscribe("a/#/b"), "filter"),
        (lambda: mqtt_broker.subscribe(), "filters"),
        (lambda: Broker(options={"limits.inflght": 1}).start(), "limits.inflight"),
        (lambda: Broker(clock="wrong"), "clock"),
        (lambda: mqtt_broker.disconnect("x", 0), "reason"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    assert mqtt_broker.messages == []


def test_events_tell_the_story(mqtt_broker):
    device = Device(mqtt_broker, "device")
    device.client.subscribe("t")
    mqtt_broker.wait_subscription("t", client=ANY)
    mqtt_broker.disconnect("device")
    mqtt_broker.wait_client("device", connected=False)
    names = [event.name for event in mqtt_broker.events]
    assert names[:2] == ["connected", "subscribed"] and "disconnected" in names
    device.client.loop_stop()


def test_many_brokers_leave_nothing_behind():
    def resources():
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    with Broker():
        pass
    gc.collect()  # sockets of other tests' clients
    before = resources()
    for _ in range(200):
        with Broker() as broker:
            broker.publish("t", "x")
    assert resources() == before


def test_exit_without_stop_under_traffic():
    program = """
import threading, midge
broker = midge.Broker().start()
seen = broker.subscribe("#")
threading.Thread(target=lambda: [m for m in seen], daemon=True).start()
def flood():
    while True:
        broker.publish("t", b"x")
threading.Thread(target=flood, daemon=True).start()
broker.expect("t", timeout=10)
"""
    for _ in range(10):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=50)
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_forked_child_gets_an_error(mqtt_broker):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            mqtt_broker.publish("t")
        except midge.ForkedError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert mqtt_broker.publish("t") == 0


def test_ctrl_c_ends_a_wait(mqtt_broker):
    readings = mqtt_broker.subscribe("never")
    ready = threading.Event()

    def interrupt():
        ready.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        ready.set()
        readings.get()
    interrupter.join()


def test_values_compare():
    assert Message("t", b"x") == Message("t", b"x")
    assert ANY == object()
