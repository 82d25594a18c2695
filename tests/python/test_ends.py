"""Every way in which a process or a broker ends."""

import subprocess
import sys

import pytest
from packets import CONNACK, connect

START = """
import atexit, gc, os, signal, sys, threading, weakref
import midge

# The parent of the tests may ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

def connect(broker):
    sock = broker.socket()
    sock.settimeout(10)
    sock.sendall(CONNECT)
    assert sock.recv(4) == CONNACK
    return sock

broker = midge.Broker(auth=lambda c: True, acl=lambda r: True, intercept=lambda m: None).start()
came = threading.Event()
broker.on_message("#", lambda message: came.set())
seen = broker.subscribe("#")
sock = connect(broker)
broker.publish("t", "x", qos=1)
assert came.wait(10)
"""
START = f"CONNECT, CONNACK = {connect()!r}, {CONNACK!r}\n{START}"


def run(program, *options, timeout=50):
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::ResourceWarning", *options, "-c", program],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


ENDS = {
    "nothing": ("", 0, ""),
    "sys.exit": ("sys.exit(3)", 3, ""),
    "os._exit": ("os._exit(4)", 4, ""),
    "an exception": ("raise KeyError('asked for')", 1, "KeyError"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", -2, "KeyboardInterrupt"),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", -15, ""),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT); signal.pause()", -2, "KeyboardInterrupt"),
    "stop at exit": ("atexit.register(broker.stop)", 0, ""),
    "stop at exit, before all else": (
        "import atexit\natexit.unregister(midge._threads._end_threads)\natexit.register(broker.stop)",
        0,
        "",
    ),
    "restart at exit": (
        """
def again():
    try:
        broker.restart()
    except midge.StartError as error:  # from 3.12 on no thread can be started any more
        assert "thread" in str(error)
atexit.register(again)
""",
        0,
        "",
    ),
    "publish at exit": ("atexit.register(broker.publish, 't')", 0, ""),
    "stop in __del__": (
        "class Holder:\n    def __del__(self): broker.stop()\nholder = Holder(); holder.self = holder",
        0,
        "",
    ),
    "everything in __del__": (
        """
class Holder:
    def __del__(self, broker=broker, seen=seen):
        for call in (
            lambda: broker.publish("t", "x", qos=1), lambda: broker.publish("+"),
            lambda: broker.expect("never", timeout=0), lambda: broker.messages,
            lambda: broker.events, lambda: seen.drain(), lambda: seen.get(timeout=0),
            lambda: broker.subscribe("a/#/b"), lambda: broker.clients, lambda: broker.stats,
            lambda: broker.failures, lambda: broker.restart(), lambda: broker.reset(),
            lambda: broker.stop(), lambda: broker.publish("t"), lambda: midge.Broker().start().stop(),
        ):
            try:
                call()
            except Exception:
                pass
holder = Holder(); holder.self = holder
""",
        0,
        "",
    ),
    "errors in __del__": (
        """
class Holder:
    def __del__(self, broker=broker, midge=midge):
        broker.stop()
        try:
            broker.publish("t")
        except midge.StoppedError:
            print("a StoppedError")
holder = Holder(); holder.self = holder
sys.modules["holder"] = holder
""",
        0,
        "",
    ),
    "a thread at module level": (
        "threading.Thread(target=lambda: (came.wait(10), broker.stop())).start()",
        0,
        "",
    ),
    "daemons that use everything": (
        """
def use(call):
    while True:
        try:
            call()
        except midge.MidgeError:
            pass
published = threading.Semaphore(0)
def publish():
    broker.publish("t", "x", qos=1)
    published.release()
for call in (publish, lambda: seen.get(), lambda: broker.messages, lambda: broker.settle(),
             lambda: broker.expect("t", timeout=1), lambda: broker.stats):
    threading.Thread(target=use, args=(call,), daemon=True).start()
for _ in range(20):  # not expected: the daemon that expects takes them
    assert published.acquire(timeout=20)
""",
        0,
        "",
    ),
    "a daemon that waits": (
        """
ready = threading.Event()
def wait():
    ready.set()
    broker.subscribe("never").get()
threading.Thread(target=wait, daemon=True).start()
assert ready.wait(10)
""",
        0,
        "",
    ),
    "a hook that hangs": (
        """
inside = threading.Event()
other = midge.Broker(auth=lambda c: (inside.set(), threading.Event().wait())).start()
sock2 = other.socket()
sock2.sendall(CONNECT)
assert inside.wait(10)
""",
        0,
        "",
    ),
    "a callback that hangs": (
        """
inside = threading.Event()
broker.on_message("hang", lambda m: (inside.set(), threading.Event().wait()))
broker.publish("hang")
assert inside.wait(10)
""",
        0,
        "",
    ),
    "an event loop": (
        """
import asyncio
async def main():
    broker = midge.Broker(auth=lambda c: True)
    await broker.aio.start()
    task = asyncio.create_task(broker.subscribe("never").aget())
    await asyncio.sleep(0)
asyncio.run(main())
""",
        0,
        "",
    ),
}


@pytest.mark.parametrize("end", list(ENDS))
def test_the_process_ends(end):
    program, code, text = ENDS[end]
    done = run(START + program)
    assert done.returncode == code, done.stderr
    if text:
        assert text in done.stderr
    else:
        assert done.stderr == ""


def test_an_error_in_the_last_moment_is_the_right_one():
    program, _, _ = ENDS["errors in __del__"]
    assert run(START + program).stdout == "a StoppedError\n"


def test_sys_exit_in_a_callback_and_a_hook():
    program = """
def leave(*_):
    raise SystemExit(3)
told = []
threading.excepthook = lambda args: told.append(args.exc_type)
other = midge.Broker(intercept=leave).start()
other.on_message("t", leave)
try:
    other.publish("t")
except midge.RefusedError:
    pass
other.stop()
assert told == [SystemExit], told
assert [failure.who for failure in other.failures] == ["the hook intercept for None"]
"""
    done = run(START + program)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("call", ["stop()", "restart()", "start()"])
def test_an_interrupted_call_leaves_no_threads(call):
    """An interrupt at any moment of it: the hooks' threads end all the same."""
    program = f"""
import signal
def names():
    return [t.name for t in threading.enumerate() if t.name.startswith("midge")]
for moment in range(1, 40):
    broker = midge.Broker(auth=lambda c: True, hooks_threads=2)
    if {call!r} != "start()":
        broker.start()
        connect(broker).close()
    count = 0
    def tracer(frame, event, arg):
        global count
        if "midge" in frame.f_code.co_filename and event == "line":
            count += 1
            if count == moment * 3:
                raise KeyboardInterrupt
        return tracer
    sys.settrace(tracer)
    try:
        broker.{call}
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    broker.stop()
    for thread in threading.enumerate():
        if thread.name.startswith("midge"):
            thread.join(10)
    assert names() == [], (moment, names())
"""
    done = run(START.split("broker = midge")[0] + program)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_subinterpreter_is_refused():
    program = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
one = interpreters.create()
told = None
try:
    told = interpreters.run_string(one, "import midge")
except Exception as error:
    told = error
assert "ImportError" in str(told) or "subinterpreter" in str(told), told
interpreters.destroy(one)
"""
    done = run(START + program)
    assert done.returncode == 0, done.stderr
