"""Settings: checked before anything happens, from the one table of options."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from midge import _midge
from midge._errors import BindError, ConfigError

__tracebackhide__ = True

_VERSIONS = {"3.1": "3.1", "3.1.1": "3.1.1", "5": "5", "5.0": "5"}


@functools.cache
def _table() -> dict[str, str]:
    """Keys by the keyword that stands for them."""
    return {key.replace(".", "_", 1): key for key, *_ in _midge.options()}


def check_options(
    protocols: Sequence[str] | None,
    options: Mapping[str, object] | None,
    keywords: Mapping[str, object],
) -> _midge.Settings:
    """The options as the broker takes them; keywords win over what ``options`` says."""
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(f"options: a mapping of keys to values, not {type(options).__name__}")
    settings = _midge.Settings()
    if protocols is not None:
        settings.set("mqtt.versions", _versions(protocols))
    for key, value in (options or {}).items():
        settings.set(key, _text(key, value))
    for keyword, value in keywords.items():
        key = _table().get(keyword) or _unknown(keyword)
        settings.set(key, _text(key, value))
    if settings.get("listen"):
        raise ConfigError("listen: host, port and unix_path say where to listen")
    return settings


def _unknown(keyword: str) -> NoReturn:
    import difflib

    from midge._options import Settings

    own = [name for name in Settings.__annotations__ if name not in _table()]
    near = difflib.get_close_matches(keyword, [*own, *_table()], 1, 0.6)
    rest = f"{', '.join(own)}, and the options of docs/configuration.md"
    hint = f"did you mean {near[0]!r}?" if near else f"there are {rest}"
    raise ConfigError(f"unknown keyword {keyword!r}; {hint}")


def _text(key: object, value: object) -> str:
    if not isinstance(key, str):
        raise ConfigError(f"options: keys are str, not {type(key).__name__}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, str)):
        return str(value)
    raise ConfigError(f"{key}: a bool, an int or a str, not {type(value).__name__}")


def check_host(host: object) -> str:
    """An address or a name, without a port."""
    if not isinstance(host, str) or not host:
        raise ConfigError(f"host: an address or a name, not {host!r}")
    if ":" in host:
        import socket

        try:
            socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        except OSError:
            raise ConfigError(
                f"host: an address or a name without a port or a scheme, not {host!r}; "
                "port= is an argument of its own"
            ) from None
    elif any(character.isspace() or character in "/[]" for character in host):
        raise ConfigError(f"host: an address or a name, not {host!r}")
    return host


def resolve(host: str, address: str) -> None:
    """Raises a :class:`BindError` if a host has no address."""
    import socket

    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise BindError(error.errno, f"host: {error.strerror}", address) from None


def _versions(protocols: Sequence[str]) -> str:
    """The accepted versions of MQTT as an option."""
    names: Iterable[object] = [protocols] if isinstance(protocols, str) else protocols
    versions = []
    for name in names:
        if not isinstance(name, str) or name not in _VERSIONS:
            raise ConfigError(f'protocols: of "3.1", "3.1.1" and "5.0", not {name!r}')
        versions.append(_VERSIONS[name])
    if not versions:
        raise ConfigError('protocols: at least one of "3.1", "3.1.1" and "5.0"')
    return ",".join(versions)


def seconds(name: str, value: float | None) -> float | None:
    """A number of seconds, or ``None``. What lies in the past is now."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: a number of seconds or None, not {value!r}")
    if value != value:
        raise ValueError(f"{name}: a number of seconds or None, not {value!r}")
    return max(float(value), 0.0)


def whole(name: str, value: object, low: int, high: int) -> int:
    """A whole number in a range."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name}: a whole number from {low} to {high}, not {value!r}")
    return value
