"""The broker as its users meet it."""

import asyncio
import copy
import os
import pickle
import socket
import stat
import subprocess
import sys
import threading

import pytest
from packets import CONNACK, connect, publish, subscribe

import midge
from midge import ANY, Broker, Message, Properties, Refuse


def shake_hands(sock):
    sock.settimeout(10)
    sock.sendall(connect())
    assert sock.recv(4) == CONNACK


def test_it_starts_and_stops():
    broker = Broker()
    assert not broker.running and "stopped" in repr(broker)
    with broker:
        assert broker.running and broker.port > 0
        assert broker.host == "127.0.0.1"
        assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
        assert broker.env == {
            "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": str(broker.port),
            "MQTT_URL": broker.url,
        }
        assert broker.start() is broker
        with socket.create_connection((broker.host, broker.port)) as sock:
            shake_hands(sock)

    broker.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((broker.host, broker.port))
    with pytest.raises(midge.StoppedError):
        broker.publish("t")
    with pytest.raises(midge.StoppedError):
        broker.expect("t")


def test_before_the_start_it_says_so():
    for use in (
        lambda b: b.publish("t"),
        lambda b: b.subscribe("t"),
        lambda b: b.url,
        lambda b: b.stats,
        lambda b: b.socket(),
    ):
        with pytest.raises(midge.StoppedError, match="not been started"):
            use(Broker())


def test_a_taken_port_is_a_bind_error():
    with Broker() as first:
        with pytest.raises(midge.BindError) as caught:
            Broker(port=first.port).start()
        error = caught.value
        assert isinstance(error, OSError) and error.errno == 98
        assert error.filename == f"tcp://127.0.0.1:{first.port}"
        text = f"[Errno 98] {os.strerror(98)}: 'tcp://127.0.0.1:{first.port}'"
        assert str(error) == text


def test_a_taken_port_of_a_host_with_several_addresses():
    with Broker(host="localhost") as first, pytest.raises(midge.BindError) as caught:
        Broker(host="localhost", port=first.port).start()
    error = caught.value
    assert error.errno == 98 and error.strerror.endswith(os.strerror(98))


def test_ipv6():
    with Broker(host="::1") as broker:
        assert broker.url == f"mqtt://[::1]:{broker.port}"
        with socket.create_connection((broker.host, broker.port)) as sock:
            shake_hands(sock)


def test_a_unix_socket(tmp_path):
    path = tmp_path / "mqtt.sock"
    with Broker(port=None, unix_path=path) as broker:
        assert broker.port == 0 and broker.url == f"unix://{path}"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            shake_hands(sock)
        assert stat.S_ISSOCK(os.stat(path).st_mode)
    assert not path.exists()


def test_a_socket_without_a_port():
    with Broker(port=None) as broker:
        with broker.socket() as sock:
            shake_hands(sock)
            assert broker.wait_client("s").peer == "memory"
        broker.wait_client("s", connected=False)


def test_restart_keeps_the_port_and_what_was_kept(device):
    with Broker() as broker:
        port = broker.port
        broker.publish("t", "kept", retain=True)
        with broker.socket() as sock:  # a persistent session
            sock.settimeout(10)
            sock.sendall(connect("p", clean=False))
            assert sock.recv(4) == CONNACK
        broker.restart()
        assert broker.port == port
        assert broker.retained["t"].text == "kept" and "p" in broker.sessions
        assert broker.messages == [("t", b"kept")]
        broker.restart(clean=True)
        assert broker.port == port and broker.retained == {} and broker.sessions == {}


def test_reset_leaves_nothing(device):
    with Broker() as broker:
        one = device(broker, before=lambda client: client.will_set("will", "x", retain=True))
        one.client.loop_stop()  # it would come again
        broker.publish("t", "x", retain=True)
        broker.reset()
        assert broker.retained == {} and broker.sessions == {} and broker.clients == {}
        assert broker.messages == [] and list(broker.events) == []


def test_payloads():
    with Broker() as broker:
        cut = memoryview(b"a.b.c.")[::2]
        changed = bytearray(b"before")
        for given, expected in [
            (b"bytes", b"bytes"),
            ("töxt", "töxt".encode()),
            (changed, b"before"),
            (cut, b"abc"),
            (memoryview(b"view"), b"view"),
            (b"", b""),
            (b"x" * 1_000_000, b"x" * 1_000_000),
        ]:
            receipt = broker.publish("t", given)
            assert receipt.matched == 0
            if given is changed:
                changed[:] = b"after!"
            assert broker.expect("t").payload == expected

        for wrong in (5, None, object()):
            with pytest.raises(TypeError, match="payload: bytes, str or a buffer"):
                broker.publish("t", wrong)
        broker.publish("t", json={"a": [1, None]})
        assert broker.expect("t").json() == {"a": [1, None]}
        with pytest.raises(TypeError, match="payload and json"):
            broker.publish("t", "x", json=1)


def test_properties_go_through():
    properties = Properties(
        content_type="text/plain",
        response_topic="answers",
        correlation_data=b"\x00\x01",
        message_expiry=60,
        utf8=True,
        user=[("b", "1"), ("a", "2"), ("b", "3")],
    )

    with Broker() as broker:
        readings = broker.subscribe("t")
        broker.publish("t", "x", qos=1, properties=properties, as_client="pump")
        received = readings.get(timeout=10)
        logged = broker.expect("t", client="pump")
        assert received == logged
        assert received.properties == properties and hash(properties)
        assert received.properties.user == (("b", "1"), ("a", "2"), ("b", "3"))
        assert Properties(user={"a": "b"}).user == (("a", "b"),)
        assert not Properties() and properties
        assert "content_type='text/plain'" in repr(properties)


def test_messages_are_values():
    message = Message("t", "x", qos=1, properties=Properties(content_type="a"))
    for other in (pickle.loads(pickle.dumps(message)), copy.deepcopy(message)):
        assert other == message and hash(other) == hash(message)
    assert Message("t", b"x") == Message("t", "x") != Message("t", "y")
    assert Message("t") != "t" and len(Message("t", "xyz")) == 3 and bytes(message) == b"x"
    match message:
        case Message(topic, payload):
            assert (topic, payload) == ("t", b"x")
    assert repr(message) == "Message('t', b'x', qos=1, properties=Properties(content_type='a'))"
    assert message.payload is message.payload
    assert object() == ANY and pickle.loads(pickle.dumps(ANY)) is ANY
    with pytest.raises(UnicodeDecodeError):
        _ = Message("t", b"\xff").text


def test_receipts(device):
    with Broker() as broker:
        one = device(broker)
        one.client.subscribe("a", 1)
        broker.wait_subscription("a")
        receipt = broker.publish("a", "x", qos=1)
        assert receipt.matched == 1 and set(receipt.outcomes) == {"device"}
        assert receipt.wait_acknowledged(10) and receipt.acknowledged
        assert receipt.dropped == {} and "matched=1" in repr(receipt)
        broker.publish("anything", "direct", to="device")
        assert one.wait(2) == [("a", b"x", 1), ("anything", b"direct", 0)]
        with pytest.raises(ValueError, match="to: no session"):
            broker.publish("a", to="nobody")


def test_recording_does_not_alter_what_clients_see(device):
    with Broker() as broker:
        one = device(broker)
        told = []
        one.client.on_publish = lambda c, u, mid, reason, p: told.append(str(reason))
        one.client.publish("nobody/listens", "x", 1).wait_for_publish(10)
        broker.expect("nobody/listens")
        one.close()
        assert told == ["No matching subscribers"]


def test_subscriptions_of_the_program():
    with Broker() as broker:
        broker.publish("a/1", "kept", retain=True)
        with broker.subscribe("a/+", "b", maxsize=2) as readings:
            assert readings.get(10).retain
            for number in range(3):
                broker.publish("b", str(number))
            assert (len(readings), readings.lost) == (2, 1)
            assert [message.text for message in readings.drain()] == ["1", "2"]
            with pytest.raises(TimeoutError):
                readings.get(timeout=0)
            broker.publish("a/2", "last")
        assert [message.topic for message in readings] == ["a/2"]
        with pytest.raises(midge.StoppedError):
            readings.get()
        fresh = broker.subscribe("a/+", retained=False)
        assert len(fresh) == 0
    assert list(fresh) == []


def test_on_message(told):
    with Broker() as broker:
        came, done = [], threading.Event()

        @broker.on_message("a/+")
        def answer(message):
            came.append(message.topic)
            if message.text == "fail":
                raise RuntimeError("asked for")
            broker.publish("answers", message.payload)

        broker.on_message("answers", lambda message: done.set())
        broker.publish("a/1", "fail")
        broker.publish("a/2", "x")
        assert done.wait(10) and came == ["a/1", "a/2"]
        answer.close()
        broker.publish("a/3")
        broker.expect("answers", "x")
        broker.expect_none("answers")
        assert came == ["a/1", "a/2"]
        (failure,) = broker.failures
        assert "answer" in failure.who and "RuntimeError: asked for" in failure.text
        assert [str(error) for error in told] == ["asked for"]


def test_views(device):
    with Broker() as broker:
        one = device(broker, "one", "3.1.1")
        one.client.subscribe("a/#", 1)
        broker.wait_subscription("a/#", client="one")
        client = broker.clients["one"]
        assert (client.version, client.subscriptions) == ("3.1.1", 1)
        assert client.peer.startswith("127.0.0.1:")
        session = broker.sessions["one"]
        assert session.connected and session.expiry == 0 and not session.has_will
        (subscription,) = broker.subscriptions
        assert (subscription.client_id, subscription.filter, subscription.qos) == ("one", "a/#", 1)
        assert broker.stats.clients == 1 and broker.stats.dropped["queue_full"] == 0
        assert broker.disconnect("one") and not broker.disconnect("nobody")
        broker.wait_client("one", connected=False)


def test_the_log():
    with Broker(record=3) as broker:
        for number in range(5):
            broker.publish(f"t/{number}", str(number))
        assert broker.messages.topics == ["t/2", "t/3", "t/4"]
        assert broker.messages.json() == [2, 3, 4]
        assert broker.messages.on("t/4").payloads == [b"4"]
        assert broker.messages == [("t/2", "2"), ("t/3", b"3"), Message("t/4", "4")]
        assert broker.messages != [("t/2", "2")] and broker.messages[-1].text == "4"
        assert isinstance(broker.messages[1:], midge.MessageLog)


def test_no_record_no_expectations():
    with Broker(record=0) as broker:
        broker.publish("t")
        assert broker.messages == []
        with pytest.raises(midge.ConfigError, match="record"):
            broker.expect("t")


def test_events_tell_the_story(device):
    with Broker() as broker:
        live = broker.watch("connected", "disconnected")
        one = device(broker)
        one.client.subscribe("t")
        broker.wait_subscription("t")
        one.client.loop_stop()
        broker.disconnect("device")
        broker.wait_client("device", connected=False)
        assert [live.get(10).name, live.get(10).name] == ["connected", "disconnected"]
        names = [event.name for event in broker.events]
        assert names == ["connected", "subscribed", "disconnected", "session_ended"]
        end = broker.events[2]
        assert (end.client_id, end.reason, end.reason_code) == ("device", "by_server", 0x98)
        assert "by_server 0x98 (Administrative action)" in str(end)
        with pytest.raises(ValueError, match='event: "conected" is not one of connected'):
            broker.watch("conected")


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_events_of_refusals_say_who_and_why(device, version):
    def auth(client):
        return Refuse(0x8A, f"{client.username} is locked") if client.username else Refuse(0x87)

    with Broker(auth=auth) as broker:
        named = device(broker, "a", version, before=lambda client: client.username_pw_set("anna"))
        nobody = device(broker, "b", version)
        assert named.refusal and nobody.refusal
        named.client.loop_stop()  # they would come again
        nobody.client.loop_stop()

        first = next(event for event in broker.events if event.client_id == "a")
        assert (first.name, first.username, first.reason) == ("refused", "anna", "refused")
        assert (first.reason_code, first.detail) == (0x8A, "anna is locked")
        second = next(event for event in broker.events if event.client_id == "b")
        assert (second.name, second.username, second.reason) == ("refused", None, "refused")
        assert (second.reason_code, second.detail) == (0x87, "Not authorized")

        # Each has a connection of its own, and neither has got a session.
        assert first.connection is not None and second.connection is not None
        assert first.connection < second.connection
        assert first.session is None and second.session is None
        assert f"(anna is locked) connection={first.connection}" in str(first)
        assert "session=" not in str(first)


def test_numbers_tell_connections_and_sessions_apart():
    resume, clean = False, True

    def join(sock, clean, session_present):
        sock.settimeout(10)
        sock.sendall(connect(clean=clean))
        assert sock.recv(4) == bytes([0x20, 2, session_present, 0])

    with Broker() as broker, broker.watch("connected", "disconnected", "session_ended") as live:
        with broker.socket() as one, broker.socket() as two, broker.socket() as three:
            join(one, resume, session_present=False)
            join(two, resume, session_present=True)
            client, session = broker.clients["s"], broker.sessions["s"]
            join(three, clean, session_present=False)
            renewed = broker.clients["s"]
            assert renewed.session == broker.sessions["s"].number
        events = [live.get(10) for _ in range(8)]

    first = events[0]
    assert [(event.name, event.connection, event.session, event.reason) for event in events] == [
        ("connected", first.connection, first.session, None),
        # Taken over: the end of the old connection comes first; the session is the same.
        ("disconnected", first.connection, first.session, "taken_over"),
        ("connected", client.connection, first.session, None),
        # A clean start: the session ends with the old connection, and the new one has another.
        ("disconnected", client.connection, first.session, "taken_over"),
        ("session_ended", None, first.session, None),
        ("connected", renewed.connection, renewed.session, None),
        ("disconnected", renewed.connection, renewed.session, "connection_lost"),
        ("session_ended", None, renewed.session, None),
    ]
    assert client.session == session.number == first.session
    assert 0 < first.connection < client.connection < renewed.connection
    assert 0 < first.session < renewed.session
    assert f"connection={first.connection} session={first.session}" in repr(first)
    assert "connection=" not in str(events[4]) and f"session={first.session}" in str(events[4])


def test_events_of_messages_have_numbers():
    with Broker() as broker, broker.socket() as sock:
        shake_hands(sock)
        client = broker.wait_client("s")
        sock.sendall(subscribe("t"))
        broker.wait_subscription("t")
        with broker.watch("published", "delivered") as live:
            sock.sendall(publish("t", b"x"))
            by_client = {event.name: event for event in (live.get(10), live.get(10))}
            broker.publish("t", "x")
            by_host = {event.name: event for event in (live.get(10), live.get(10))}
        ours, nobody = (client.connection, client.session), (None, None)
        numbers = [
            (event.connection, event.session)
            for events in (by_client, by_host)
            for event in (events["published"], events["delivered"])
        ]
        assert numbers == [ours, ours, nobody, ours]


def test_events_tell_messages_apart(device):
    with Broker(acl=lambda request: request.topic != "no") as broker:
        one = device(broker)
        one.client.subscribe("t", 1)
        broker.wait_subscription("t")
        with broker.watch("published", "delivered", "acknowledged", "dropped") as live:
            about = {}
            for payload in ("one", "two"):
                broker.publish("t", payload, qos=1)
                about[payload] = [live.get(10) for _ in range(3)]
            one.client.publish("no", "x", 1)
            refused = live.get(10)
        for events in about.values():
            assert {event.name for event in events} == {"published", "delivered", "acknowledged"}
        (first,), (second,) = ({e.message_number for e in events} for events in about.values())
        assert 0 < first < second
        # It was not taken from its publisher.
        assert (refused.name, refused.message_number) == ("dropped", None)
        assert {pickle.loads(pickle.dumps(e)).message_number for e in about["one"]} == {first}

        kept = list(broker.events)
        assert [event.number for event in kept] == sorted({event.number for event in kept})
        assert kept[0].number >= 1
        connected = next(event for event in kept if event.name == "connected")
        assert connected.message_number is None
        # One number for all that record it.
        assert refused.number == next(e.number for e in kept if e.name == "dropped")
        published = next(e for e in about["two"] if e.name == "published")
        assert published.number in {event.number for event in kept}


def test_a_session_says_whose_it_is(device):
    with Broker() as broker:
        device(broker, "a", before=lambda client: client.username_pw_set("anna"))
        device(broker, "b")
        sessions = broker.sessions
        assert (sessions["a"].username, sessions["b"].username) == ("anna", None)


def test_the_clock_can_be_moved(device):
    with Broker(clock="manual") as broker:
        one = device(
            broker, connect={"keepalive": 60}, before=lambda client: client.will_set("will", "x")
        )
        one.client.loop_stop()
        broker.publish("t", retain=True, payload="x", properties=Properties(message_expiry=60))
        broker.clock.advance(59)
        assert broker.retained["t"].properties.message_expiry == 1
        broker.clock.advance(1)
        assert broker.retained == {} and broker.clock.now == 60
        assert "device" in broker.clients
        broker.clock.advance(31)
        broker.wait_client("device", connected=False)
        broker.expect("will", "x")
        with pytest.raises(ValueError, match="seconds"):
            broker.clock.advance(-1)
    with Broker() as broker, pytest.raises(midge.ConfigError, match="manual"):
        broker.clock.advance(1)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"limits_inflght": 1}, "did you mean 'limits_inflight'"),
        ({"prot": 1}, "did you mean 'port'"),
        ({"tls": True}, "unknown keyword 'tls'; there are host, port, unix_path"),
        ({"host": "localhost:1883"}, "host: an address or a name without a port"),
        ({"host": "mqtt://localhost"}, "host: an address or a name without a port or a scheme"),
        ({"host": "no such host"}, "host: an address or a name, not 'no such host'"),
        ({"host": b"::1"}, "host"),
        ({"hooks_threads": 0}, "hooks_threads: a whole number from 1 to 1024"),
        ({"receive": 5}, "receive: a callable"),
        ({"limits_inflight": 0}, 'limits.inflight does not take "0"; accepted: 1 to 65535'),
        ({"options": {"limits.inflght": 1}}, 'did you mean "limits.inflight"'),
        ({"options": {"limits.inflight": 1.5}}, "limits.inflight: a bool, an int or a str"),
        ({"options": [1]}, "options: a mapping"),
        ({"options": {"listen": "tcp://127.0.0.1:0"}}, "listen: host, port and unix_path"),
        ({"options": {"threads": 1025}}, 'threads does not take "1025"; accepted: 0 to 1024'),
        ({"clock": "wrong"}, "clock"),
        ({"port": 70000}, "port: a whole number from 0 to 65535"),
        ({"port": "1883"}, "port"),
        ({"host": ""}, "host"),
        ({"record": -1}, "record"),
        ({"threads": -1}, "threads"),
        ({"timeout": -1}, "timeout"),
        ({"protocols": ["4"]}, "protocols"),
        ({"protocols": []}, "protocols"),
        ({"auth": 5}, "auth"),
        ({"auth": {"a": 5}}, "auth"),
        ({"acl": 5}, "acl: a callable"),
        ({"intercept": "x"}, "intercept: a callable"),
    ],
)
def test_settings_that_are_wrong(keywords, text):
    with pytest.raises(midge.ConfigError) as caught:
        Broker(**keywords)
    assert text in str(caught.value) and isinstance(caught.value, ValueError)


def test_an_address_that_is_none():
    with pytest.raises(midge.BindError, match=r"tcp://nowhere\.invalid") as caught:
        Broker(host="nowhere.invalid").start()
    assert "host" in caught.value.strerror and caught.value.filename == "tcp://nowhere.invalid:0"


def test_settings_that_are_right():
    settings = {"protocols": ["5.0"], "limits_inflight": 10, "options": {"sys.interval_s": 0}}
    with Broker(**settings) as broker, broker.socket() as sock:
        sock.settimeout(10)
        sock.sendall(connect())
        assert sock.recv(4) == b"\x20\x02\x00\x01"


def test_calls_that_are_wrong():
    with Broker() as broker:
        for call, text in [
            (lambda: broker.publish("a/+"), "topic"),
            (lambda: broker.publish(""), "topic"),
            (lambda: broker.publish("t", qos=3), "qos: 0, 1 or 2, not 3"),
            (lambda: broker.subscribe("a/#/b"), "filter"),
            (lambda: broker.subscribe(), "filters"),
            (lambda: broker.subscribe("a", maxsize=0), "maxsize"),
            (lambda: broker.on_message("a", print, maxsize=0), "maxsize: a whole number from 1"),
            (lambda: broker.on_message("a/#/b", print), "filter"),
            (lambda: broker.watch(maxsize=0), "maxsize"),
            (lambda: broker.wait_subscription("a/#/b"), 'filter: "a/#/b" is not a valid'),
            (lambda: broker.clear_retained("#/a"), 'filter: "#/a" is not a valid'),
            (lambda: broker.messages.on("#/a"), "filter"),
            (lambda: broker.expect_sequence(), "matchers: at least one"),
            (lambda: broker.expect("a", count=True), "count"),
            (lambda: broker.expect("a", timeout=float("nan")), "timeout"),
            (lambda: broker.subscribe("a").drain(-1), "limit"),
            (lambda: broker.disconnect("x", 0x1FF), "reason: a whole number from 128 to 255"),
            (lambda: midge.Refuse(0x1FF), "reason"),
            (lambda: midge.Refuse(None), "reason"),
            (lambda: broker.disconnect("x", 0), "reason"),
            (lambda: broker.expect("a/#/b"), "filter"),
            (lambda: broker.expect("a", count=0), "count"),
            (lambda: Properties(content_type="x" * 70000), "content_type"),
            (lambda: midge.Refuse(1), "reason"),
            (lambda: broker.subscribe("a").get(timeout=float("nan")), "timeout"),
        ]:
            with pytest.raises(ValueError, match=text):
                call()

        for call in (
            lambda: broker.publish(5),
            lambda: broker.publish("t", properties={}),
            lambda: broker.on_message("a", 5),
            lambda: broker.expect_sequence(5),
            lambda: Properties(user=5),
            lambda: Properties(user=[("a",)]),
            lambda: broker.expect("a", where=5),
            lambda: midge.Refuse(0x87, 5),
        ):
            with pytest.raises(TypeError):
                call()
        for call in (
            lambda: broker.expect("a", timeout="x"),
            lambda: broker.expect_none("a", within="x"),
            lambda: broker.expect_sequence("a", timeout="x"),
            lambda: broker.wait_client("a", timeout="x"),
            lambda: broker.wait_subscription("a", timeout="x"),
            lambda: broker.settle("x"),
            lambda: broker.stop(timeout="x"),
            lambda: broker.subscribe("a").get("x"),
            lambda: asyncio.run(broker.subscribe("a").aget("x")),
            lambda: asyncio.run(broker.aio.expect("a", timeout="x")),
            lambda: asyncio.run(broker.aio.settle(True)),
        ):
            with pytest.raises(TypeError, match=r"(timeout|within): a number of seconds or None"):
                call()
        assert broker.running
        assert broker.messages == []


def test_a_panic_is_an_internal_error():
    from midge import _midge

    with pytest.raises(midge.InternalError, match="asked for"):
        _midge._panic()


def test_the_import_is_quick_and_quiet():
    program = "import sys, midge; print('asyncio' in sys.modules and 'pytest' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_a_message_shows_its_payload_without_a_copy():
    with midge.Broker() as broker, broker.subscribe("t") as messages:
        broker.publish("t", bytes(range(256)) * 1000)
        message = messages.get(timeout=5)
        with memoryview(message) as view:
            assert (view.readonly, len(view), view[:3]) == (True, 256_000, b"\0\1\2")
            with pytest.raises(TypeError):
                view[0] = 1
            del message
            assert bytes(view[-2:]) == b"\xfe\xff"  # the view keeps it alive
        assert bytes(memoryview(midge.Message("t"))) == b""
