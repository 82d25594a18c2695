"""Waiting and asserting."""

import re
import threading

import pytest
from packets import connect, subscribe

from midge import Broker, ExpectationError, Matcher, Message


@pytest.fixture
def broker():
    with Broker() as broker:
        yield broker


def later(call, *arguments, **keywords):
    """Runs a call on another thread, once the main thread waits."""
    thread = threading.Thread(target=call, args=arguments, kwargs=keywords)
    thread.start()
    return thread


def test_history_comes_first_and_is_used_up(broker):
    broker.publish("a/1", "first")
    broker.publish("a/2", "second")
    assert broker.expect("a/+", "second").topic == "a/2"
    assert broker.expect("a/#").text == "first"
    with pytest.raises(ExpectationError, match="used up by an earlier"):
        broker.expect("a/1", timeout=0)


def test_what_comes_later(broker):
    thread = later(broker.publish, "b", "later", qos=1, retain=True, as_client="c")
    message = broker.expect("b", b"later", qos=1, retain=True, client="c", timeout=10)
    assert message.client_id == "c"
    thread.join()


def test_duplicates_are_used_up_one_by_one(broker):
    for _ in range(3):
        broker.publish("t", "same")
    first, second = broker.expect("t", "same", count=2)
    assert first == second
    broker.expect("t", "same")
    with pytest.raises(ExpectationError, match="fewer than 2"):
        broker.expect("t", count=2, timeout=0)


def test_every_way_to_match(broker):
    broker.publish("t", json={"level": "high"})
    broker.publish("t", "12.5 C")
    broker.publish("t", b"\xff")
    assert broker.expect("t", json={"level": "high"})
    assert broker.expect("t", re.compile(r"^\d+\.\d C$")).text == "12.5 C"
    assert broker.expect("t", re.compile(rb"\xff"))
    broker.publish("t", "7")
    assert broker.expect("t", where=lambda message: int(message.payload) > 5)


def test_two_threads_that_expect(broker):
    found = []
    threads = [later(lambda: found.append(broker.expect("t", timeout=10).text)) for _ in range(4)]
    for number in range(4):
        broker.publish("t", str(number))
    for thread in threads:
        thread.join()
    assert sorted(found) == ["0", "1", "2", "3"]


def test_the_error_names_the_nearest(broker):
    broker.publish("alarm/7", json={"level": "low"}, qos=1)
    broker.publish("alarms/7", json={"level": "high"})
    with pytest.raises(ExpectationError) as caught:
        broker.expect("alarm/+", json={"level": "high"}, qos=0, timeout=0)
    text = str(caught.value)
    assert "no message like 'alarm/+', json={'level': 'high'}, qos=0 within 0 s" in text
    first, second = text.splitlines()[2:4]
    assert "Message('alarm/7'" in first and first.endswith("<- json, qos")
    assert "Message('alarms/7'" in second and second.endswith("<- topic")
    broker.reset()
    with pytest.raises(ExpectationError, match="no other message was published"):
        broker.expect("t", timeout=0)


def test_sequences(broker):
    for topic, payload in [("a", "1"), ("x", "0"), ("b", "2"), ("c", "3")]:
        broker.publish(topic, payload)
    found = broker.expect_sequence("a", ("b", "2"), Message("c", "3"))
    assert [message.topic for message in found] == ["a", "b", "c"]
    assert broker.expect("x")
    broker.publish("b")
    broker.publish("a")
    with pytest.raises(ExpectationError, match=r"1 of 2 messages came in order.*missing: 'b'"):
        broker.expect_sequence("a", Matcher("b"), timeout=0)
    with pytest.raises(ValueError, match="matchers: at least one"):
        broker.expect_sequence()


def test_the_error_of_a_sequence_tells_the_order(broker):
    for topic, payload in [("b", "2"), ("x", "0"), ("a", "1")]:
        broker.publish(topic, payload)
    with pytest.raises(ExpectationError) as caught:
        broker.expect_sequence("a", ("b", "2"), "c", timeout=0)
    assert str(caught.value).splitlines() == [
        "1 of 3 messages came in order within 0 s; missing: 'b', b'2'",
        "expected, in this order:",
        "  1. 'a'",
        "  2. 'b', b'2'   <- missing",
        "  3. 'c'",
        "came, in this order:",
        "  Message('b', b'2')   <- like 2, out of order",
        "  Message('a', b'1')   <- 1",
        "  and 1 more",
    ]


def test_the_error_of_a_sequence_names_what_is_near(broker):
    broker.publish("a")
    broker.publish("bb")
    with pytest.raises(ExpectationError) as caught:
        broker.expect_sequence("a", "b", timeout=0)
    lines = str(caught.value).splitlines()
    assert lines[4:7] == ["came, in this order:", "  Message('a', b'')   <- 1", "  and 1 more"]
    assert lines[7] == "closest messages, and what does not fit:"
    assert "Message('bb', b'')   <- topic" in "".join(lines[8:])
    broker.expect("a")
    with pytest.raises(ExpectationError, match="used up by an earlier"):
        broker.expect_sequence("a", timeout=0)


def test_the_error_of_a_sequence_is_short_in_a_flood(broker):
    for _ in range(1500):
        broker.publish("b")
    broker.publish("a")
    with pytest.raises(ExpectationError) as caught:
        broker.expect_sequence("a", "b", timeout=0)
    lines = str(caught.value).splitlines()
    assert len(lines) == 26 and lines[-1] == "  and 1481 more"
    assert lines[-2].endswith("<- 1")


def test_nothing_unexpected(broker):
    broker.expect_none()
    broker.publish("a", "extra")
    broker.expect_none("b")
    with pytest.raises(ExpectationError, match=r"nobody expected: Message\('a', b'extra'\)"):
        broker.expect_none()
    broker.expect("a")
    thread = later(broker.publish, "b")
    with pytest.raises(ExpectationError, match="nobody expected"):
        broker.expect_none("b", within=10)
    thread.join()


def test_clients(broker, device):
    with pytest.raises(ExpectationError, match="client 'x' did not connect within 0 s"):
        broker.wait_client("x", timeout=0)
    thread = later(device, broker, "x")
    assert broker.wait_client("x", timeout=10).client_id == "x"
    thread.join()
    with pytest.raises(ExpectationError, match="client 'x' is still connected"):
        broker.wait_client("x", connected=False, timeout=0)
    assert broker.wait_client("y", connected=False) is None


def test_subscriptions(broker, device):
    with pytest.raises(ExpectationError, match="no subscriptions at all"):
        broker.wait_subscription("t", timeout=0)
    one = device(broker)
    one.client.subscribe([("a/+", 0), ("$share/group/b", 0)])
    broker.wait_subscription("a/+", client="device")
    broker.wait_subscription("b")
    broker.wait_subscription("$share/group/b")
    with pytest.raises(ExpectationError, match="'device' has 'a/\\+'"):
        broker.wait_subscription("a/b", timeout=0)


def test_settle_names_who_does_not(broker):
    broker.settle()
    with broker.socket() as sock:
        sock.settimeout(10)
        sock.sendall(connect() + subscribe("t", 1))
        answer = b""
        while len(answer) < 9:  # CONNACK and SUBACK: nothing retained is to come any more
            answer += sock.recv(9 - len(answer))
        broker.publish("t", qos=1)
        with pytest.raises(ExpectationError, match="'s': 0 queued, 1 unacknowledged"):
            broker.settle(timeout=0)
