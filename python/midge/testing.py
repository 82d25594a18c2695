"""For `unittest`: a broker for each test.

>>> import io, unittest
>>> from midge.testing import BrokerTestCase
>>> class Alarm(BrokerTestCase):
...     def test_it(self):
...         self.broker.publish("alarm", "on")
...         self.broker.expect("alarm", "on")
>>> unittest.TextTestRunner(stream=io.StringIO()).run(
...     unittest.defaultTestLoader.loadTestsFromTestCase(Alarm)
... ).wasSuccessful()
True
"""

from __future__ import annotations

import functools
import unittest
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from midge._broker import Broker

R = TypeVar("R")

__all__ = ["BrokerTestCase", "IsolatedAsyncioBrokerTestCase", "with_broker"]


class BrokerMixin:
    """Gives a test case ``self.broker``, a fresh one for each test. ``broker_options`` are
    keywords of :class:`midge.Broker`."""

    broker_options: ClassVar[Mapping[str, Any]] = {}
    broker: Broker

    def setUp(self) -> None:
        """Starts the broker; it stops after everything else of the test was cleaned up."""
        super().setUp()  # type: ignore[misc]
        self.broker = Broker(**self.broker_options).start()
        self.addCleanup(self.broker.stop)  # type: ignore[attr-defined]


class BrokerTestCase(BrokerMixin, unittest.TestCase):
    """A test case with ``self.broker``."""


class IsolatedAsyncioBrokerTestCase(BrokerMixin, unittest.IsolatedAsyncioTestCase):
    """A test case with ``self.broker`` whose tests may be coroutines."""


def with_broker(**keywords: Any) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Calls a function with a fresh broker as its last positional argument.

    >>> @with_broker(protocols=["5.0"])
    ... def test(broker):
    ...     return broker.publish("t").matched
    >>> test()
    0
    """

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> R:
            with Broker(**keywords) as broker:
                return function(*args, broker, **kwargs)

        # pytest would take the broker for a fixture.
        del run.__wrapped__
        return run

    return decorate
