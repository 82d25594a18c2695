"""Clients of other makes, as fixtures."""

import threading
from contextlib import suppress

import paho.mqtt.client as paho
import pytest

pytest_plugins = ["pytester"]

VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5.0": paho.MQTTv5}


class Device:
    """A paho client that has connected, with what it received."""

    def __init__(self, host, port, name, version="5.0", *, connect=None, before=None, **keywords):
        self.received = []
        self.refusal = None
        self.done = threading.Condition()
        self.connected = False
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=VERSIONS[version], **keywords
        )
        self.client.on_message = self._on_message
        self.client.on_connect = self._on_connect
        if before is not None:
            before(self.client)
        self.client.connect(host, port, **(connect or {}))
        self.client.loop_start()
        with self.done:
            assert self.done.wait_for(lambda: self.connected or self.refusal, 10)

    def _on_connect(self, client, userdata, flags, reason, properties):
        with self.done:
            self.connected = not reason.is_failure
            self.refusal = reason if reason.is_failure else None
            self.session_present = flags.session_present
            self.done.notify_all()

    def _on_message(self, client, userdata, message):
        with self.done:
            self.received.append((message.topic, message.payload, message.qos))
            self.done.notify_all()

    def wait(self, count):
        """The messages, once there are that many."""
        with self.done:
            assert self.done.wait_for(lambda: len(self.received) >= count, 10), self.received
            return list(self.received)

    def vanish(self):
        """The connection breaks."""
        self.client.loop_stop()
        with suppress(AttributeError):
            self.client.socket().close()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
        # The thread may have ended before it saw that the connection is closed.
        with suppress(AttributeError):
            self.client.socket().close()


@pytest.fixture
def told(monkeypatch):
    """What threads have raised, which would fail the test."""
    raised = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_value))
    return raised


@pytest.fixture
def device():
    """Connects paho clients, which end with the test."""
    made = []

    def connect(broker, name="device", version="5.0", **keywords):
        one = Device(broker.host, broker.port, name, version, **keywords)
        made.append(one)
        return one

    yield connect
    for one in made:
        one.close()
