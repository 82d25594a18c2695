"""How long things take in Python: start, publish, receive, expect. Install a release wheel first:

  pip install ./python pytest && python benches/python/measure.py

Each figure is the best of several runs, because whatever else the machine does only makes it worse.
"""

import asyncio
import queue
import subprocess
import sys
import threading
import time

import midge

RUNS = 5


def best(measure):
    return min(measure() for _ in range(RUNS))


def report(what, seconds, goal):
    if seconds < 1e-3:
        shown = f"{seconds * 1e6:.1f} us"
    else:
        shown = f"{seconds * 1e3:.2f} ms"
    print(f"{what:<58} {shown:>12}   {goal}", flush=True)


def rate(what, each, goal):
    print(f"{what:<58} {1e-6 / each:>9.2f} M/s   {goal}", flush=True)


def child(program, *options):
    begin = time.perf_counter()
    subprocess.run([sys.executable, *options, "-c", program], check=True)
    return time.perf_counter() - begin


def plugin():
    program = (
        "import time; b = time.perf_counter(); import pytest_midge; print(time.perf_counter() - b)"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import pytest; " + program],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def start_and_stop(times=200):
    begin = time.perf_counter()
    for _ in range(times):
        midge.Broker().start().stop()
    return (time.perf_counter() - begin) / times


def in_batches(broker, count=200_000):
    inside = broker.subscribe("host/t", maxsize=count)
    publish = broker.publish
    for _ in range(count):
        publish("host/t", b"x" * 64)
    begin = time.perf_counter()
    received = 0
    while received < count:
        for _ in inside.drain(256):
            received += 1
    took = time.perf_counter() - begin
    inside.close()
    return took / count


def one_by_one(broker, count=200_000):
    inside = broker.subscribe("host/t", maxsize=count)
    for _ in range(count):
        broker.publish("host/t", b"x" * 64)
    begin = time.perf_counter()
    for received, _ in enumerate(inside, 1):
        if received == count:
            break
    took = time.perf_counter() - begin
    inside.close()
    return took / count


def publishing(broker, count=200_000):
    publish, payload = broker.publish, b"x" * 64
    begin = time.perf_counter()
    for _ in range(count):
        publish("nobody/t", payload)
    return (time.perf_counter() - begin) / count


def by_callback(broker, count=200_000):
    done, seen = threading.Event(), [0]

    def on_message(message):
        seen[0] += 1
        if seen[0] == count:
            done.set()

    registration = broker.on_message("host/c", on_message, maxsize=count)
    publish, payload = broker.publish, b"x" * 64
    begin = time.perf_counter()
    for _ in range(count):
        publish("host/c", payload)
    done.wait(60)
    took = time.perf_counter() - begin
    registration.close()
    return took / count


def round_trip(broker, count=5_000):
    there, back = broker.subscribe("there"), broker.subscribe("back")

    def echo():
        for message in there:
            broker.publish("back", message.payload)

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    begin = time.perf_counter()
    for _ in range(count):
        broker.publish("there", b"x")
        back.get(timeout=5)
    took = time.perf_counter() - begin
    there.close()
    back.close()
    thread.join()
    return took / count


def floor(count=5_000):
    there, back = queue.SimpleQueue(), queue.SimpleQueue()

    def echo():
        while there.get() is not None:
            back.put(1)

    threading.Thread(target=echo, daemon=True).start()
    begin = time.perf_counter()
    for _ in range(count):
        there.put(1)
        back.get()
    took = time.perf_counter() - begin
    there.put(None)
    return took / count


def asynchronous_round_trip(broker, count=5_000):
    async def main():
        there, back = broker.subscribe("there"), broker.subscribe("back")

        async def echo():
            async for message in there:
                broker.publish("back", message.payload)

        task = asyncio.create_task(echo())
        replies = aiter(back)
        begin = time.perf_counter()
        for _ in range(count):
            broker.publish("there", b"x")
            await anext(replies)
        took = time.perf_counter() - begin
        there.close()
        back.close()
        await task
        return took / count

    return asyncio.run(main())


def expecting(broker, count=2_000):
    broker.reset()
    for n in range(count):
        broker.publish("expected/t", str(n))
    begin = time.perf_counter()
    for _ in range(count):
        broker.expect("expected/t")
    return (time.perf_counter() - begin) / count


def main():
    empty = best(lambda: child("pass"))
    report("import midge", best(lambda: child("import midge")) - empty, "below 20 ms")
    report("the pytest plugin in a run that does not use it", best(plugin), "below 2 ms")
    report("a broker: start and stop", best(start_and_stop), "below 1 ms")
    with midge.Broker(record=0) as broker:
        rate("publish, nobody subscribed", best(lambda: publishing(broker)), "")
        rate("iteration over batches of 256", best(lambda: in_batches(broker)), "2.5 M/s")
        rate("iteration, one by one", best(lambda: one_by_one(broker)), "")
        rate("publish and callback", best(lambda: by_callback(broker)), "1 M/s")
        report(
            "round trip, two threads", best(lambda: round_trip(broker)), "11 to 13 us on one core"
        )
        report("   the same over two queue.SimpleQueue, no broker", best(floor), "")
        report("round trip, asyncio", best(lambda: asynchronous_round_trip(broker)), "31 to 44 us")
    with midge.Broker(record=10_000) as broker:
        report("expect of a message that is there", best(lambda: expecting(broker)), "below 20 us")


if __name__ == "__main__":
    main()
