"""Hooks: Python callables that the broker asks."""

import logging
import threading

import pytest

import midge
from midge import Broker, ConnectInfo, Message, Refuse


def login(user, password):
    return lambda client: client.username_pw_set(user, password)


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_user_names_and_passwords(device, version):
    with Broker(auth={"anna": "secret"}) as broker:
        assert device(broker, "a", version, before=login("anna", "secret")).connected
        assert not device(broker, "b", version, before=login("anna", "wrong")).connected
        assert not device(broker, "c", version, before=login("otto", "secret")).connected
        assert not device(broker, "d", version).connected
        assert set(broker.clients) == {"a"}
        refused = [event for event in broker.events if event.name == "refused"]
        assert [event.reason_code for event in refused] == [0x86] * 3


def test_an_authenticator(device):
    seen = []

    def auth(client: ConnectInfo):
        seen.append(client)
        if client.client_id == "banned":
            return Refuse(0x8A, "not you")
        return client.client_id == "good"

    with Broker(auth=auth) as broker:
        assert device(broker, "good", before=login("u", "p")).connected
        assert str(device(broker, "banned").refusal) == "Banned"
        assert not device(broker, "other").connected
    assert (seen[0].username, seen[0].password, seen[0].version) == ("u", b"p", "5.0")
    assert "'p'" not in repr(seen[0]) and seen[0].peer.startswith("127.0.0.1:")


def test_what_goes_wrong_is_a_no(device, caplog):
    def auth(client):
        match client.client_id:
            case "raises":
                raise RuntimeError("asked for")
            case "none":
                return None
            case "nonsense":
                return "yes"

    caplog.set_level(logging.CRITICAL, "midge")
    with Broker(auth=auth) as broker:
        for name in ("raises", "none", "nonsense"):
            assert not device(broker, name).connected


def test_no_answer_in_time_is_a_no(device):
    release = threading.Event()
    with Broker(auth=lambda client: release.wait(30), hooks_timeout_ms=100) as broker:
        assert not device(broker, "a").connected
        release.set()
        assert device(broker, "b").connected


def test_access_control(device):
    asked = []

    def acl(request):
        asked.append((request.action, request.client_id, request.topic, request.qos))
        return request.topic.startswith("own/")

    with Broker(acl=acl) as broker:
        one = device(broker)
        codes = []
        one.client.on_subscribe = lambda c, u, mid, reasons, p: codes.extend(reasons)
        one.client.subscribe([("own/+", 1), ("other", 0)])
        broker.wait_subscription("own/+")
        one.client.publish("other", "x", 1)
        one.client.publish("own/1", "x", 1)
        broker.expect("own/1", client="device")
        broker.expect_none()
        assert [code.value for code in codes] == [1, 0x87]
        assert set(asked) == {
            ("subscribe", "device", "own/+", 1),
            ("subscribe", "device", "other", 0),
            ("publish", "device", "other", 1),
            ("publish", "device", "own/1", 1),
        }
        assert broker.stats.dropped["not_authorized"] == 1
        # The program itself has every right, but not in the name of a client.
        broker.publish("anything")
        with pytest.raises(midge.RefusedError):
            broker.publish("other", as_client="device")
        broker.publish("own/2", as_client="device")


def test_interception(device):
    def intercept(message):
        match message:
            case Message("drop"):
                return False
            case Message("refuse"):
                return Refuse(0x97, "too much")
            case Message("change", payload):
                return Message("changed", payload.upper(), qos=message.qos, retain=True)
            case Message("fail"):
                raise RuntimeError("asked for")
        return None if message.topic == "a" else message

    with Broker(intercept=intercept) as broker:
        one = device(broker)
        one.client.subscribe("#", 1)
        broker.wait_subscription("#")
        for topic in ("a", "drop", "refuse", "change", "b"):
            one.client.publish(topic, "text", 1)
        assert one.wait(3) == [("a", b"text", 1), ("changed", b"TEXT", 1), ("b", b"text", 1)]
        assert broker.retained["changed"].payload == b"TEXT"
        assert broker.publish("drop").matched == 1
        with pytest.raises(midge.RefusedError, match="Quota exceeded"):
            broker.publish("refuse")
        logging.getLogger("midge").disabled = True
        try:
            with pytest.raises(midge.RefusedError):
                broker.publish("fail")
        finally:
            logging.getLogger("midge").disabled = False
        assert broker.stats.dropped["refused_by_hook"] == 5


def test_hooks_may_use_the_broker(device):
    """Every call from inside a hook comes back: nothing waits for the thread that it runs on."""
    broker = Broker(
        auth=lambda client: bool(broker.publish("auth", client.client_id, as_client="x")),
        acl=lambda request: broker.stats.clients >= 0 and broker.sessions is not None,
        intercept=lambda message: broker.publish("copy", message.payload) and None,
    )
    with broker:
        one = device(broker)
        assert one.connected
        one.client.publish("t", "x", 1).wait_for_publish(10)
        broker.expect("copy", "x")
        broker.expect("auth", "device")
        broker.expect("t")


def test_calls_do_not_hold_the_interpreter_while_a_hook_needs_it(device):
    with Broker(auth=lambda c: True, acl=lambda r: True, intercept=lambda m: None) as broker:
        one = device(broker, before=lambda client: client.will_set("will", "x"))
        one.client.subscribe("#", 1)
        broker.wait_subscription("#")
        readings = broker.subscribe("#")
        one.client.loop_stop()
        for call in (
            lambda: broker.publish("t", "x", qos=1, as_client="device"),
            lambda: broker.publish("t", "x", to="device"),
            lambda: readings.get(1),
            lambda: broker.clear_session("device"),
            lambda: broker.expect("will", timeout=10),
            lambda: broker.settle(),
            lambda: broker.reset(),
            lambda: broker.restart(),
            lambda: broker.stop(),
        ):
            done = threading.Event()
            thread = threading.Thread(target=lambda call=call, done=done: (call(), done.set()))
            thread.start()
            assert done.wait(10)
            thread.join()


def test_stop_from_inside_a_hook():
    ended = threading.Event()

    def intercept(message):
        broker.stop()
        ended.set()

    broker = Broker(intercept=intercept).start()
    broker.publish("t")
    assert ended.wait(10) and not broker.running


def test_a_broker_with_hooks_goes_away_without_stop():
    def serve():
        broker = Broker(auth=lambda client: True).start()
        return broker.port

    with pytest.warns(ResourceWarning, match="unclosed"):
        assert serve()
    assert not [thread for thread in threading.enumerate() if thread.name == "midge-hooks"]
