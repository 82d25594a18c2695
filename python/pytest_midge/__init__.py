"""pytest fixtures of Midge. Nothing heavy is imported until a fixture is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from midge import Broker


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "mqtt_broker(**keywords): settings of the mqtt_broker fixture, as for midge.Broker"
    )


@pytest.fixture(scope="session")
def mqtt_broker_options() -> dict[str, Any]:
    """Settings for every broker of the test run; override it in conftest.py."""
    return {}


@pytest.fixture
def mqtt_broker_factory(mqtt_broker_options: dict[str, Any]) -> Iterator[Callable[..., Broker]]:
    """Starts brokers that end with the test."""
    from midge import Broker

    brokers: list[Broker] = []

    def start(**keywords: Any) -> Broker:
        broker = Broker(**{**mqtt_broker_options, **keywords}).start()
        brokers.append(broker)
        return broker

    yield start
    for broker in brokers:
        broker.stop()


@pytest.fixture
def mqtt_broker(
    request: pytest.FixtureRequest, mqtt_broker_factory: Callable[..., Broker]
) -> Broker:
    """A fresh broker on a free port."""
    marker = request.node.get_closest_marker("mqtt_broker")
    broker = mqtt_broker_factory(**(marker.kwargs if marker else {}))
    request.node.stash[_BROKER] = broker
    return broker


@pytest.fixture(scope="session")
def mqtt_broker_session(mqtt_broker_options: dict[str, Any]) -> Iterator[Broker]:
    """One broker for the whole test run (one for each worker of xdist)."""
    from midge import Broker

    with Broker(**mqtt_broker_options) as broker:
        yield broker


@pytest.fixture
def mqtt_broker_reset(mqtt_broker_session: Broker) -> Iterator[Broker]:
    """The broker of the test run, empty before and after the test."""
    mqtt_broker_session.reset()
    yield mqtt_broker_session
    mqtt_broker_session.reset()


_BROKER: pytest.StashKey[Any] = pytest.StashKey()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    broker = item.stash.get(_BROKER, None)
    if report.when == "call" and report.failed and broker is not None:
        lines = [str(event) for event in broker.events[-200:]]
        report.sections.append(("Captured log mqtt", "\n".join(lines)))
