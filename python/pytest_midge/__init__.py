"""pytest fixtures of Midge: a broker for each test, or one for the run.

Nothing of the broker is imported until a fixture runs.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from typing import Unpack

    from midge import Broker, Event, Failure, Settings

__tracebackhide__ = True

_EVIDENCE: pytest.StashKey[list[_Evidence]] = pytest.StashKey()
_SESSION: pytest.StashKey[list[Broker]] = pytest.StashKey()

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
        help="a protocol error, a dropped message, a lost connection or an exception of a callback or "
        "hook fails the test",
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
        "mqtt_broker(**keywords): settings of the mqtt_broker fixture, as for midge.Broker; the "
        "nearest one wins for each keyword",
    )
    config.stash[_SESSION] = []
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
def mqtt_broker_options() -> Settings:
    """Settings of every broker of the run, as keywords of midge.Broker; override it in
    conftest.py."""
    return {}


class BrokerFactory(Protocol):
    """Starts a broker with keywords of midge.Broker."""

    def __call__(self, **keywords: Unpack[Settings]) -> Broker:
        """The broker; it ends with the test."""
        ...


def _start(
    config: pytest.Config, options: Mapping[str, Any], keywords: Mapping[str, Any]
) -> Broker:
    from midge import Broker

    timeout = _scaled(config.getoption("--midge-timeout"))
    return Broker(**{"timeout": timeout, **options, **keywords}).start()


class _Evidence:
    """What a broker has seen in one test. A broker of the run has seen other tests before."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.begin()

    def begin(self) -> None:
        """The test begins now."""
        before = self.broker.events
        self._first: Event | None = before[-1] if before else None
        self._shown: Event | None = self._first
        self._is_shown = False
        failures = self.broker.failures
        self._failure = failures[-1] if failures else None
        self._kept: tuple[list[Event], list[Failure]] | None = None

    def freeze(self) -> None:
        """The broker is about to forget."""
        self._kept = (list(self.broker.events), self._failures())

    def _after(self, last: Event | None) -> list[Event]:
        events = list(self.broker.events) if self._kept is None else self._kept[0]
        for place, event in enumerate(events):
            if event is last:
                return events[place + 1 :]
        return events

    def show(self, limit: int) -> str | None:
        """The lines of a report, each event once."""
        events = self._after(self._shown)
        if self._is_shown and not events:
            return None
        self._is_shown = True
        lines = [repr(self.broker)]
        if len(events) > limit:
            lines.append(f"... {len(events) - limit} earlier events; --midge-log-limit shows more")
        # Not events[-limit:], because -0 would be all of them.
        lines.extend(str(event) for event in events[max(len(events) - limit, 0) :])
        if events:
            self._shown = events[-1]
        return "\n".join(lines)

    def _failures(self) -> list[Failure]:
        failures = self.broker.failures
        for place, failure in enumerate(failures):
            if failure is self._failure:
                return failures[place + 1 :]
        return failures

    def failures(self) -> list[str]:
        """What callbacks and hooks have raised in the test."""
        failures = self._failures() if self._kept is None else self._kept[1]
        return [f"{failure.who}:\n{failure.text}" for failure in failures]

    def trouble(self) -> list[str]:
        """What `--midge-strict` does not let pass."""
        return [str(event) for event in self._after(self._first) if _is_trouble(event)]


def _evidence(item: pytest.Item) -> list[_Evidence]:
    return item.stash.setdefault(_EVIDENCE, [])


def _watch(item: pytest.Item, broker: Broker) -> _Evidence:
    """The reports of this test tell what happened in the broker."""
    for known in _evidence(item):
        if known.broker is broker:
            return known
    evidence = _Evidence(broker)
    _evidence(item).append(evidence)
    return evidence


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The keywords of the markers, those of the test before those of its class and module, and
    those of an indirect parameter before them."""
    keywords: dict[str, Any] = {}
    for marker in request.node.iter_markers("mqtt_broker"):
        if marker.args:
            raise pytest.UsageError("mqtt_broker: the marker takes keywords, as midge.Broker does")
        keywords = {**marker.kwargs, **keywords}
    param = getattr(request, "param", {})
    if not isinstance(param, Mapping):
        raise pytest.UsageError(
            "mqtt_broker: indirect parameters are mappings of keywords, as for midge.Broker, "
            f"not {param!r}"
        )
    return {**keywords, **param}


@pytest.fixture
def mqtt_broker_factory(
    request: pytest.FixtureRequest, mqtt_broker_options: Settings
) -> Iterator[BrokerFactory]:
    """Starts brokers that end with the test."""
    started: list[Broker] = []

    def start(**keywords: Unpack[Settings]) -> Broker:
        broker = _start(request.config, mqtt_broker_options, keywords)
        started.append(broker)
        _watch(request.node, broker)
        return broker

    yield start
    for broker in started:
        _keep(request, broker)
    # All of them, also if one does not stop.
    errors = []
    for broker in started:
        try:
            broker.stop()
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


@pytest.fixture
def mqtt_broker(request: pytest.FixtureRequest) -> Broker:
    """A broker for this test: fresh, on a free port, with the settings of the marker
    ``@pytest.mark.mqtt_broker(...)``, or of ``parametrize("mqtt_broker", [{...}], indirect=True)``."""
    marked = _marked(request)
    if request.config.getini("midge_reuse") == "session" and not marked:
        reset: Broker = request.getfixturevalue("mqtt_broker_reset")
        return reset
    factory: BrokerFactory = request.getfixturevalue("mqtt_broker_factory")
    return factory(**marked)


@pytest.fixture(scope="session")
def mqtt_broker_session(
    request: pytest.FixtureRequest, mqtt_broker_options: Settings
) -> Iterator[Broker]:
    """One broker for the run, for applications that live as long (one in each worker of xdist)."""
    broker = _start(request.config, mqtt_broker_options, {})
    request.config.stash[_SESSION].append(broker)
    yield broker
    request.config.stash[_SESSION].remove(broker)
    broker.stop()


@pytest.fixture
def mqtt_broker_reset(
    request: pytest.FixtureRequest, mqtt_broker_session: Broker
) -> Iterator[Broker]:
    """The broker of the run, emptied before and after the test."""
    mqtt_broker_session.reset()
    evidence = _watch(request.node, mqtt_broker_session)
    evidence.begin()
    yield mqtt_broker_session
    _keep(request, mqtt_broker_session)
    mqtt_broker_session._end_callbacks()
    evidence.freeze()
    mqtt_broker_session.reset()


_FAILED: pytest.StashKey[bool] = pytest.StashKey()


def _keep(request: pytest.FixtureRequest, broker: Broker) -> None:
    """Leaves the broker of a failed test running, if that is wanted."""
    if request.config.getoption("--midge-keep") and request.node.stash.get(_FAILED, False):
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            input(f"\n{broker.url} is left running; Enter goes on: ")


def _is_trouble(event: Event) -> bool:
    if event.name in ("dropped", "subscribe_refused", "reason_replaced"):
        return True
    return event.name in ("disconnected", "refused") and event.reason in _TROUBLE


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    _watch_session(item)
    try:
        return (yield)
    finally:
        _watch_session(item)


def _watch_session(item: pytest.Item) -> None:
    """What happens in the broker of the run is evidence for the tests that use it."""
    if {"mqtt_broker_session", "mqtt_broker_reset"} & set(getattr(item, "fixturenames", ())):
        for broker in item.config.stash[_SESSION]:
            _watch(item, broker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        result = yield
    finally:
        failures = [text for evidence in _evidence(item) for text in evidence.failures()]
        if failures:
            item.add_report_section("teardown", "failures mqtt", "\n".join(failures))
    if item.config.getoption("--midge-strict"):
        trouble = [line for evidence in _evidence(item) for line in evidence.trouble()]
        if trouble or failures:
            pytest.fail("\n".join(["--midge-strict:", *trouble, *failures]), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    failed = call.excinfo is not None and not call.excinfo.errisinstance(
        (pytest.skip.Exception, pytest.xfail.Exception)
    )
    wanted = item.config.getoption("--midge-log")
    if wanted == "all" or (wanted == "fail" and failed):
        for evidence in _evidence(item):
            text = evidence.show(item.config.getoption("--midge-log-limit"))
            if text is not None:
                item.add_report_section(call.when, "log mqtt", text)
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    if report.when == "teardown":
        item.stash[_EVIDENCE] = []
    return report


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
