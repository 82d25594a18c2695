"""Hooks: Python callables that the broker asks."""

import asyncio
import contextlib
import copy
import pickle
import threading
import time

import pytest
from packets import CONNACK, connect, publish

import midge
from midge import PASS, Broker, ConnectInfo, Hooks, Message, Refuse


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


def test_what_goes_wrong_is_a_no(device, told):
    def auth(client):
        match client.client_id:
            case "raises":
                raise RuntimeError("asked for")
            case "none":
                return None
            case "nonsense":
                return "yes"

    with Broker(auth=auth) as broker:
        for name in ("raises", "none", "nonsense"):
            assert not device(broker, name).connected
        assert [failure.who for failure in broker.failures] == [
            "the hook auth for 'raises'",
            "the hook auth for 'nonsense'",
        ]
    assert [type(error) for error in told] == [RuntimeError, TypeError]


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


def test_interception(device, told):
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
        with pytest.raises(midge.RefusedError):
            broker.publish("fail")
        assert [str(error) for error in told] == ["asked for"]
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
    # What the hook was asked has no answer when the broker is gone.
    with pytest.raises(midge.RefusedError):
        broker.publish("t")
    assert ended.wait(10) and not broker.running


def test_a_broker_with_hooks_goes_away_without_stop():
    def serve():
        broker = Broker(auth=lambda client: True).start()
        return broker.port

    with pytest.warns(ResourceWarning, match="unclosed"):
        assert serve()
    assert not [thread for thread in threading.enumerate() if thread.name == "midge-hooks"]


def test_a_slow_hook_makes_only_its_asker_wait(device):
    """The time limit runs from when a question is taken up, and one hook that hangs leaves the
    others their threads."""
    release = threading.Event()
    inside = threading.Event()

    def acl(request):
        if request.client_id == "slow":
            inside.set()
            return release.wait(30)
        return True

    with Broker(acl=acl) as broker:
        slow, quick = device(broker, "slow"), device(broker, "quick")
        slow.client.publish("t", "slow", 1)
        assert inside.wait(10)
        for number in range(20):
            quick.client.publish("t", str(number), 1).wait_for_publish(10)
        broker.expect("t", client="quick", count=20)
        release.set()
        broker.expect("t", "slow")


def test_a_hook_that_hangs_is_replaced_and_its_time_is_its_own():
    """One thread, hooks that hang before it: what waits for its turn longer than the limit is
    answered all the same."""
    release, asked = threading.Event(), []
    first = threading.Event()

    def auth(client):
        asked.append(client.client_id)
        first.set()
        return release.wait(30) if client.client_id.startswith("slow") else True

    with Broker(auth=auth, hooks_threads=1, hooks_timeout_ms=100) as broker:
        clients = {name: broker.socket() for name in ("slow-0", "slow-1", "slow-2", "quick1")}
        for name, client in clients.items():
            client.settimeout(20)
            client.sendall(connect(name))
            assert first.wait(10)
        for name, client in clients.items():
            code = 0 if name == "quick1" else 5
            assert client.recv(4) == bytes((0x20, 2, 0, code))
            client.close()
        assert sorted(asked) == sorted(clients)
        release.set()


def test_what_a_client_that_is_gone_was_about_is_not_asked(device):
    """Taken over while its question waits for its turn: the hook is spared it."""
    release, inside, asked = threading.Event(), threading.Event(), []

    def acl(request):
        asked.append(request.client_id)
        inside.set()
        return release.wait(30)

    with Broker(acl=acl, hooks_threads=1) as broker:
        device(broker, "slow").client.publish("t", "x", 1)
        assert inside.wait(10)
        with broker.socket() as old, broker.socket() as new:
            for client in (old, new):
                client.settimeout(20)
                client.sendall(connect("gone"))
                assert client.recv(4) == b"\x20\x02\x00\x00"
                if client is old:
                    client.sendall(b"\x32\x06\x00\x01t\x00\x01x")
                    while broker.stats.publish_received < 2:
                        pass
            old.close()
            while broker.stats.connections > 2:
                pass

            release.set()
            device(broker, "last").client.publish("t", "x", 1).wait_for_publish(10)
        assert asked == ["slow", "last"]


def test_hooks_run_side_by_side():
    """Eight threads by default: eight hooks that wait for each other come to an end."""
    together = threading.Barrier(8)

    def auth(client):
        together.wait(10)
        return True

    with Broker(auth=auth) as broker:
        clients = [broker.socket() for _ in range(8 * 25)]
        for number, client in enumerate(clients):
            client.settimeout(20)
            client.sendall(connect(f"{number:04}"))
        for client in clients:
            assert client.recv(4) == CONNACK
            client.close()
        assert broker.stats.refused == 0


def test_one_hook_after_the_other(device):
    """With one thread they never overlap."""
    inside, most = [], []

    def acl(request):
        inside.append(request)
        most.append(len(inside))
        inside.remove(request)
        return True

    with Broker(acl=acl, hooks_threads=1) as broker:
        clients = [device(broker, f"c{n}") for n in range(4)]
        for turn in range(10):
            for client in clients:
                client.client.publish("t", str(turn), 1)
        broker.expect("t", count=40)
        assert max(most) == 1 and broker.failures == []


def test_an_interceptor_does_not_wait_for_slow_authenticators(device):
    """What holds up the broker itself has a thread of its own."""
    release = threading.Event()
    waiting = threading.Semaphore(0)

    def auth(client):
        if client.client_id == "b":
            waiting.release()
            return release.wait(30)
        return True

    with Broker(auth=auth, intercept=lambda message: None, hooks_threads=1) as broker:
        one = device(broker, "a")
        with broker.socket() as other:
            other.sendall(connect("b"))
            assert waiting.acquire(timeout=10)
            one.client.publish("t", "x", 1).wait_for_publish(10)
            broker.expect("t", "x")
            release.set()
            broker.wait_client("b")


def test_stop_in_a_hook_while_another_thread_stops():
    inside, ended = threading.Event(), threading.Event()

    def auth(client):
        inside.set()
        # Until the other thread is at it.
        while broker.running:
            time.sleep(0)
        broker.stop()
        ended.set()
        return True

    broker = Broker(auth=auth).start()
    with broker.socket() as sock:
        sock.sendall(connect())
        assert inside.wait(10)
        broker.stop()
    assert ended.wait(10) and not broker.running and broker.failures == []


def test_start_and_restart_in_a_hook_that_is_being_stopped(told):
    inside, raised = threading.Event(), []

    def auth(client):
        inside.set()
        while broker.running:
            time.sleep(0)
        for call in (broker.start, broker.restart):
            with contextlib.suppress(midge.StoppedError):
                call()
                raised.append(call)
        return True

    broker = Broker(auth=auth).start()
    with broker.socket() as sock:
        sock.sendall(connect())
        assert inside.wait(10)
        broker.stop()
    assert raised == [] and told == []


@pytest.mark.parametrize("hook", ["auth", "intercept"])
def test_a_hook_that_never_returns_is_left_behind(hook):
    release, inside = threading.Event(), threading.Event()

    def hang(_):
        inside.set()
        return release.wait(30)

    broker = Broker(**{hook: hang}, shutdown_patience_ms=50, hooks_timeout_ms=60_000).start()
    with broker.socket() as sock:
        sock.sendall(connect() + publish("t"))
        assert inside.wait(10)
        with pytest.warns(RuntimeWarning, match="a hook did not return within"):
            broker.stop()
    assert "left behind" in broker.failures[0].text
    release.set()


def test_a_coroutine_hook_that_hangs_is_cancelled(told):
    ends = []

    async def auth(client):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def main():
        async with Broker(auth=auth, hooks_timeout_ms=50) as broker:
            with broker.socket() as sock:
                watch = broker.watch("refused")
                sock.sendall(connect())
                await watch.aget(10)
                while not ends:
                    await asyncio.sleep(0.001)

    asyncio.run(main())
    assert ends == ["cancelled"] and told == []


def test_a_coroutine_hook_that_fails_is_a_no(told):
    async def auth(client):
        raise RuntimeError("asked for")

    async def main():
        async with Broker(auth=auth) as broker:
            with broker.socket() as sock:
                watch = broker.watch("refused")
                sock.sendall(connect())
                await watch.aget(10)
            assert "asked for" in broker.failures[0].text

    asyncio.run(main())
    assert [str(error) for error in told] == ["asked for"]


def test_coroutines_where_they_cannot_run():
    async def coroutine(_):
        return True

    with pytest.raises(midge.StartError, match="event loop"):
        Broker(auth=coroutine).start()
    for hook in ("intercept", "receive"):
        with pytest.raises(midge.ConfigError, match=f"{hook}: a plain function"):
            Broker(**{hook: coroutine})
    with Broker() as broker, pytest.raises(TypeError, match="a plain function"):
        broker.on_message("a", coroutine)


def test_a_callback_that_gives_a_coroutine_is_a_failure(told):
    async def coroutine(_):
        return True

    with Broker() as broker:
        broker.on_message("a", lambda message: coroutine(message))
        broker.publish("a")
        done = threading.Event()
        broker.on_message("b", lambda message: done.set())
        broker.publish("b")
        assert done.wait(10)
    assert "nobody awaits" in broker.failures[0].text and len(told) == 1


def test_a_callback_that_exits_goes_on(told):
    came, done = [], threading.Event()

    def callback(message):
        came.append(message.text)
        if message.text == "1":
            raise SystemExit(3)
        done.set()

    with Broker() as broker:
        broker.on_message("a", callback)
        broker.publish("a", "1")
        broker.publish("a", "2")
        assert done.wait(10) and came == ["1", "2"]
        assert "SystemExit: 3" in broker.failures[0].text


def test_a_receive_hook(device):
    asked = []

    def receive(request):
        asked.append((request.client_id, request.message.topic))
        return not request.message.topic.startswith("secret/")

    with Broker(receive=receive) as broker:
        broker.publish("secret/kept", "x", retain=True)
        one = device(broker)
        one.client.subscribe([("#", 1), ("$share/g/secret/#", 1)])
        broker.wait_subscription("$share/g/secret/#")
        broker.publish("secret/a", "x", qos=1, as_client="other")
        broker.publish("public", "x", qos=1)
        assert one.wait(1) == [("public", b"x", 1)]
        broker.settle()
        assert one.received == [("public", b"x", 1)]
        assert {("device", "secret/kept"), ("device", "secret/a"), ("device", "public")} == set(
            asked
        )


@pytest.mark.parametrize("filter", ["secret/#", "#", "+/plan", "$share/g/secret/#", "secret/plan"])
def test_no_filter_gets_past_a_rule(device, filter):
    """Rules about subscriptions have to ask what a filter reaches, not how it begins."""
    asked = []

    def acl(request):
        asked.append((request.group, request.topic))
        return not request.reaches("secret/#")

    with Broker(acl=acl) as broker:
        one = device(broker)
        codes, done = [], threading.Event()

        def on_subscribe(client, userdata, mid, reasons, properties):
            codes.extend(reason.value for reason in reasons)
            done.set()

        one.client.on_subscribe = on_subscribe
        one.client.subscribe([(filter, 1), ("public/#", 1)])
        assert done.wait(10) and codes == [0x87, 1]
    group = "g" if filter.startswith("$share") else None
    assert asked[0] == (group, filter.removeprefix("$share/g/"))


def test_share_is_an_ordinary_filter_where_it_means_nothing(device):
    asked = []

    def acl(request):
        asked.append((request.group, request.topic))
        return True

    with Broker(acl=acl, mqtt_shared_v3=False) as broker:
        one = device(broker, version="3.1.1")
        one.client.subscribe("$share/g/a", 1)
        broker.wait_subscription("$share/g/a")
    assert asked == [(None, "$share/g/a")]


def test_the_first_opinion_on_a_client_counts(device):
    asked = []

    def hook(name, answers):
        def auth(client):
            asked.append((name, client.client_id))
            return answers.get(client.client_id, PASS)

        return auth

    refuse = Refuse(0x8A, "not you")
    sets = [
        Hooks(auth=hook("second", {"known": False, "guest": True})),
        Hooks(auth=hook("third", {"late": True, "known": True})),
    ]
    with Broker(auth=hook("first", {"banned": refuse, "known": True}), hooks=sets) as broker:
        assert str(device(broker, "banned").refusal) == "Banned"
        for name in ("known", "guest", "late"):
            assert device(broker, name).connected
        assert str(device(broker, "stranger").refusal) == "Bad user name or password"
        assert broker.failures == []
    assert asked == [
        ("first", "banned"),
        ("first", "known"),
        ("first", "guest"),
        ("second", "guest"),
        ("first", "late"),
        ("second", "late"),
        ("third", "late"),
        ("first", "stranger"),
        ("second", "stranger"),
        ("third", "stranger"),
    ]


def test_several_tables_of_passwords(device):
    with Broker(auth={"anna": "one"}, hooks=[Hooks(auth={"anna": "two", "otto": "o"})]) as broker:
        assert device(broker, "a", before=login("anna", "one")).connected
        assert device(broker, "b", before=login("otto", "o")).connected
        # The first table knows her.
        assert not device(broker, "c", before=login("anna", "two")).connected
        assert not device(broker, "d", before=login("otto", "wrong")).connected
        assert not device(broker, "e").connected
        refused = [event for event in broker.events if event.name == "refused"]
        assert [event.reason_code for event in refused] == [0x86] * 3


def test_the_first_no_to_a_topic_counts():
    asked = []

    def hook(name, answers):
        def acl(request):
            asked.append((name, request.topic))
            return answers.get(request.topic, PASS)

        return acl

    sets = [
        Hooks(acl=hook("one", {"no": False, "yes": True})),
        Hooks(acl=hook("two", {"yes": False})),
    ]
    with Broker(hooks=sets) as broker:
        broker.publish("open", as_client="c")
        for topic in ("no", "yes"):
            with pytest.raises(midge.RefusedError):
                broker.publish(topic, as_client="c")
        assert broker.messages == [("open", b"")]
    assert asked == [
        ("one", "open"),
        ("two", "open"),
        ("one", "no"),
        ("one", "yes"),
        ("two", "yes"),
    ]


def test_each_interceptor_sees_what_those_before_it_have_made():
    seen = []

    def upper(message):
        return False if message.topic == "drop" else Message(message.topic, message.payload.upper())

    def record(message):
        seen.append((message.topic, message.payload))
        return Refuse(0x97, "enough") if message.topic == "refuse" else PASS

    def last(message):
        return Message("end", message.payload)

    sets = [Hooks(intercept=record), Hooks(), Hooks(intercept=last)]
    with Broker(intercept=upper, hooks=sets) as broker:
        broker.publish("a", "x")
        broker.publish("drop", "x")
        with pytest.raises(midge.RefusedError, match="Quota exceeded"):
            broker.publish("refuse", "x")
        assert broker.messages == [("end", b"X")]
    assert seen == [("a", b"X"), ("refuse", b"X")]


def test_receivers_that_a_set_refuses_and_what_it_is_told_of_them(device):
    asked = []

    def first(request):
        asked.append(request)
        return PASS if request.message.topic == "a" else True

    def second(request):
        return request.message.topic != "b"

    with Broker(hooks=[Hooks(receive=first), Hooks(receive=second)]) as broker:
        one = device(broker, before=login("anna", "secret"))
        one.client.subscribe("#", 1)
        broker.wait_subscription("#")
        for topic in ("a", "b", "c"):
            broker.publish(topic, "x", qos=1)
        assert one.wait(2) == [("a", b"x", 1), ("c", b"x", 1)]
        client = broker.clients["device"]
    assert {(request.client_id, request.username) for request in asked} == {("device", "anna")}
    assert {(request.peer, request.connection) for request in asked} == {
        (client.peer, client.connection)
    }
    assert client.connection > 0 and [request.message.topic for request in asked] == ["a", "b", "c"]


def test_coroutines_in_several_sets():
    order = []

    async def banned(client):
        await asyncio.sleep(0)
        order.append("banned")
        return PASS if client.client_id == "good" else False

    def users(client):
        order.append("users")
        return PASS

    async def others(client):
        order.append("others")
        return True

    async def main():
        sets = [Hooks(auth=users), Hooks(auth=others)]
        async with Broker(auth=banned, hooks=sets, hooks_threads=1) as broker:
            with broker.socket() as sock:
                watch = broker.watch("connected", "refused")
                sock.sendall(connect("good"))
                assert (await watch.aget(10)).name == "connected"
            with broker.socket() as sock:
                sock.sendall(connect())
                assert (await watch.aget(10)).name == "refused"

    asyncio.run(main())
    assert order == ["banned", "users", "others", "banned"]


def test_a_failure_names_the_set(told):
    def fail(request):
        raise RuntimeError("asked for")

    sets = [Hooks(acl=lambda request: True), Hooks(acl=fail)]
    with Broker(acl=lambda request: PASS, hooks=sets) as broker:
        with pytest.raises(midge.RefusedError):
            broker.publish("a", as_client="c")
        assert broker.failures[0].who == "the hook hooks[1].acl for 'c'"
    assert [str(error) for error in told] == ["asked for"]


def test_sets_survive_a_restart_and_serve_several_brokers():
    rules = Hooks(acl=lambda request: request.topic != "no")
    with Broker(hooks=[rules]) as one, Broker(hooks=(rules,)) as two:
        one.restart()
        for broker in (one, two):
            with pytest.raises(midge.RefusedError):
                broker.publish("no", as_client="c")
            broker.publish("yes", as_client="c")


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"hooks": Hooks()}, "hooks: a sequence of midge.Hooks, not Hooks"),
        ({"hooks": None}, "hooks: a sequence of midge.Hooks, not NoneType"),
        ({"hooks": [print]}, "hooks: a sequence of midge.Hooks, not of builtin"),
    ],
)
def test_what_is_no_sequence_of_sets(keywords, text):
    with pytest.raises(midge.ConfigError, match=text):
        Broker(**keywords)


def test_what_is_no_hook():
    async def coroutine(_):
        return True

    for name in ("auth", "acl", "intercept", "receive"):
        with pytest.raises(midge.ConfigError, match=f"{name}: a"):
            Hooks(**{name: 5})
    for name in ("intercept", "receive"):
        with pytest.raises(midge.ConfigError, match=f"{name}: a plain function"):
            Hooks(**{name: coroutine})
    with pytest.raises(midge.StartError, match="event loop"):
        Broker(hooks=[Hooks(), Hooks(acl=coroutine)]).start()


def test_no_opinion_is_one_value():
    assert repr(PASS) == "PASS" and pickle.loads(pickle.dumps(PASS)) is PASS
    assert copy.deepcopy(PASS) is PASS
