"""Exceptions: all of this package are a :class:`MidgeError` or an :class:`ExpectationError`."""

from __future__ import annotations


class MidgeError(Exception):
    """What goes wrong in this package."""


class StartError(MidgeError, OSError):
    """The broker could not be started. Nothing is left behind."""


class BindError(StartError):
    """An address could not be bound: ``errno``, ``strerror``, and in ``filename`` the address."""


class ConfigError(MidgeError, ValueError):
    """A setting that does not exist or does not take this value."""


class StoppedError(MidgeError):
    """The broker is not running, or what was waited on has been closed."""


class ForkedError(MidgeError):
    """The broker runs in the parent process and cannot be used in a forked child."""


class RefusedError(MidgeError):
    """A hook or a limit refused it."""


class InternalError(MidgeError):
    """A defect of the broker. It was caught; the process and other connections go on."""


class ExpectationError(AssertionError):
    """What a test expects did not happen. The text says what came closest."""
