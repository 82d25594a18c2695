"""The package as it is built and installed."""

import base64
import csv
import hashlib
import io
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(os.environ["MIDGE_ROOT"])
WHEEL = Path(os.environ["MIDGE_WHEEL"])


def backend(call, **environment):
    """Calls a function of the build backend in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", f"import backend; print(backend.{call})"],
        cwd=ROOT / "python",
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.mark.parametrize("target", ["wheel", "editable", "sdist"])
def test_it_says_what_is_missing(target, tmp_path):
    done = backend(f"get_requires_for_build_{target}()", PATH=str(tmp_path))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "needs Rust 1.89 or later: there is no cargo in PATH" in done.stderr
    assert "https://rustup.rs" in done.stderr


def test_it_says_what_is_too_old(tmp_path):
    for tool in ("cargo", "rustc"):
        path = tmp_path / tool
        path.write_text("#!/bin/sh\necho 'rustc 1.70.0 (90c541806 2023-05-31)'\n")
        path.chmod(0o755)
    done = backend("check_rust()", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1 and "there is rustc 1.70.0" in done.stderr


def test_the_version_of_rust_is_that_of_the_workspace():
    with (ROOT / "Cargo.toml").open("rb") as file:
        wanted = tomllib.load(file)["workspace"]["package"]["rust-version"]
    assert backend("RUST").stdout.strip() == f"({wanted.replace('.', ', ')})"


def test_flags_that_are_set_stay():
    done = backend("flags()", RUSTFLAGS="-C target-cpu=native", CARGO_ENCODED_RUSTFLAGS="")
    assert done.stdout.startswith("['-C', 'target-cpu=native', '--remap-path-prefix=")
    done = backend("flags()", CARGO_ENCODED_RUSTFLAGS="-C\x1fopt-level=1")
    assert done.stdout.startswith("['-C', 'opt-level=1', '--remap-path-prefix=")


def test_the_wheel_has_no_paths_of_the_machine():
    cargo = os.environ.get("CARGO_HOME") or str(Path.home() / ".cargo")
    with zipfile.ZipFile(WHEEL) as wheel:
        names = wheel.namelist()
        for name in names:
            data = wheel.read(name)
            for path in (str(ROOT), cargo, str(Path.home())):
                assert path.encode() not in data, (name, path)
        (bill,) = [name for name in names if "/sboms/" in name]
        assert b"midge-core" in wheel.read(bill)
        # What was changed is still what the wheel says that it is.
        (record,) = [name for name in names if name.endswith(".dist-info/RECORD")]
        rows = list(csv.reader(io.StringIO(wheel.read(record).decode())))
        assert sorted(row[0] for row in rows) == sorted(names)
        for name, digest, size in rows:
            if name != record:
                data = wheel.read(name)
                known = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
                assert (digest, int(size)) == (f"sha256={known.decode()}", len(data))


def test_the_page_of_the_package_stands_alone():
    about = metadata("midge")
    page = about.get_payload() or about["Description"]
    assert page.strip() == (ROOT / "python" / "README.md").read_text().strip()
    # Nothing in it leads to files that do not come along.
    assert not re.search(r"\]\((?!https?://)", page) and "docs/" not in page
    classifiers = about.get_all("Classifier")
    for minor in (11, 12, 13):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers
    assert about["License-Expression"] == "MIT OR Apache-2.0"


def test_the_import_is_cheap():
    """Nothing that takes long is imported, and no annotation is compiled because it is a text."""
    program = """
import sys, typing, threading
compiled = []
sys.addaudithook(lambda name, told: compiled.append(told) if name == "compile" else None)
import midge
texts = [text for text, name in compiled if name == "<string>"]
print([text for text in texts if not text.startswith(b"lambda _cls")])  # of named tuples
print([name for name in ("asyncio", "json", "socket", "logging", "inspect") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[]", "[]"], done.stderr
