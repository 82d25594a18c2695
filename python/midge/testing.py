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

import contextlib
import functools
import inspect
import unittest
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, TypeVar, Unpack

from midge._broker import Broker
from midge._options import Settings

__tracebackhide__ = True

R = TypeVar("R")

__all__ = ["BrokerTestCase", "IsolatedAsyncioBrokerTestCase", "with_broker"]


def _check(broker: Broker) -> None:
    """What callbacks and hooks have raised fails the test."""
    if failures := broker.failures:
        texts = "\n".join(failure.text for failure in failures)
        raise AssertionError(f"callbacks and hooks of the broker have failed:\n{texts}")


class BrokerMixin:
    """Gives a test case ``self.broker``, a fresh one for each test. ``broker_options`` are
    keywords of :class:`midge.Broker`. What callbacks and hooks raise fails the test."""

    broker_options: ClassVar[Settings] = {}
    broker: Broker

    def setUp(self) -> None:
        """Starts the broker; it stops after everything else of the test was cleaned up."""
        super().setUp()  # type: ignore[misc]
        self.broker = Broker(**self.broker_options).start()
        self.addCleanup(self._end)  # type: ignore[attr-defined]

    def _end(self) -> None:
        self.broker.stop()
        _check(self.broker)


class BrokerTestCase(BrokerMixin, unittest.TestCase):
    """A test case with ``self.broker``."""


class IsolatedAsyncioBrokerTestCase(BrokerMixin, unittest.IsolatedAsyncioTestCase):
    """A test case with ``self.broker`` whose tests may be coroutines."""


def with_broker(**keywords: Unpack[Settings]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Calls a function with a fresh broker: as its parameter ``broker``, or else the last one that
    has no default. The other parameters stay those of the test, so fixtures and ``parametrize`` of
    pytest and methods of `unittest` work as without it.

    A coroutine function stays one, and the broker lives on its loop: it needs what runs coroutines
    (`unittest.IsolatedAsyncioTestCase`, pytest-asyncio, anyio). Without that the test fails.

    >>> @with_broker(protocols=["5.0"])
    ... def test(broker):
    ...     return broker.publish("t").matched
    >>> test()
    0
    """
    Broker(**keywords)  # mistakes are told where they are made

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        if isinstance(function, type) or not callable(function):
            raise TypeError("with_broker: decorates functions and methods")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("with_broker: a generator is no test; use the fixture mqtt_broker")

        signature = inspect.signature(function)
        place = _place(signature)
        others = [each for each in signature.parameters.values() if each.name != place]
        shown = signature.replace(parameters=others)

        def bind(broker: Broker, args: Any, kwargs: Any) -> inspect.BoundArguments:
            bound = shown.bind(*args, **kwargs)
            bound.apply_defaults()
            arguments = {**bound.arguments, place: broker}
            ordered = {name: arguments[name] for name in signature.parameters if name in arguments}
            return inspect.BoundArguments(signature, OrderedDict(ordered))

        run: Callable[..., Any]
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run(*args: Any, **kwargs: Any) -> Any:
                async with Broker(**keywords) as broker:
                    bound = bind(broker, args, kwargs)
                    result = await function(*bound.args, **bound.kwargs)
                _check(broker)
                return result

        else:

            @functools.wraps(function)
            def run(*args: Any, **kwargs: Any) -> Any:
                with Broker(**keywords) as broker:
                    bound = bind(broker, args, kwargs)
                    result = function(*bound.args, **bound.kwargs)
                    if hasattr(result, "__await__"):
                        with contextlib.suppress(AttributeError):
                            result.close()  # type: ignore[attr-defined]
                        raise TypeError(
                            "with_broker: the test gave a coroutine; make it `async def`"
                        )
                _check(broker)
                return result

        # pytest would take the broker for a fixture.
        del run.__wrapped__  # type: ignore[attr-defined]
        vars(run)["__signature__"] = shown
        if inspect.iscoroutinefunction(function) and _is_method(function):
            return _CoroutineMethod(run)
        return run

    return decorate


def _place(signature: inspect.Signature) -> str:
    """The name of the parameter that takes the broker."""
    if "broker" in signature.parameters:
        return "broker"
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [
        each.name
        for each in signature.parameters.values()
        if each.kind in kinds and each.default is each.empty and each.name not in ("self", "cls")
    ]
    if not places:
        raise TypeError("with_broker: the function has no parameter for the broker")
    return places[-1]


def _is_method(function: Callable[..., Any]) -> bool:
    """Whether a function is defined in the body of a class."""
    outer, _, _ = function.__qualname__.rpartition(".")
    return bool(outer) and not outer.endswith("<locals>")


class _CoroutineMethod:
    """Looks which class a coroutine belongs to, and is gone: a plain `unittest.TestCase` would call
    it, await nothing and let it pass."""

    def __init__(self, run: Callable[..., Any]) -> None:
        # Like the function, for decorators that mark it.
        functools.update_wrapper(self, run)
        self._run = run

    def __set_name__(self, owner: type, name: str) -> None:
        if issubclass(owner, unittest.TestCase) and not issubclass(
            owner, unittest.IsolatedAsyncioTestCase
        ):
            raise TypeError(
                f"with_broker: {owner.__name__}.{name} is a coroutine, which only an "
                "IsolatedAsyncioTestCase runs"
            )
        # Marks that were put on this belong to the test.
        own = {"_run", "__wrapped__", *functools.WRAPPER_ASSIGNMENTS}
        vars(self._run).update((key, it) for key, it in vars(self).items() if key not in own)
        setattr(owner, name, self._run)

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("with_broker: on a coroutine method it goes above decorators that wrap it")
