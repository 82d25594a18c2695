"""The programs in examples/python run to their end."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples/python"
SAYS = {
    "fleet.py": "out of the tunnel, orders: Ulm, Linz, Graz",
    "maintenance.py": "maintenance/mill: ",
}


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.py")))
def test_an_example_runs(name):
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", FOLDER / name],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout
    assert done.stderr == ""
