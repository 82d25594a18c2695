"""Values: messages, their properties, clients, events."""

from __future__ import annotations

import json as _json
from dataclasses import dataclass, field
from typing import Any

from midge import _midge


class _Any:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "ANY"


ANY: Any = _Any()


@dataclass(frozen=True, slots=True)
class Properties:
    """MQTT 5 properties of a message."""

    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    message_expiry: int | None = None
    payload_is_utf8: bool = False
    user: tuple[tuple[str, str], ...] = ()

    def _native(self) -> dict[str, object]:
        return {
            "content_type": self.content_type,
            "response_topic": self.response_topic,
            "correlation_data": self.correlation_data,
            "message_expiry": self.message_expiry,
            "payload_is_utf8": self.payload_is_utf8,
            "user": list(self.user),
        }


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was published. Hashable, comparable, picklable."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    client_id: str | None = None
    properties: Properties = field(default_factory=Properties)

    @classmethod
    def _from_native(cls, native: _midge.Message) -> Message:
        properties = Properties(
            content_type=native.content_type,
            response_topic=native.response_topic,
            correlation_data=native.correlation_data,
            message_expiry=native.message_expiry,
            user=tuple(native.user_properties),
        )
        retain = native.retain or native.published_retained
        return cls(native.topic, native.payload, native.qos, retain, native.client_id, properties)

    @property
    def text(self) -> str:
        """The payload as UTF-8 text."""
        return self.payload.decode()

    def json(self) -> Any:
        """The payload as JSON."""
        return _json.loads(self.payload)


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """A connected client."""

    client_id: str
    username: str | None
    peer: str
    version: str
    subscriptions: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in the broker, with the milliseconds since its start."""

    at_ms: int
    name: str
    client_id: str | None
    topic: str | None
    detail: str

    def __str__(self) -> str:
        parts = [f"{self.at_ms:6d} ms", self.name, self.client_id or "-", self.topic or "", self.detail]
        return "  ".join(part for part in parts if part)
