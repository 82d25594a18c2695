"""What editors and type checkers see."""

import inspect
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import midge
import midge.testing
import pytest_midge


def check(*command, cwd):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


def pyright(*arguments, cwd):
    """Runs pyright in the environment of this interpreter."""
    folder = os.path.dirname(sys.executable)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYRIGHT_PYTHON_FORCE_VERSION": version("pyright"),
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "pyright", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )


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


PROGRAM = """
from typing import TYPE_CHECKING, Unpack

import midge
import pytest
from midge import PASS, AclRequest, Hooks, Message, Pass, Refuse, Settings
from midge.testing import BrokerTestCase, with_broker

if TYPE_CHECKING:
    from pytest_midge import BrokerFactory


async def auth(client: midge.ConnectInfo) -> bool:
    return client.username == "a"


def acl(request: AclRequest) -> bool | Refuse:
    return True if request.reaches("a/#") else Refuse(0x87, "no")


def banned(client: midge.ConnectInfo) -> bool | Pass:
    return False if client.client_id == "eve" else PASS


def receive(request: midge.ReceiveRequest) -> bool:
    known: tuple[str | None, str, int] = (request.username, request.peer, request.connection)
    return known[0] is not None


sets: list[Hooks] = [
    Hooks(auth=banned, acl=acl, receive=receive, intercept=lambda message: PASS),
    Hooks(auth=auth),
    Hooks(auth={"a": "b"}, acl=lambda request: True if request.qos else PASS),
]
midge.Broker(auth=banned, hooks=sets)


with midge.Broker(limits_inflight=3, auth={"a": "b"}, overflow_session="drop_oldest") as broker:
    one: Message = broker.expect("a", where=lambda message: message.qos > 0)
    two: list[Message] = broker.expect("a", count=2)
    for message in broker.subscribe("a"):
        text: str = message.text
    peer: str = broker.wait_client("c").peer
    nobody: None = broker.wait_client("c", connected=False)
    topics: list[str] = broker.messages[1:].topics
    events: list[str] = [event.name for event in broker.events[1:]]
    failed: list[str] = [failure.text for failure in broker.failures]
    match one:
        case Message(topic, payload):
            parts: tuple[str, bytes] = (topic, payload)
    match Refuse():
        case Refuse(reason, why):
            refusal: tuple[int, str | None] = (reason, why)

    @broker.on_message("a")
    def callback(message: Message) -> None: ...

    callback.close()

midge.Broker(auth=auth, acl=acl, receive=lambda request: request.message.qos == 0)


def make(**keywords: Unpack[Settings]) -> midge.Broker:
    return midge.Broker(**keywords)


async def main() -> None:
    message = await broker.aio.expect("a")
    text: str = message.text
    peer: str = (await broker.aio.wait_client("c")).peer
    async for message in broker.subscribe("a"):
        text = message.text


class Case(BrokerTestCase):
    broker_options = {"clock": "manual"}

    @with_broker(port=None)
    def test(self, broker: midge.Broker) -> None: ...


@pytest.fixture
def app(mqtt_broker: midge.Broker, mqtt_broker_factory: "BrokerFactory") -> int:
    return mqtt_broker_factory(limits_connections=5).port
"""

MISTAKES = {
    "midge.Broker(limits_inflght=3)": "limits_inflght",
    "midge.Broker(limits_inflight='3')": "limits_inflight|int",
    "midge.Broker(overflow_session='drop')": "Literal|drop",
    "midge.Broker(clock='wrong')": "Literal|wrong",
    "midge.Broker().wait_client('c', connected=False).peer": "peer",
    "midge.Broker(intercept=lambda message: 5)": "int",
}


@pytest.mark.timeout(300)
def test_a_program_is_checked(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    check("mypy", "--strict", str(program), cwd=tmp_path)
    done = pyright(str(program), cwd=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.timeout(300)
def test_mistakes_are_found(tmp_path):
    for number, mistake in enumerate(MISTAKES):
        (tmp_path / f"mistake_{number}.py").write_text(f"import midge\n\n{mistake}\n")
    done = pyright(".", cwd=tmp_path)
    for number, (mistake, pattern) in enumerate(MISTAKES.items()):
        found = [line for line in done.stdout.splitlines() if f"mistake_{number}.py:3" in line]
        assert found and re.search(pattern, done.stdout), (mistake, done.stdout)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("package", ["midge", "pytest_midge"])
def test_everything_public_is_typed(tmp_path, package):
    done = pyright("--verifytypes", package, "--ignoreexternal", cwd=tmp_path)
    assert "Type completeness score: 100%" in done.stdout, done.stdout
    assert done.returncode == 0, done.stdout


def test_the_options_are_those_of_the_table():
    page = Path(midge.__file__).parent / "_options.py"
    script = Path(__file__).parent / "options_types.py"
    done = subprocess.run([sys.executable, script, page], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    keys = {key for key, *_ in midge._midge.options()}
    # Where to listen is said with host, port and unix_path.
    known = {key.replace(".", "_", 1) for key in keys - {"listen"}}
    assert set(midge.Options.__annotations__) == known
    keywords = inspect.signature(midge.Broker).parameters
    assert set(midge.Settings.__annotations__) - known == set(keywords) - {"keywords"}


def test_everything_public_is_documented():
    bare = []
    for module in (midge, midge.testing, pytest_midge):
        names = getattr(module, "__all__", [name for name in vars(module) if name[0] != "_"])
        names = [name for name in names if not name.startswith("pytest_")]
        for name in names:
            thing = getattr(module, name)
            if getattr(thing, "__module__", "").split(".")[0] not in ("midge", "pytest_midge"):
                continue
            if not inspect.getdoc(thing):
                bare.append(name)
            for member, value in vars(thing).items() if inspect.isclass(thing) else ():
                wanted = callable(value) or isinstance(value, property)
                wanted |= inspect.isgetsetdescriptor(value)
                if wanted and member[0] != "_" and not inspect.getdoc(value):
                    bare.append(f"{name}.{member}")
    assert bare == []
