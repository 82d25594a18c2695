"""pytest fixtures of Midge: a broker for each test, or one for the run.

Nothing of the broker is imported until a fixture runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from midge import Broker, Event

_BROKERS: pytest.StashKey[list[Broker]] = pytest.StashKey()

# What `--midge-strict` does not let pass.
_TROUBLE = {
    "connection_lost",
    "connect_timeout",
    "internal_error",
    "keep_alive_timeout",
    "memory_full",
    "protocol_violation",
    "too_slow",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("midge", "MQTT broker (midge)")
    group.addoption(
        "--midge-log",
        choices=("fail", "all", "none"),
        default="fail",
        help='when a report gets the section "Captured log mqtt" (default: fail)',
    )
    group.addoption(
        "--midge-log-limit",
        type=int,
        default=200,
        metavar="LINES",
        help="lines of that section, the last ones (default: 200)",
    )
    group.addoption(
        "--midge-timeout",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="default time of what waits for the broker (default: 2); the environment variable "
        "MIDGE_TIMEOUT_SCALE multiplies it",
    )
    group.addoption(
        "--midge-strict",
        action="store_true",
        help="a protocol error, a dropped message or a lost connection fails the test",
    )
    group.addoption(
        "--midge-keep",
        action="store_true",
        help="leave the broker of a failed test running until Enter is pressed (use with -s)",
    )
    parser.addini(
        "midge_reuse",
        'whether mqtt_broker is "fresh" for each test (default) or the one of the "session", reset',
        default="fresh",
    )
    parser.addini(
        "midge_protocols",
        "the values of mqtt_protocol (default: 3.1.1 5.0)",
        type="args",
        default=["3.1.1", "5.0"],
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "mqtt_broker(**keywords): settings of the mqtt_broker fixture, as for midge.Broker",
    )
    reuse = config.getini("midge_reuse")
    if reuse not in ("fresh", "session"):
        raise pytest.UsageError(f'midge_reuse: "fresh" or "session", not {reuse!r}')


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mqtt_protocol" in metafunc.fixturenames:
        protocols = metafunc.config.getini("midge_protocols")
        metafunc.parametrize("mqtt_protocol", protocols, indirect=True)


@pytest.fixture
def mqtt_protocol(request: pytest.FixtureRequest) -> str:
    """The version of MQTT: the test runs once for each of ``midge_protocols``."""
    return str(request.param)


def _scaled(seconds: float) -> float:
    return seconds * float(os.environ.get("MIDGE_TIMEOUT_SCALE", "1"))


@pytest.fixture(scope="session")
def mqtt_broker_options() -> Mapping[str, Any]:
    """Settings of every broker of the run, as keywords of midge.Broker; override it in
    conftest.py."""
    return {}


def _start(
    config: pytest.Config, options: Mapping[str, Any], keywords: Mapping[str, Any]
) -> Broker:
    from midge import Broker

    timeout = _scaled(config.getoption("--midge-timeout"))
    return Broker(**{"timeout": timeout, **options, **keywords}).start()


def _watch(request: pytest.FixtureRequest, broker: Broker) -> None:
    """The reports of this test tell what happened in the broker."""
    request.node.stash.setdefault(_BROKERS, []).append(broker)


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker("mqtt_broker")
    if marker is None:
        return {}
    if marker.args:
        raise pytest.UsageError("mqtt_broker: the marker takes keywords, as midge.Broker does")
    return dict(marker.kwargs)


@pytest.fixture
def mqtt_broker_factory(
    request: pytest.FixtureRequest, mqtt_broker_options: Mapping[str, Any]
) -> Iterator[Callable[..., Broker]]:
    """Starts brokers that end with the test."""
    started: list[Broker] = []

    def start(**keywords: Any) -> Broker:
        broker = _start(request.config, mqtt_broker_options, keywords)
        started.append(broker)
        _watch(request, broker)
        return broker

    yield start
    trouble = [line for broker in started for line in _end(request, broker)]
    for broker in started:
        broker.stop()
    _complain(request, trouble)


@pytest.fixture
def mqtt_broker(request: pytest.FixtureRequest) -> Broker:
    """A broker for this test: fresh, on a free port, with the settings of the marker
    ``@pytest.mark.mqtt_broker(...)``."""
    marked = _marked(request)
    if request.config.getini("midge_reuse") == "session" and not marked:
        reset: Broker = request.getfixturevalue("mqtt_broker_reset")
        return reset
    factory = request.getfixturevalue("mqtt_broker_factory")
    broker: Broker = factory(**marked)
    return broker


@pytest.fixture(scope="session")
def mqtt_broker_session(
    request: pytest.FixtureRequest, mqtt_broker_options: Mapping[str, Any]
) -> Iterator[Broker]:
    """One broker for the run, for applications that live as long (one in each worker of xdist)."""
    broker = _start(request.config, mqtt_broker_options, {})
    yield broker
    broker.stop()


@pytest.fixture
def mqtt_broker_reset(
    request: pytest.FixtureRequest, mqtt_broker_session: Broker
) -> Iterator[Broker]:
    """The broker of the run, emptied before and after the test."""
    mqtt_broker_session.reset()
    _watch(request, mqtt_broker_session)
    yield mqtt_broker_session
    trouble = _end(request, mqtt_broker_session)
    mqtt_broker_session.reset()
    _complain(request, trouble)


_FAILED: pytest.StashKey[bool] = pytest.StashKey()


def _end(request: pytest.FixtureRequest, broker: Broker) -> list[str]:
    """What the end of a test finds wrong, before the broker goes."""
    if request.config.getoption("--midge-keep") and request.node.stash.get(_FAILED, False):
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else _nothing():
            input(f"\n{broker.url} is left running; Enter goes on: ")
    if not request.config.getoption("--midge-strict"):
        return []
    return [str(event) for event in broker.events if _is_trouble(event)]


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def _is_trouble(event: Event) -> bool:
    if event.name in ("dropped", "subscribe_refused", "reason_replaced"):
        return True
    return event.name in ("disconnected", "refused") and event.reason in _TROUBLE


def _complain(request: pytest.FixtureRequest, trouble: list[str]) -> None:
    if trouble:
        pytest.fail("--midge-strict:\n" + "\n".join(trouble), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    brokers = item.stash.get(_BROKERS, [])
    wanted = item.config.getoption("--midge-log")
    shown = wanted == "all" or (wanted == "fail" and report.failed)
    if brokers and shown and report.when == "call":
        for broker in brokers:
            lines = _lines(broker, item.config.getoption("--midge-log-limit"))
            report.sections.append(("Captured log mqtt", "\n".join(lines)))
    if report.when == "teardown":
        item.stash[_BROKERS] = []
    return report


def _lines(broker: Broker, limit: int) -> list[str]:
    events = broker.events
    lines = [repr(broker)]
    if len(events) > limit:
        lines.append(f"... {len(events) - limit} earlier events; --midge-log-limit shows more")
    # Not events[-limit:], because -0 would be all of them.
    lines.extend(str(event) for event in events[max(len(events) - limit, 0) :])
    return lines


def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    import sys

    midge = sys.modules.get("midge")
    if midge is None or op != "==":
        return None
    if isinstance(right, midge.MessageLog):
        left, right = right, left
    if not isinstance(left, midge.MessageLog) or not isinstance(right, (list, tuple)):
        return None
    lines = [f"messages == [{len(right)} expected]"]
    for place in range(max(len(left), len(right))):
        have = left[place : place + 1]
        want = right[place : place + 1]
        if not want:
            lines.append(f"  not expected: {have[0]!r}")
        elif not have:
            lines.append(f"  missing:      {want[0]!r}")
        elif have != want:
            lines.append(f"  at {place}: {have[0]!r}")
            lines.append(f"  expected: {want[0]!r}")
    return lines
