"""What goes wrong with native code in Python: exit, fork, signals, leaks, threads."""

import contextlib
import gc
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import weakref

import pytest
from packets import connect, subscribe

import midge
from midge import Broker


def run(program, *options, timeout=50):
    return subprocess.run(
        [sys.executable, *options, "-c", program], capture_output=True, text=True, timeout=timeout
    )


FLOOD = """
import threading, midge
broker = midge.Broker(auth=lambda c: True, intercept={intercept}).start()
seen = broker.subscribe("#", maxsize=100)
broker.on_message("#", lambda m: None)
threading.Thread(target=lambda: [None for m in seen], daemon=True).start()
def flood():
    while True:
        broker.publish("t", b"x")
for _ in range(2):
    threading.Thread(target=flood, daemon=True).start()
broker.expect("t", timeout=10)
"""


@pytest.mark.parametrize("intercept", ["None", "lambda m: None"])
@pytest.mark.timeout(300)
def test_exit_without_stop_under_traffic(intercept):
    for _ in range(25):
        done = run(FLOOD.format(intercept=intercept))
        assert (done.returncode, done.stderr) == (0, "")


def test_exit_with_an_exception_and_with_sys_exit():
    for end, code in (("raise KeyError", 1), ("import sys; sys.exit(3)", 3)):
        assert run(FLOOD.format(intercept="None") + end).returncode == code


def in_child(check):
    """Runs `check` in a forked child; whether it gave true."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def raises_forked(call):
    try:
        call()
    except midge.ForkedError:
        return True
    return False


def test_a_forked_child_gets_errors():
    with Broker() as broker:
        readings = broker.subscribe("t")
        for call in (
            lambda: broker.publish("t"),
            lambda: broker.clients,
            lambda: broker.messages,
            lambda: broker.expect("t"),
            lambda: broker.subscribe("t"),
            lambda: broker.stop(),
            lambda: broker.restart(),
            lambda: broker.socket(),
            lambda: broker.start(),
            lambda: broker.expect_none(),
            lambda: broker.wait_client("x"),
            lambda: readings.get(0),
        ):
            assert in_child(lambda call=call: raises_forked(call))

        assert in_child(lambda: not broker.running)
        broker.publish("t", "x")
        assert readings.get(10).text == "x"


def test_a_forked_child_starts_its_own_and_leaves_the_port():
    with Broker() as broker:

        def own():
            with Broker() as other:
                other.publish("t", "x")
                return other.expect("t").text == "x"

        assert in_child(own)
        reader, writer = os.pipe()
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.write(told, b"x")  # what Python does after a fork is done
            os.read(reader, 1)  # until the parent is done
            os._exit(0)
        os.read(ready, 1)
        with socket.create_connection((broker.host, broker.port)):
            port = broker.port
            broker.stop()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((broker.host, port))
            with Broker(port=port):
                pass
        os.close(writer)
        os.waitpid(child, 0)
        for end in (reader, ready, told):
            os.close(end)


def _work(queue):
    with Broker() as broker:
        broker.publish("t", "x")
        queue.put(broker.expect("t").text)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method):
    context = multiprocessing.get_context(method)
    with Broker() as broker:
        queue = context.Queue()
        process = context.Process(target=_work, args=(queue,))
        process.start()
        assert queue.get(timeout=30) == "x"
        process.join(30)
        assert process.exitcode == 0
        broker.publish("t")
        queue.close()
        queue.join_thread()
        process.close()


WAITS = [
    "broker.subscribe('t').get()",
    "next(broker.subscribe('t'))",
    "broker.watch('connected').get()",
    "broker.expect('t', timeout=40)",
    "broker.expect_none('t', within=40)",
    "broker.wait_client('x', timeout=40)",
    "broker.wait_subscription('x', timeout=40)",
    "asyncio.run(broker.aio.expect('t', timeout=40))",
    "asyncio.run(broker.subscribe('t').aget())",
    "receipt.wait_acknowledged()",
    "broker.settle(40)",
]


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_a_wait(wait):
    program = f"""
import asyncio, midge, os, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # the parent of the tests may ignore it
broker = midge.Broker().start()
sock = broker.socket()
sock.sendall({connect() + subscribe("u", 1)!r})
broker.wait_subscription("u")
receipt = broker.publish("u", qos=1)
signal.setitimer(signal.ITIMER_REAL, 0.1)
signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
try:
    {wait}
except KeyboardInterrupt:
    print("interrupted")
"""
    done = run(program, timeout=30)
    assert (done.stdout, done.returncode) == ("interrupted\n", 0), done.stderr


def test_a_wait_lets_other_threads_run():
    with Broker() as broker:
        threads = [
            threading.Thread(target=broker.expect, args=(f"t/{n}",), kwargs={"timeout": 30})
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for number in range(8):
            broker.publish(f"t/{number}")
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()


def resources():
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.timeout(300)
def test_many_brokers_leave_nothing_behind():
    def cycle():
        with Broker(auth={"a": "b"}) as broker:
            broker.on_message("#", lambda message: None)
            readings = broker.subscribe("#")
            broker.publish("t", "x")
            assert readings.get(10)
            broker.expect("t")

    for _ in range(100):
        cycle()
    before, used = resources(), memory()
    for _ in range(1000):
        cycle()
    assert resources() == before
    assert memory() - used < 20 << 20


def test_a_dropped_broker_warns_and_ends():
    before = resources()

    def leave():
        broker = Broker().start()
        return broker.port

    with pytest.warns(ResourceWarning, match="unclosed <midge.Broker mqtt://"):
        port = leave()
    assert resources() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_broker_in_a_cycle_dropped_on_another_thread():
    class Holder:
        pass

    gone = []

    def leave():
        holder = Holder()
        holder.broker = Broker().start()
        holder.broker.on_message("#", lambda message, holder=holder: None)
        gone.extend((weakref.ref(holder), weakref.ref(holder.broker)))
        holder.broker.stop()

    before = resources()
    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    assert resources() == before  # which collects the cycle
    assert [reference() for reference in gone] == [None, None]


def test_many_threads_use_everything():
    with Broker(record=100) as broker:
        readings = broker.subscribe("#", maxsize=100)

        def use(number):
            for turn in range(50):
                broker.publish(f"t/{number}", str(turn), retain=True, qos=1)
                readings.drain()
                _ = broker.messages, broker.events, broker.retained, broker.clients
                _ = broker.sessions, broker.stats, broker.subscriptions
                broker.subscribe(f"t/{number}").close()
                broker.settle()

        failures = []

        def guarded(number):
            try:
                use(number)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


def test_starts_and_stops_from_many_threads():
    broker = Broker()
    failures = []

    def use():
        try:
            for _ in range(20):
                broker.start()
                with contextlib.suppress(midge.StoppedError):
                    broker.publish("t")
                broker.stop()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and not broker.running


def test_a_slow_consumer_costs_only_itself():
    with Broker(record=10) as broker:
        slow = broker.subscribe("t", maxsize=10)
        for number in range(1000):
            broker.publish("t", str(number))
        assert (len(slow), slow.lost) == (10, 990)
        assert len(broker.messages) == 10 and broker.messages[-1].text == "999"


def test_traffic_of_before_a_reset_is_gone(device):
    with Broker() as broker:
        one = device(broker)
        stop = threading.Event()

        def flood():
            while not stop.is_set():
                one.client.publish("t", "old", 0)

        thread = threading.Thread(target=flood)
        thread.start()
        broker.expect("t", timeout=10)
        one.client.reconnect_delay_set(60, 60)
        broker.reset()
        broker.publish("new")
        assert broker.messages == [("new", b"")]
        stop.set()
        thread.join()


def test_signals_are_left_alone():
    program = """
import signal, midge
before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)]
with midge.Broker():
    assert before == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)]
"""
    assert run(program, "-X", "dev", "-W", "error").stderr == ""
