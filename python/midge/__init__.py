"""Midge: a complete MQTT broker in your process.

>>> import midge
>>> with midge.Broker() as broker:
...     readings = broker.subscribe("ward/+/spo2")
...     _ = broker.publish("ward/7/spo2", "97")
...     readings.get(timeout=2).text
'97'
"""

from midge._broker import Broker, Clock
from midge._errors import BindError, ExpectationError
from midge._message import ANY, ClientInfo, Event, Message, Properties
from midge._midge import ForkedError, RefusedError, StoppedError, __version__
from midge._subscription import Subscription

__all__ = [
    "ANY",
    "BindError",
    "Broker",
    "ClientInfo",
    "Clock",
    "Event",
    "ExpectationError",
    "ForkedError",
    "Message",
    "Properties",
    "RefusedError",
    "StoppedError",
    "Subscription",
    "__version__",
]
