"""Hooks: Python callables that the broker asks by way of a queue.

A daemon thread takes the questions and answers them. Whatever goes wrong, and no answer within
``hooks.timeout_ms``, is a no.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from midge import _midge
from midge._errors import ConfigError
from midge._types import AclRequest, ConnectInfo, Refuse

Auth: TypeAlias = "Mapping[str, str] | Callable[[ConnectInfo], bool | Refuse | None]"
Acl: TypeAlias = "Callable[[AclRequest], bool | Refuse | None]"
Intercept: TypeAlias = "Callable[[_midge.Message], _midge.Message | bool | Refuse | None]"

_BAD_PASSWORD = 0x86
_NOT_AUTHORIZED = 0x87


class HookSet:
    """The callables of one broker."""

    def __init__(self, auth: Auth | None, acl: Acl | None, intercept: Intercept | None) -> None:
        for name, hook in (("acl", acl), ("intercept", intercept)):
            if hook is not None and not callable(hook):
                raise ConfigError(f"{name}: a callable, not {type(hook).__name__}")
        if isinstance(auth, Mapping):
            auth = _passwords(dict(auth))
        elif auth is not None and not callable(auth):
            raise ConfigError(
                "auth: a mapping of user names to passwords or a callable, "
                f"not {type(auth).__name__}"
            )
        self.auth = auth
        self.acl = acl
        self.intercept = intercept

    def __bool__(self) -> bool:
        return any((self.auth, self.acl, self.intercept))

    def native(self) -> _midge.Hooks:
        """The queue of questions for one run of the broker."""
        return _midge.Hooks(self.auth is not None, self.acl is not None, self.intercept is not None)

    def serve(self, questions: _midge.Hooks) -> None:
        """Answers until there are no more questions."""
        while (request := questions.get()) is not None:
            try:
                self._answer(request)
            except Exception:
                import logging

                log = logging.getLogger("midge")
                log.exception("the hook for %s of %r failed", request.kind, request.client_id)
                request.deny(_NOT_AUTHORIZED, "the hook failed")
            # Kept until the next question it would hold its message and password.
            del request

    def _answer(self, request: _midge.Request) -> None:
        match request.kind:
            case "connect" if self.auth is not None:
                _decide(request, self.auth(_connect_info(request)), _BAD_PASSWORD)
            case "publish" | "subscribe" if self.acl is not None:
                _decide(request, self.acl(_acl_request(request)), _NOT_AUTHORIZED)
            case "intercept" if self.intercept is not None and request.message is not None:
                self._intercept(request, request.message)
            case _:
                request.deny(_NOT_AUTHORIZED, None)

    def _intercept(self, request: _midge.Request, message: _midge.Message) -> None:
        assert self.intercept is not None
        match self.intercept(message):
            case None | True:
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
                raise TypeError(
                    "intercept: answer with None, a Message, False or Refuse, "
                    f"not {type(other).__name__}"
                )


def _decide(request: _midge.Request, verdict: object, reason: int) -> None:
    if verdict is True:
        request.allow()
    elif isinstance(verdict, Refuse):
        request.deny(verdict.reason, verdict.text)
    elif verdict is False or verdict is None:
        request.deny(reason, None)
    else:
        raise TypeError(f"answer with True, False or Refuse, not {type(verdict).__name__}")


def _passwords(known: dict[str, str]) -> Callable[[ConnectInfo], bool]:
    for name, password in known.items():
        if not isinstance(name, str) or not isinstance(password, str):
            raise ConfigError("auth: user names and passwords are str")

    import hmac

    def check(client: ConnectInfo) -> bool:
        expected = known.get(client.username or "")
        if client.username is None or expected is None or client.password is None:
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
    )
