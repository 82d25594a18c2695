"""Errors that are defined in Python."""


class BindError(OSError):
    """The broker could not listen where it was told to."""


class ExpectationError(AssertionError):
    """What a test expects did not happen; the text says what came closest."""
