"""Every Python example of the documentation is a test file."""

import os
import re
from pathlib import Path

import pytest

GUIDE = Path(os.environ["MIDGE_DOCS"]) / "python.md"
EXAMPLES = re.findall(
    r"^### ([^\n]+)\n|^## ([^\n]+)\n|^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S
)


def examples():
    title = ""
    for third, second, source in EXAMPLES:
        title = third or second or title
        if source:
            yield pytest.param(source, id=title)


@pytest.mark.parametrize("source", list(examples()))
def test_an_example(pytester, source):
    pytester.makeini("[pytest]\n")
    if "def test_" not in source:
        source = "def test_it():\n" + "".join(f"    {line}\n" for line in source.splitlines())
    pytester.makepyfile(source)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", timeout=50)
    assert result.ret == 0
