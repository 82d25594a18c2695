"""Hooks: Python callables that the broker asks by way of a queue.

Daemon threads take the questions and answer them; a coroutine is handed on to the event loop of the
application. Whatever goes wrong, and no answer within ``hooks.timeout_ms`` after a question was
taken up, is a no.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from midge import _midge
from midge._errors import ConfigError, StartError
from midge._eventloop import Loop
from midge._threads import Failures, PullThread
from midge._types import PASS, AclRequest, ConnectInfo, Pass, ReceiveRequest, Refuse

__tracebackhide__ = True

Verdict: TypeAlias = bool | Refuse | Pass | None
Auth: TypeAlias = Mapping[str, str] | Callable[[ConnectInfo], Verdict | Awaitable[Verdict]]
Acl: TypeAlias = Callable[[AclRequest], Verdict | Awaitable[Verdict]]
Receive: TypeAlias = Callable[[ReceiveRequest], bool | Pass | None]
Intercept: TypeAlias = Callable[[_midge.Message], _midge.Message | bool | Refuse | Pass | None]

_BAD_PASSWORD = 0x86
_NOT_AUTHORIZED = 0x87
_CO_COROUTINE = 0x80


class Hooks:
    """A set of hooks, for ``Broker(hooks=[...])``.

    Several sets are asked in their order, the hooks that are keywords of the broker first:

    ``auth``
        The first answer that is not ``PASS`` counts; without one the client is refused (0x86). A
        mapping has no opinion on user names that it does not know.
    ``acl``, ``receive``
        The first no counts; ``True`` and ``PASS`` both let the next set speak.
    ``intercept``
        Each sees what those before it have made of the message; the first that drops or refuses it
        ends it.

    Each question has ``hooks_timeout_ms`` of its own. A set may serve several brokers.

    >>> import midge
    >>> banned = midge.Hooks(auth=lambda who: False if who.client_id == "eve" else midge.PASS)
    >>> users = midge.Hooks(auth={"anna": "secret"})
    >>> broker = midge.Broker(hooks=[banned, users])
    """

    __slots__ = ("acl", "auth", "intercept", "receive")

    def __init__(
        self,
        *,
        auth: Auth | None = None,
        acl: Acl | None = None,
        intercept: Intercept | None = None,
        receive: Receive | None = None,
    ) -> None:
        for name, hook in (("acl", acl), ("intercept", intercept), ("receive", receive)):
            if hook is not None and not callable(hook):
                raise ConfigError(f"{name}: a callable, not {type(hook).__name__}")
        for name, hook in (("intercept", intercept), ("receive", receive)):
            if is_coroutine_function(hook):
                raise ConfigError(
                    f"{name}: a plain function, not a coroutine: the broker itself waits for it"
                )

        if isinstance(auth, Mapping):
            auth = _passwords(dict(auth))
        elif auth is not None and not callable(auth):
            raise ConfigError(
                "auth: a mapping of user names to passwords or a callable, "
                f"not {type(auth).__name__}"
            )

        self.auth: Callable[[ConnectInfo], Verdict | Awaitable[Verdict]] | None = auth
        self.acl: Acl | None = acl
        self.intercept: Intercept | None = intercept
        self.receive: Receive | None = receive

    def __bool__(self) -> bool:
        return any(self._given())

    def _given(self) -> tuple[bool, bool, bool, bool]:
        return (
            self.auth is not None,
            self.acl is not None,
            self.intercept is not None,
            self.receive is not None,
        )


class Chain:
    """The sets of hooks of one broker: ``first``, then the ``others``."""

    def __init__(
        self, first: Hooks, others: Sequence[Hooks], threads: int, failures: Failures
    ) -> None:
        try:
            others = tuple(others)
        except TypeError:
            kind = type(others).__name__
            raise ConfigError(f"hooks: a sequence of midge.Hooks, not {kind}") from None
        for other in others:
            if not isinstance(other, Hooks):
                raise ConfigError(
                    f"hooks: a sequence of midge.Hooks, not of {type(other).__name__}"
                )

        self.sets = (first, *others)
        self.threads = threads
        self.failures = failures
        self.loop: Loop | None = None
        self.needs_loop = any(
            is_coroutine_function(hooks.auth) or is_coroutine_function(hooks.acl)
            for hooks in self.sets
        )

    def __bool__(self) -> bool:
        return any(self.sets)

    def native(self) -> _midge.Hooks:
        """The queue of questions for one run of the broker."""
        return _midge.Hooks([hooks._given() for hooks in self.sets], self.threads)

    def serve(self, questions: _midge.Hooks, reserved: bool) -> None:
        """Answers on the calling thread until it is told to end."""
        while (request := questions.get(reserved)) is not None:
            try:
                self._answer(request, questions.limit)
            except BaseException as error:
                self._failed(request, error)
            # Kept until the next question it would hold its message and password.
            del request

    def _failed(self, request: _midge.Request, error: BaseException) -> None:
        # Before the answer: with the no comes its reason.
        name = {"connect": "auth", "publish": "acl", "subscribe": "acl"}.get(request.kind)
        of = f"hooks[{request.place - 1}]." if request.place else ""
        who = f"the hook {of}{name or request.kind} for {request.client_id!r}"
        self.failures.report(who, error)
        request.deny(_NOT_AUTHORIZED, "the hook failed")

    def _answer(self, request: _midge.Request, limit: float) -> None:
        hooks = self.sets[request.place]
        match request.kind:
            case "connect" if hooks.auth is not None:
                self._decide(request, hooks.auth(_connect_info(request)), _BAD_PASSWORD, limit)
            case "publish" | "subscribe" if hooks.acl is not None:
                self._decide(request, hooks.acl(_acl_request(request)), _NOT_AUTHORIZED, limit)
            case "intercept" if hooks.intercept is not None and request.message is not None:
                _intercept(request, request.message, hooks.intercept(request.message))
            case "receive" if hooks.receive is not None and request.message is not None:
                asked = _receive_request(request, request.message)
                _say(request, hooks.receive(asked), _NOT_AUTHORIZED)
            case _:
                request.deny(_NOT_AUTHORIZED, None)

    def _decide(self, request: _midge.Request, verdict: Any, reason: int, limit: float) -> None:
        if not hasattr(verdict, "__await__"):
            _say(request, verdict, reason)
            return
        loop = self.loop
        if loop is None:
            _give_up(verdict)
            raise TypeError(
                "the hook is a coroutine, and no event loop ran where the broker was started"
            )

        async def run() -> None:
            try:
                _say(request, await verdict, reason)
            except Exception as error:
                self._failed(request, error)
            except BaseException:
                # Cancelled: time is up, or the loop ends.
                request.deny(_NOT_AUTHORIZED, "no answer from the hook in time")
                raise

        request.hand_on()
        try:
            loop.spawn(run, limit)
        except RuntimeError:
            _give_up(verdict)
            raise


class Pool:
    """The threads that answer for one run of a broker: each is started when a question would have
    to wait without it, and one whose hook does not return in its time is replaced."""

    def __init__(self, hooks: Chain) -> None:
        self.questions = hooks.native()
        self._hooks = hooks
        self._loop = hooks.loop
        self._workers: list[PullThread] = []
        self._supervisor: PullThread | None = None
        self._until: float | None = None

    def begin(self) -> None:
        """Answers from now on."""
        hooks, questions, workers = self._hooks, self.questions, self._workers

        def supervise() -> None:
            while (reserved := questions.supervise()) is not None:
                # Those that were replaced have ended by now, or will.
                workers[:] = [worker for worker in workers if not worker.ended]
                serve = functools.partial(hooks.serve, questions, reserved)
                try:
                    workers.append(PullThread("midge-hooks", questions, serve))
                except RuntimeError:
                    questions.did_not_come(reserved)

        try:
            self._supervisor = PullThread("midge-hooks-watch", questions, supervise)
        except RuntimeError as error:
            raise StartError(f"no thread for the hooks: {error}") from error

    def give_notice(self, timeout: float) -> None:
        """The broker stops, within ``timeout`` seconds: from then on hooks have the patience of the
        broker to return."""
        patience = timeout + self._hooks.failures.patience
        self._until = time.monotonic() + patience
        self.questions.close_within(patience)

    def end(self) -> None:
        """Ends the threads, and waits for hooks that are running. Called on one of them, it does
        not wait for that one."""
        self.questions.close()
        if self._loop is not None:
            self._loop.cancel()
        failures = self._hooks.failures
        until = time.monotonic() + failures.patience
        if self._until is not None:
            until = min(until, self._until)
        if self._supervisor is not None:
            self._supervisor.end(10.0)
        for worker in self._workers:
            if not worker.end(max(until - time.monotonic(), 0.0)):
                failures.left("a hook")


def is_coroutine_function(call: object) -> bool:
    """Whether calling it gives a coroutine."""
    while isinstance(call, functools.partial):
        call = call.func
    for function in (call, vars(type(call)).get("__call__")):
        function = getattr(function, "__func__", function)
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & _CO_COROUTINE:
            return True
    return False


def _give_up(awaitable: object) -> None:
    """Lets go of a coroutine that is not going to be awaited."""
    close = getattr(awaitable, "close", None)
    if callable(close) and hasattr(awaitable, "__await__"):
        close()


def _intercept(request: _midge.Request, message: _midge.Message, fate: object) -> None:
    match fate:
        case None | True | Pass():
            request.allow()
        case False:
            request.discard()
        case Refuse(reason, text):
            request.deny(reason, text)
        case _midge.Message() as other:
            if other is message:
                request.allow()
            else:
                request.replace(other)
        case other:
            _give_up(other)
            raise TypeError(
                "intercept: answer with None, a Message, False, Refuse or PASS, "
                f"not {type(other).__name__}"
            )


def _say(request: _midge.Request, verdict: object, reason: int) -> None:
    if verdict is True:
        request.allow()
    elif isinstance(verdict, Pass):
        request.pass_on()
    elif isinstance(verdict, Refuse):
        request.deny(verdict.reason, verdict.text)
    elif verdict is False or verdict is None:
        request.deny(reason, None)
    else:
        _give_up(verdict)
        raise TypeError(f"answer with True, False, Refuse or PASS, not {type(verdict).__name__}")


def _passwords(known: dict[str, str]) -> Callable[[ConnectInfo], bool | Pass]:
    for name, password in known.items():
        if not isinstance(name, str) or not isinstance(password, str):
            raise ConfigError("auth: user names and passwords are str")

    import hmac

    def check(client: ConnectInfo) -> bool | Pass:
        if client.username is None or (expected := known.get(client.username)) is None:
            return PASS
        if client.password is None:
            return False
        return hmac.compare_digest(expected.encode(), client.password)

    return check


def _connect_info(request: _midge.Request) -> ConnectInfo:
    return ConnectInfo(
        client_id=request.client_id or "",
        username=request.username,
        password=request.password,
        peer=request.peer or "",
        version=request.version or "",
        clean_start=request.clean_start,
        keep_alive=request.keep_alive,
        user_properties=tuple(request.user_properties),
    )


def _acl_request(request: _midge.Request) -> AclRequest:
    return AclRequest(
        action="publish" if request.kind == "publish" else "subscribe",
        client_id=request.client_id or "",
        username=request.username,
        peer=request.peer or "",
        topic=request.topic or "",
        qos=request.qos,
        retain=request.retain,
        group=request.group,
    )


def _receive_request(request: _midge.Request, message: _midge.Message) -> ReceiveRequest:
    return ReceiveRequest(
        client_id=request.client_id or "",
        message=message,
        username=request.username,
        peer=request.peer or "",
        connection=request.connection,
    )
