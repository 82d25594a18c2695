"""A broker without threads: the program polls it."""

import selectors
import threading

import pytest
from packets import connect, subscribe

import midge
from midge import Broker


def run(broker, client, size):
    """A loop that knows the descriptor and the next deadline alone, until a client has so many bytes."""
    answer = b""
    client.setblocking(False)
    with selectors.DefaultSelector() as loop:
        loop.register(broker, selectors.EVENT_READ)
        while len(answer) < size:
            try:
                answer += client.recv(size - len(answer))
            except BlockingIOError:
                loop.select(broker.poll_timeout)
                broker.poll()
    client.setblocking(True)
    return answer


def test_a_selector_drives_it_and_no_thread_of_the_broker_is_there():
    before = threading.active_count()
    with Broker(threads=0) as broker, broker.socket() as client:
        client.sendall(connect("c") + subscribe("t"))
        assert run(broker, client, 4)[:2] == b"\x20\x02"
        broker.publish("t", "x")
        assert run(broker, client, 5)[0] == 0x90
        assert threading.active_count() == before
        assert broker.poll_timeout is None or broker.poll_timeout > 0


def test_what_waits_polls_meanwhile():
    with Broker(threads=0) as broker, broker.socket() as client:
        seen = broker.subscribe("t")
        client.sendall(connect("c") + b"\x30\x04\0\x01tx")
        assert seen.get(timeout=20).text == "x"
        broker.wait_client("c", timeout=20)


def test_hooks_are_answered_while_it_polls():
    def auth(client):
        return client.username == "me"

    with Broker(threads=0, auth=auth) as broker, broker.socket() as client:
        client.sendall(connect("c"))
        assert run(broker, client, 4)[3] != 0


def test_it_says_what_is_wrong():
    with Broker() as threaded:
        with pytest.raises(RuntimeError, match="threads = 0"):
            threaded.poll()
        with pytest.raises(RuntimeError, match="threads = 0"):
            threaded.fileno()
    broker = Broker(threads=0)
    with pytest.raises(midge.StoppedError):
        broker.poll()
    with broker, pytest.raises(ValueError, match="timeout"):
        broker.poll(float("nan"))
