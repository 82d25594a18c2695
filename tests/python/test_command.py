"""The command that comes with the package."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

import midge

NAMES = {
    "midge": [os.path.join(os.path.dirname(sys.executable), "midge")],
    "python -m midge": [sys.executable, "-m", "midge"],
}


@pytest.fixture(params=NAMES)
def command(request):
    return NAMES[request.param]


def run(command, *arguments, **keywords):
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=30, **keywords
    )


def test_help_and_mistakes(command):
    assert midge.__version__ in run(command, "--version").stdout
    assert "exec" in run(command, "--help").stdout
    assert run(command, "nonsense").returncode == 2


def test_exec_gives_a_command_a_broker(command):
    program = "import os, json; print(json.dumps({k: os.environ[k] for k in os.environ if k.startswith('MQTT_')}))"
    done = run(command, "exec", "--", sys.executable, "-c", program)
    told = json.loads(done.stdout)
    assert told["MQTT_HOST"] == "127.0.0.1" and told["MQTT_URL"].endswith(told["MQTT_PORT"])
    assert run(command, "exec", "--", "sh", "-c", "exit 7").returncode == 7
    assert run(command, "exec", "--", "/no/such/command").returncode == 127


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_serve_until_a_signal(command, end):
    arguments = ["serve", "--listen", "tcp://127.0.0.1:0", "--print-url", "--log", "off"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().strip()
        assert re.fullmatch(r"mqtt://127\.0\.0\.1:\d+", url)
        server.send_signal(end)
        assert server.wait(30) == 0


def test_pub_and_sub(command):
    with midge.Broker() as broker:
        arguments = ["sub", "--url", broker.url, "-t", "a/#", "-n", "1"]
        with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as reader:
            broker.wait_subscription("a/#", timeout=20)
            done = run(command, "pub", "--url", broker.url, "-t", "a/b", "-m", "hello")
            assert (done.returncode, done.stderr) == (0, "")
            assert reader.stdout.readline() == "hello\n"
            assert reader.wait(30) == 0
        broker.expect("a/b", "hello")
