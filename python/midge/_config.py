"""Settings: checked before anything happens, from the one table of options."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

from midge import _midge
from midge._errors import ConfigError

_KEYWORDS = (
    "host",
    "port",
    "unix_path",
    "protocols",
    "auth",
    "acl",
    "intercept",
    "options",
    "record",
    "clock",
    "threads",
    "timeout",
)

_VERSIONS = {"3.1": "3.1", "3.1.1": "3.1.1", "5": "5", "5.0": "5"}


@functools.cache
def _table() -> dict[str, str]:
    """Keys by the keyword that stands for them."""
    return {key.replace(".", "_", 1): key for key, *_ in _midge.options()}


def check_options(
    options: Mapping[str, object] | None, keywords: Mapping[str, object]
) -> list[tuple[str, str]]:
    """The options as the broker takes them."""
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(f"options: a mapping of keys to values, not {type(options).__name__}")
    pairs = list((options or {}).items())
    for keyword, value in keywords.items():
        key = _table().get(keyword)
        if key is None:
            import difflib

            near = difflib.get_close_matches(keyword, [*_KEYWORDS, *_table()], 1, 0)
            raise ConfigError(f"unknown keyword {keyword!r}; did you mean {near[0]!r}?")
        pairs.append((key, value))
    checked = []
    for key, value in pairs:
        text = _text(key, value)
        _midge.check_option(key, text)
        checked.append((key, text))
    return checked


def _text(key: object, value: object) -> str:
    if not isinstance(key, str):
        raise ConfigError(f"options: keys are str, not {type(key).__name__}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, str)):
        return str(value)
    raise ConfigError(f"{key}: a bool, an int or a str, not {type(value).__name__}")


def check_protocols(protocols: Sequence[str] | None) -> list[tuple[str, str]]:
    """The accepted versions of MQTT as an option."""
    if protocols is None:
        return []
    names: Iterable[object] = [protocols] if isinstance(protocols, str) else protocols
    versions = []
    for name in names:
        if not isinstance(name, str) or name not in _VERSIONS:
            raise ConfigError(f'protocols: of "3.1", "3.1.1" and "5.0", not {name!r}')
        versions.append(_VERSIONS[name])
    if not versions:
        raise ConfigError('protocols: at least one of "3.1", "3.1.1" and "5.0"')
    return [("mqtt.versions", ",".join(versions))]


def whole(name: str, value: object, low: int, high: int) -> int:
    """A whole number in a range."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name}: a whole number from {low} to {high}, not {value!r}")
    return value
