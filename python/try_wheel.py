"""Installs a wheel into a fresh environment and runs what a new user would: the first example of the
README and the command. A wheel for another machine or interpreter is named and left.

try_wheel.py [--required] WHEEL            required: a wheel that does not fit fails
try_wheel.py WHEEL --with PYTHON...        unpacks it for a command that runs Python, such as an emulator
try_wheel.py --installed                   what is installed for this interpreter
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def first_example() -> str:
    """The first program in Python of the README."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found is not None, "README.md has no example in Python"
    return found[1]


def version() -> str:
    manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.*)"', manifest, re.MULTILINE)
    assert found is not None
    return found[1]


def told(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=tempfile.gettempdir(),  # not where the sources of the package are
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode != 0:
        sys.exit(f"{command} ends with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def check(python: list[str], command: list[str], **environment: str) -> None:
    """Runs the first example and the command of an installed package."""
    said = told([*python, "-c", first_example()], **environment)
    assert said == "97", f"the first example prints {said!r}"

    said = told([*command, "--version"], **environment)
    assert said == f"midge {version()}", f"the command says {said!r}"


def fits(wheel: Path) -> bool:
    # What pip itself decides with; nothing else has to be installed for this interpreter.
    from pip._vendor.packaging.tags import sys_tags
    from pip._vendor.packaging.utils import parse_wheel_filename

    *_, tags = parse_wheel_filename(wheel.name)
    return any(tag in tags for tag in sys_tags())


def in_environment(wheel: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        scripts = Path(folder) / ("Scripts" if os.name == "nt" else "bin")
        python = str(scripts / "python")
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
        told([python, *pip, str(wheel)])
        check([python], [str(scripts / "midge")])


def unpacked(wheel: Path, python: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        check(python, [*python, "-m", "midge"], PYTHONPATH=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", nargs="?", type=Path)
    parser.add_argument("--required", action="store_true")
    parser.add_argument("--installed", action="store_true")
    parser.add_argument("--with", dest="python", nargs=argparse.REMAINDER)
    options = parser.parse_args()

    if options.installed:
        scripts = Path(sys.executable).parent
        check([sys.executable], [str(scripts / "midge")])
        print("the installed package works")
        return

    if options.wheel is None:
        parser.error("no wheel")
    wheel = options.wheel.resolve()
    if options.python:
        unpacked(wheel, options.python)
    elif fits(wheel):
        in_environment(wheel)
    else:
        print(f"{wheel.name}: not tried, it is for another machine or interpreter", flush=True)
        sys.exit(1 if options.required else 0)
    print(f"{wheel.name}: the first example and the command work")


if __name__ == "__main__":
    main()
