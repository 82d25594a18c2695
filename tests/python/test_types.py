"""What editors and type checkers see."""

import subprocess
import sys

import pytest


def check(*command, cwd):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_the_package_is_typed(tmp_path):
    check("mypy", "--strict", "-p", "midge", "-p", "pytest_midge", cwd=tmp_path)


@pytest.mark.timeout(300)
def test_the_stubs_are_true(tmp_path):
    # CPython shows the buffer protocol as a method from 3.12 on.
    (tmp_path / "allowed").write_text("midge._midge.Message.__buffer__\n")
    check(
        "mypy.stubtest",
        "midge._midge",
        "--ignore-missing-stub",
        "--ignore-disjoint-bases",
        "--ignore-unused-allowlist",
        "--allowlist=allowed",
        cwd=tmp_path,
    )


@pytest.mark.timeout(300)
def test_a_program_is_checked(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""
import midge

with midge.Broker(limits_inflight=3, auth={"a": "b"}) as broker:
    one: midge.Message = broker.expect("a", where=lambda message: message.qos > 0)
    two: list[midge.Message] = broker.expect("a", count=2)
    for message in broker.subscribe("a"):
        text: str = message.text

async def main() -> None:
    message = await broker.aio.expect("a")
    text: str = message.text
    async for message in broker.subscribe("a"):
        text = message.text
""")
    check("mypy", "--strict", str(program), cwd=tmp_path)
