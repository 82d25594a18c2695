"""What a restart keeps and a reset forgets, and who may do what meanwhile."""

import asyncio
import copy
import os
import pickle
import socket
import sys
import threading
import traceback

import pytest
from packets import CONNACK, connect

import midge
from midge import Broker, Event, Message


def test_a_restart_keeps_callbacks_subscriptions_and_streams():
    with Broker() as broker:
        came = threading.Semaphore(0)
        broker.on_message("t", lambda message: came.release())
        messages, events = broker.subscribe("t", maxsize=3), broker.watch("published")
        closed = broker.subscribe("t")
        closed.close()
        broker.publish("t", "1")
        assert came.acquire(timeout=10)
        for turn in range(2, 4):
            broker.restart()
            broker.publish("t", str(turn))
            assert came.acquire(timeout=10)

        # What had come before waits in its place.
        assert len(messages) == 3 and [message.text for message in messages.drain()] == list("123")
        names = [event.message.text for event in events.drain()]
        assert names == list("123")
        assert list(closed) == []

        for number in range(5):
            broker.publish("t", str(number))
        broker.restart()
        broker.publish("t", "5")
        # Bounded, and counted.
        assert [messages.get(10).text for _ in range(3)] == ["3", "4", "5"]
        assert messages.lost == 3
        assert broker.failures == []
    assert list(messages) == [] and list(events)[-1].name == "published"
    with pytest.raises(midge.StoppedError):
        messages.get()


def test_a_wait_goes_on_after_a_restart():
    with Broker() as broker:
        messages, got = broker.subscribe("t"), []
        ready = threading.Barrier(3)

        def wait():
            ready.wait(10)
            got.append(messages.get(30).text)

        async def wait_async():
            ready.wait(10)
            got.append((await messages.aget(30)).text)

        threads = [
            threading.Thread(target=wait),
            threading.Thread(target=lambda: asyncio.run(wait_async())),
        ]
        for thread in threads:
            thread.start()
        ready.wait(10)
        broker.restart()
        broker.publish("t", "1")
        broker.restart()
        broker.publish("t", "2")
        for thread in threads:
            thread.join(30)
        assert sorted(got) == ["1", "2"]


def test_a_restart_in_a_callback():
    with Broker() as broker:
        done = threading.Event()

        @broker.on_message("t")
        def callback(message):
            if message.text == "again":
                broker.restart()
                broker.publish("t", "after")
            else:
                done.set()

        broker.publish("t", "again")
        assert done.wait(10) and broker.failures == []


def test_a_restart_that_fails_ends_what_waits():
    broker = Broker().start()
    messages = broker.subscribe("t")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker, "_unix_path", "/nowhere/at/all")
        with pytest.raises(midge.BindError):
            broker.restart()
    with pytest.raises(midge.StoppedError):
        messages.get(10)
    assert not broker.running
    with broker:
        broker.publish("t")


def test_a_reset_forgets_everything_and_starts_again(device, told):
    with Broker() as broker:
        port, came = broker.port, []
        broker.on_message("t", lambda message: came.append(message) or 1 / 0)
        messages, events = broker.subscribe("t"), broker.watch()
        broker.publish("t", "x", retain=True)
        broker.reset()
        assert len(came) == 1 and len(told) == 1
        assert broker.failures == [] and broker.messages == [] and broker.retained == {}
        broker.publish("t", "x")
        assert [message.text for message in messages] == ["x"]
        assert {event.name for event in events} >= {"published"}
        assert len(came) == 1
        broker.publish("t", "kept", retain=True)
        broker.stop()
        broker.reset()
        assert broker.running and broker.port == port
        assert broker.retained == {} and broker.messages == []
        broker.reset()


def test_nothing_can_be_copied():
    with Broker() as broker:
        things = (broker, broker.subscribe("t"), broker.watch(), broker.on_message("t", print))
        for thing in (*things, broker.clock, broker.aio):
            for way in (copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError, match="cannot be copied or pickled"):
                    way(thing)
        for thing in things:
            with pytest.raises(TypeError, match="cannot be copied or pickled"):
                copy.copy(thing)
        broker.publish("t")


def test_conditions_may_use_the_broker():
    """No code of users runs under a lock."""
    with Broker() as broker:
        broker.publish("t", "x")

        def where(message):
            done = threading.Event()

            def other():
                broker.expect_none("other", timeout=10)
                assert len(broker.messages) == 1
                done.set()

            threading.Thread(target=other).start()
            assert done.wait(10)
            return bool(broker.messages and broker.events)

        assert broker.expect("t", where=where).text == "x"

        class Wanted:
            def __eq__(self, other):
                return bool(broker.messages)

            __hash__ = None

        broker.publish("u", "x")
        broker.expect("u", Wanted(), qos=Wanted(), client=Wanted(), json=Wanted() and midge.ANY)


def test_each_message_is_used_up_once():
    with Broker() as broker:
        for number in range(50):
            broker.publish("t", str(number))
        found, failures = [], []

        def take():
            try:
                for _ in range(10):
                    found.append(broker.expect("t", where=lambda m: True).text)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=take) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == [] and sorted(found, key=int) == [str(number) for number in range(50)]


def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_the_record_is_bounded_whatever_is_done():
    payload = bytes(1 << 20)
    with Broker() as broker:
        before = memory()
        for turn in range(300):
            broker.publish("t", payload, retain=turn % 2 == 0)
            broker.expect("t", payload)
            _ = [message.payload for message in broker.messages[-3:]]
        assert memory() - before < 200 << 20
        assert sum(map(len, broker.messages)) <= 64 << 20
        # One message is kept always, and one that was used up is not kept elsewhere.
        broker.publish("u", payload)
        broker.expect("u")
        assert broker.messages[-1].topic == "u"


def in_child(check):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if check() else 2
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0", "::", "::1"])
def test_a_forked_child_lets_go_of_every_kind_of_address(host, tmp_path):
    def own_sockets():
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                with socket.socket(fileno=os.dup(int(name))) as end:
                    found.append(end.getsockname())
            except OSError:
                pass
        return found

    path = str(tmp_path / "sock")
    with (
        Broker(host=host, unix_path=path) as broker,
        socket.socket(socket.AF_UNIX) as local,
        socket.create_connection((broker.host, broker.port)) as client,
    ):
        local.connect(path)
        local.sendall(connect("l"))
        client.sendall(connect())
        broker.wait_client("s")
        broker.wait_client("l")

        def check():
            held = [
                address
                for address in own_sockets()
                if address == path or (len(address) > 1 and address[1] == broker.port)
            ]
            if held:
                print(f"the child holds {held} of {broker._addresses}", file=sys.stderr)
            return held == []

        assert in_child(check)
        client.settimeout(10)
        assert client.recv(4) == CONNACK


def test_events_are_values():
    message = Message("t", "x", qos=1)
    event = Event("published", at=1.5, topic="t", qos=1, matched=0, message=message)
    for other in (pickle.loads(pickle.dumps(event)), copy.copy(event), copy.deepcopy(event)):
        assert other == event and hash(other) == hash(event) and other.message == message
    assert event != Event("published", at=1.5, topic="t") and event != "published"
    numbered = Event("connected", client_id="s", connection=3, session=2)
    again = pickle.loads(pickle.dumps(numbered))
    assert again == numbered and (again.connection, again.session) == (3, 2)
    assert numbered != Event("connected", client_id="s", connection=4, session=2)
    assert numbered != Event("connected", client_id="s", connection=3)
    assert (event.connection, event.session) == (None, None)

    with Broker() as broker:
        broker.publish("t", "x")
        with broker.socket() as sock:
            sock.sendall(connect())
            broker.wait_client("s")
        broker.wait_client("s", connected=False)
        events = list(broker.events)
        assert pickle.loads(pickle.dumps(events)) == events
        assert [str(event) for event in pickle.loads(pickle.dumps(events))] == list(
            map(str, events)
        )


def test_a_filter_reaches_another():
    for one, other, expected in [
        ("a", "a", True),
        ("a", "b", False),
        ("a/b", "a", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/+", "a", False),
        ("a/+/c", "+/b/c", True),
        ("a/+/c", "+/b/d", False),
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("+", "/", False),
        ("+/+", "/", True),
        ("a/b/#", "a", False),
        ("+/b", "a/#", True),
    ]:
        ask = midge.AclRequest("subscribe", "c", None, "", one, 0, False)
        assert ask.reaches(other) is expected, (one, other)
        assert ask._replace(topic=other).reaches(one) is expected, (other, one)


def test_what_a_filter_reaches_at_its_edges():
    ask = midge.AclRequest("subscribe", "c", None, "", "$share/g/secret/#", 0, False)
    # As the broker reads it, also where an older client's is an ordinary filter.
    assert ask.reaches("secret/plan") and ask.reaches("$share/other/secret/+")
    assert not ask.reaches("public/#")
    assert ask._replace(topic="$share").reaches("$share")
    for wrong in ("", "a/#/b", "a+", "#/a", "$share/#", "$share/g", "$share//a", "a\0"):
        with pytest.raises(ValueError, match="not a valid topic filter"):
            ask.reaches(wrong)
        with pytest.raises(ValueError, match="not a valid topic filter"):
            ask._replace(topic=wrong).reaches("a")
