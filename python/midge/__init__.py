"""Midge: a complete MQTT 5.0, 3.1.1 and 3.1 broker in your process.

>>> import midge
>>> with midge.Broker() as broker:
...     readings = broker.subscribe("ward/+/spo2")
...     _ = broker.publish("ward/7/spo2", "97")
...     readings.get(timeout=2).text
'97'
"""

from midge import _midge
from midge._aio import AsyncView
from midge._broker import Broker, Clock
from midge._callbacks import Registration
from midge._errors import (
    BindError,
    ConfigError,
    ExpectationError,
    ForkedError,
    InternalError,
    MidgeError,
    RefusedError,
    StartError,
    StoppedError,
)
from midge._hooks import Hooks
from midge._log import Log, MessageLog
from midge._matcher import Matcher
from midge._midge import Event, Message, Properties, Receipt, __version__
from midge._options import Options, Settings
from midge._pull import EventStream, Subscription
from midge._types import (
    ANY,
    PASS,
    AclRequest,
    ClientInfo,
    ConnectInfo,
    Failure,
    Pass,
    ReceiveRequest,
    Refuse,
    SessionInfo,
    Stats,
    SubscriptionInfo,
)

_midge._check_interpreter()

__all__ = [
    "ANY",
    "PASS",
    "AclRequest",
    "AsyncView",
    "BindError",
    "Broker",
    "ClientInfo",
    "Clock",
    "ConfigError",
    "ConnectInfo",
    "Event",
    "EventStream",
    "ExpectationError",
    "Failure",
    "ForkedError",
    "Hooks",
    "InternalError",
    "Log",
    "Matcher",
    "Message",
    "MessageLog",
    "MidgeError",
    "Options",
    "Pass",
    "Properties",
    "Receipt",
    "ReceiveRequest",
    "Refuse",
    "RefusedError",
    "Registration",
    "SessionInfo",
    "Settings",
    "StartError",
    "Stats",
    "StoppedError",
    "Subscription",
    "SubscriptionInfo",
    "__version__",
]
