"""The options as types, made of the one table of options.

python options_types.py FILE            compares, exit code 1 if FILE is stale
python options_types.py FILE --save     writes it
"""

import re
import sys
import textwrap
from pathlib import Path

from midge import _midge

HEAD = '''"""The options of ``docs/configuration.md`` as types, made by ``tests/python/options_types.py``.

Annotations are evaluated: as texts, each would be compiled when the package is imported.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

from midge._hooks import Acl, Auth, Hooks, Intercept, Receive


class Options(TypedDict, total=False):
    """Every option by the keyword that stands for it."""
'''

TAIL = '''

class Settings(Options, total=False):
    """Every keyword of :class:`midge.Broker`."""

    host: str
    port: int | None
    unix_path: str | os.PathLike[str] | None
    protocols: Sequence[str] | None
    auth: Auth | None
    acl: Acl | None
    intercept: Intercept | None
    receive: Receive | None
    hooks: Sequence[Hooks]
    hooks_threads: int
    options: Mapping[str, object] | None
    record: int
    timeout: float
'''


def kind(name, accepted):
    """The type of an option."""
    if name in ("bool", "int"):
        return name
    words = re.fullmatch(r"(?:(\w+(?:, \w+)*) or )(\w+)", accepted)
    if words is None:
        return "str"
    values = [*words[1].split(", "), words[2]]
    return "Literal[" + ", ".join(f'"{value}"' for value in values) + "]"


def page():
    lines = [HEAD]
    for key, name, default, accepted, doc in _midge.options():
        if key == "listen":
            continue  # said with host, port and unix_path
        typed = kind(name, accepted)
        lines.append(f"    {key.replace('.', '_', 1)}: {typed}")

        text = f"{doc} Accepted: {accepted}; {default or 'empty'} by default."
        text = text.replace("\\", "\\\\")
        wrapped = textwrap.wrap(text, 93)
        if len(wrapped) == 1 and len(wrapped[0]) <= 90:
            lines.append(f'    """{wrapped[0]}"""')
        else:
            lines.append(f'    """{wrapped[0]}')
            lines.extend(f"    {line}" for line in wrapped[1:])
            if len(wrapped[-1]) <= 90:
                lines[-1] += '"""'
            else:
                lines.append('    """')
    return "\n".join(lines) + "\n" + TAIL


def main():
    path = Path(sys.argv[1])
    if "--save" in sys.argv:
        path.write_text(page())
    elif path.read_text() != page():
        sys.exit(f"{path.name} is stale: tests/python/options_types.py FILE --save")


if __name__ == "__main__":
    main()
