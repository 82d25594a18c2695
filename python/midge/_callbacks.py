"""Callbacks for messages."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Self, TypeAlias

from midge import _midge, _threads
from midge._errors import StoppedError
from midge._pull import Subscription, Unique

__tracebackhide__ = True

OnMessage: TypeAlias = "Callable[[_midge.Message], object]"


class Registration(Unique):
    """A callback. It does not run any more once :meth:`close` has returned."""

    def __init__(self, pull: Subscription, call: OnMessage, failures: _threads.Failures) -> None:
        self._pull = pull
        self._open = True
        self._who = f"the callback {getattr(call, '__qualname__', call)!s}"
        self._failures = failures

        def serve() -> None:
            for first in pull:
                # What has come meanwhile is taken at once: that is much faster.
                for message in [first, *self._waiting()]:
                    if not self._open:
                        return
                    try:
                        self._answered(call(message))
                    except BaseException as error:
                        failures.report(self._who, error)

        self._thread = _threads.PullThread("midge-callback", pull, serve)

    @staticmethod
    def _answered(result: object) -> None:
        if hasattr(result, "__await__"):
            with contextlib.suppress(AttributeError):
                result.close()  # type: ignore[attr-defined]
            raise TypeError("the callback gave a coroutine, which nobody awaits")

    @property
    def lost(self) -> int:
        """Messages dropped because the callback was too slow."""
        return self._pull.lost

    def close(self) -> None:
        """Ends it; waits for a call that is under way, as long as ``shutdown_patience_ms`` says,
        unless this is that call."""
        self._open = False
        self._pull.close()
        while self._waiting():
            pass
        self._end()

    def _end(self) -> None:
        if not self._thread.end(self._failures.patience):
            self._failures.left(self._who)

    def _waiting(self) -> list[_midge.Message]:
        try:
            return self._pull.drain(256)
        except StoppedError:
            return []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
