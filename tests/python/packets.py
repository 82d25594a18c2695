"""Packets of MQTT 3.1.1 as bytes, for tests that need a client without a mind of its own."""

CONNACK = b"\x20\x02\x00\x00"


def text(value):
    """A string with its length."""
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def packet(first, body):
    """A packet of up to 127 bytes."""
    return bytes([first, len(body)]) + body


def connect(client_id="s", clean=True, keep_alive=0):
    """CONNECT."""
    body = text("MQTT") + bytes([4, 2 if clean else 0]) + keep_alive.to_bytes(2, "big")
    return packet(0x10, body + text(client_id))


def subscribe(filter, qos=0, identifier=1):
    """SUBSCRIBE to one filter."""
    return packet(0x82, identifier.to_bytes(2, "big") + text(filter) + bytes([qos]))


def publish(topic, payload=b""):
    """PUBLISH at QoS 0."""
    return packet(0x30, text(topic) + payload)
