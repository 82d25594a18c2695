"""Waiting on event loops."""

import asyncio
import threading

import anyio
import pytest
import trio
import uvloop
from packets import connect, publish, subscribe

import midge
from midge import Broker, ExpectationError, Refuse, _eventloop


@pytest.fixture
def broker():
    with Broker() as broker:
        yield broker


class WithoutReaders(asyncio.SelectorEventLoop):
    """Waits for no descriptors, as the default loop of asyncio on Windows."""

    def add_reader(self, *_):
        raise NotImplementedError

    def remove_reader(self, *_):
        raise NotImplementedError


def run_without_readers(main):
    with asyncio.Runner(loop_factory=WithoutReaders) as runner:
        return runner.run(main())


RUNNERS = {
    "asyncio": lambda main: asyncio.run(main()),
    "asyncio without readers": run_without_readers,
    "uvloop": lambda main: uvloop.run(main()),
    "trio": trio.run,
    "anyio": anyio.run,
    "anyio on trio": lambda main: anyio.run(main, backend="trio"),
}


@pytest.fixture(params=RUNNERS)
def run(request):
    return RUNNERS[request.param]


def test_the_thread_that_waits_for_descriptors_ends(broker, monkeypatch):
    monkeypatch.setattr(_eventloop._Readers, "idle", 0.01)
    readings = broker.subscribe("t")

    async def main():
        waits = asyncio.ensure_future(readings.aget(timeout=20))
        await asyncio.sleep(0)
        broker.publish("t", "1")
        assert (await waits).text == "1"

    for _ in range(2):
        run_without_readers(main)
        for thread in threading.enumerate():
            if thread.name == "midge-readers":
                thread.join()


def test_everything_on_every_loop(broker, device, run):
    readings = broker.subscribe("t")

    async def main():
        broker.publish("t", "there")
        assert (await readings.aget(timeout=10)).text == "there"
        thread = threading.Thread(target=broker.publish, args=("t", "later"))
        thread.start()
        assert (await readings.aget(timeout=10)).text == "later"
        thread.join()

        await broker.aio.expect("t", "there")
        await broker.aio.expect_sequence("t")
        await broker.aio.expect_none()
        with pytest.raises(TimeoutError):
            await readings.aget(timeout=0.01)
        with pytest.raises(ExpectationError):
            await broker.aio.expect("never", timeout=0.01)

        thread = threading.Thread(target=device, args=(broker, "one"))
        thread.start()
        await broker.aio.wait_client("one", timeout=10)
        thread.join()
        with pytest.raises(ExpectationError):
            await broker.aio.wait_subscription("t", timeout=0.01)
        await broker.aio.settle()

        async with Broker() as other:
            numbers = other.subscribe("n")
            for number in range(200):
                other.publish("n", str(number))
            await other.aio.stop()
            assert [int(m.payload) async for m in numbers] == list(range(200))
            await other.aio.start()

    async def again():
        broker.publish("t", "again")
        assert (await readings.aget(timeout=10)).text == "again"
        broker.publish("t", "next")
        with pytest.raises(TimeoutError):
            await readings.aget(timeout=0.01) and await readings.aget(timeout=0.01)

    run(main)
    # The same objects on another loop, when the first one is closed.
    run(again)


def test_a_cancelled_wait_loses_nothing(broker):
    readings = broker.subscribe("t")

    async def main():
        for number in range(100):
            task = asyncio.ensure_future(readings.aget())
            expecting = asyncio.ensure_future(broker.aio.expect("t", timeout=10))
            await asyncio.sleep(0)
            task.cancel()
            expecting.cancel()
            broker.publish("t", str(number))
            results = await asyncio.gather(task, expecting, return_exceptions=True)
            came = [r for r in results if not isinstance(r, BaseException)]
            assert came == []
            assert (await readings.aget(timeout=10)).text == str(number)
            assert (await broker.aio.expect("t")).text == str(number)

    asyncio.run(main())


def test_two_loops_at_once(broker):
    readings = broker.subscribe("t")
    got, lock = [], threading.Lock()

    async def take(count):
        for _ in range(count):
            message = await readings.aget(timeout=10)
            with lock:
                got.append(int(message.payload))

    threads = [threading.Thread(target=asyncio.run, args=(take(50),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(100):
        broker.publish("t", str(number))
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(100))


def test_a_waiting_task_hears_of_the_end(broker):
    readings = broker.subscribe("t")

    async def main():
        task = asyncio.ensure_future(readings.aget())
        await asyncio.sleep(0)
        await broker.aio.stop()
        with pytest.raises(midge.StoppedError):
            await task

    asyncio.run(main())


def test_one_task_does_not_starve_the_others(broker):
    readings = broker.subscribe("t", maxsize=10_000)
    for _ in range(1000):
        broker.publish("t")

    async def main():
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        for _ in range(1000):
            await readings.aget()
        task.cancel()
        assert turns > 10

    asyncio.run(main())


def coroutine_hooks(seen):
    async def auth(client):
        seen.append(("auth", threading.current_thread()))
        return client.client_id != "banned"

    async def acl(request):
        seen.append(("acl", threading.current_thread()))
        return Refuse(0x87, "not there") if request.topic == "secret" else True

    return {"auth": auth, "acl": acl}


async def use_coroutine_hooks():
    seen = []
    async with Broker(**coroutine_hooks(seen)) as broker:
        with broker.socket() as sock, broker.socket() as banned:
            sock.sendall(connect())
            await broker.aio.wait_client("s")
            sock.sendall(subscribe("u", 1) + publish("t"))
            await broker.aio.wait_subscription("u")
            await broker.aio.expect("t", client="s")
            banned.sendall(connect("banned"))
            watch = broker.watch("refused")
            while not [event for event in broker.events if event.name == "refused"]:
                await watch.aget(10)
            with pytest.raises(RuntimeError, match="event loop"):
                broker.publish("t", as_client="s")
    assert {name for name, _ in seen} == {"auth", "acl"}
    assert {thread for _, thread in seen} == {threading.current_thread()}


@pytest.mark.parametrize("runner", RUNNERS)
def test_coroutine_hooks_run_on_the_loop_of_the_application(runner):
    RUNNERS[runner](use_coroutine_hooks)
