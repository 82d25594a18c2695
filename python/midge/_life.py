"""The life of a broker: start, stop and restart, from any thread, interrupted or not."""

from __future__ import annotations

import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Self

from midge import _midge, _threads
from midge._callbacks import Registration
from midge._config import seconds
from midge._errors import ForkedError, StartError, StoppedError
from midge._eventloop import in_thread, running_loop
from midge._hooks import Chain
from midge._log import Recorder
from midge._pull import Pull, Unique
from midge._run import Run

__tracebackhide__ = True


class Life(Unique):
    """What :class:`midge.Broker` does from its start to its end. One thread at a time begins a run or
    ends it; others wait for that, unless they answer one of its hooks."""

    _hooks: Chain
    _failures: _threads.Failures
    _recorder: Recorder
    _url: str

    def __init__(self) -> None:
        # For a few statements at a time: no thread waits for anything with it.
        self._life = threading.RLock()
        self._restarting = threading.Lock()
        self._run: Run | None = None
        self._native: _midge.Broker | None = None
        self._kept = _midge.Kept()
        self._callbacks: list[Registration] = []
        self._pulls: weakref.WeakSet[Pull[Any]] = weakref.WeakSet()
        self._addresses: list[object] = []

    def _begin(self, run: Run, pulls: Sequence[Pull[Any]]) -> None:
        """Begins a run, with new queues for these."""
        raise NotImplementedError

    def start(self) -> Self:
        """Starts the broker; it listens when this returns. Does nothing if it runs.

        Raises :class:`BindError` for an address that is taken, or a host that has none.
        """
        return self._start([])

    def _start(self, pulls: Sequence[Pull[Any]]) -> Self:
        self._check_fork()
        self._adopt_loop()

        while True:
            with self._life:
                if self._run is None:
                    run = self._run = Run()
                    break
                run = self._run
            if run.is_own() and not (run.starting.is_set() and not run.stopping):
                # This thread was interrupted in it.
                self._end(run, 0.0)
                continue
            # What another thread does with it comes to its end first.
            if run.is_answering():
                if run.stopping:
                    raise StoppedError("the broker is being stopped by another thread")
                return self
            run.starting.wait()
            if run.stopping:
                run.ended.wait()
            elif run.native is not None:
                return self

        try:
            self._begin(run, pulls)
            if run.stopping:
                raise StoppedError("the broker was stopped while it started")
        except BaseException:
            # Interrupted, perhaps: nothing may be left that runs.
            self._end(run, 0.0)
            raise
        finally:
            run.starting.set()
        return self

    def _adopt_loop(self) -> None:
        """Hooks that are coroutines run on the event loop that starts the broker."""
        if loop := running_loop():
            self._hooks.loop = loop
        elif self._hooks.needs_loop and self._hooks.loop is None:
            raise StartError(
                "auth, acl: coroutines need an event loop; start the broker with `async with` "
                "or `await broker.aio.start()`"
            )

    def stop(self, *, timeout: float = 0.0) -> None:
        """Stops the broker: its threads have ended and its ports are free when this returns.

        Connected clients get up to ``timeout`` seconds to take and acknowledge what waits for
        them. A hook or a callback that does not return is waited for as long as
        ``shutdown_patience_ms`` says, 10 seconds by default; then it is left behind with a
        ``RuntimeWarning``. Does nothing if the broker does not run. Called in
        a hook while another thread stops the broker, it returns at once.
        """
        self._check_fork()
        timeout = seconds("timeout", timeout) or 0.0
        self._finish(timeout)
        self._end_callbacks()

    def _end_callbacks(self) -> None:
        """Ends the callbacks when they have seen what waits for them."""
        with self._life:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback._pull.close()
        for callback in callbacks:
            callback._end()

    def _finish(self, timeout: float) -> None:
        """Ends the present run, or waits until another thread has done that."""
        while True:
            with self._life:
                run = self._run
                if run is None:
                    return
                is_first = run.is_own() or (run.starting.is_set() and not run.stopping)
                if is_first:
                    run.stopping = True
                    run.owner = threading.get_ident()
            if is_first:
                self._end(run, timeout)
                return
            if run.is_answering():
                return
            run.starting.wait()
            if run.stopping:
                run.ended.wait()

    def _end(self, run: Run, timeout: float) -> None:
        run.ended.clear()
        run.stopping = True
        run.owner = threading.get_ident()
        try:
            run.end(timeout)
        except Exception:
            self._ended(run)
            raise
        except BaseException:
            # Interrupted: threads that wait for it, or stop it again, go on with it.
            run.stopping = False
            run.starting.set()
            run.ended.set()
            raise
        self._ended(run)

    def _ended(self, run: Run) -> None:
        self._recorder.pull()
        with self._life:
            _threads.running.discard(self)
            if self._run is run:
                self._run = None
        run.starting.set()
        run.ended.set()

    def restart(self, *, clean: bool = False) -> Self:
        """Stops and starts again on the same port. Sessions and retained messages are kept, unless
        ``clean``; the log, callbacks, subscriptions and event streams of this program are kept
        always, and notice nothing but the pause."""
        self._check_fork()
        run = self._run
        answering = run is not None and run.is_answering()
        pulls: list[Pull[Any]] = []
        alone = False

        try:
            alone = self._restarting.acquire(blocking=not answering)
            if not alone:
                raise StoppedError("the broker is being restarted by another thread")

            with self._life:
                if self.running:
                    pulls = [pull for pull in self._pulls if not pull._closed]
            for pull in pulls:
                pull._hold()

            self._finish(0.0)
            if clean:
                self._kept = _midge.Kept()
            return self._start(pulls)
        finally:
            for pull in pulls:
                if pull._moving:
                    pull._move(None)
            if alone:
                self._restarting.release()

    def reset(self) -> None:
        """Makes the broker as good as new, on the same port: every client is disconnected;
        sessions, retained messages, the log and failures are forgotten; callbacks, subscriptions
        and event streams of this program are closed. One that was stopped is started again."""
        self._check_fork()
        self._end_callbacks()
        with self._life:
            pulls = list(self._pulls)
        for pull in pulls:
            pull.close()

        if not self.running:
            self._kept = _midge.Kept()
            self.start()

        native = self._running()
        # A client that comes again at once is sent away again, but not for ever.
        for _ in range(10):
            if not (sessions := native.sessions()):
                break
            for session in sessions:
                native.clear_session(session["client_id"])

        native.clear_retained("#")
        self._recorder.clear()
        self._failures.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *_: object) -> None:
        await in_thread(self.stop)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        native = getattr(self, "_native", None)
        run = getattr(self, "_run", None)
        if run is None or sys.is_finalizing() or (native is not None and native.forked):
            return
        _warn(f"unclosed {self!r}", ResourceWarning, source=self)
        self.stop()

    def __repr__(self) -> str:
        state = self._url or "in memory"
        return f"<midge.Broker {state if self.running else 'stopped'}>"

    @property
    def running(self) -> bool:
        """Whether it runs, in this process."""
        return self._native is not None and self._native.running

    def _running(self) -> _midge.Broker:
        if self._native is None:
            raise StoppedError("the broker has not been started")
        self._check_fork()
        return self._native

    def _check_fork(self) -> None:
        # Before any lock: in a forked child another thread of the parent may hold it for ever.
        if self._native is not None and self._native.forked:
            raise ForkedError("this broker runs in the parent process; start another one here")
