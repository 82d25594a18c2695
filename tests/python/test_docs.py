"""Every Python example of the documentation is a test file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(os.environ["MIDGE_ROOT"])
DOCS = ROOT / "docs"
EXAMPLE = re.compile(r"^### ([^\n]+)\n|^## ([^\n]+)\n|^```python\n(.*?)^```", re.M | re.S)


def examples():
    for page in ("docs/python.md", "docs/python-recipes.md", "python/README.md"):
        title = ""
        for third, second, source in EXAMPLE.findall((ROOT / page).read_text()):
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


def test_the_reference_is_up_to_date():
    page = DOCS / "python-api.md"
    script = Path(__file__).parent / "api_reference.py"
    done = subprocess.run([sys.executable, script, page], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
