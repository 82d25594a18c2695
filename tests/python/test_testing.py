"""Brokers for unittest, and the decorator: a test tool never loses a test."""

import unittest

import pytest

import midge
from midge.testing import BrokerTestCase, IsolatedAsyncioBrokerTestCase, with_broker


@pytest.fixture
def suite(pytester):
    """Runs pytest on a test file, in a process of its own."""

    def run(source, *arguments, ini=""):
        pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n" + ini)
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=50)

    return run


def outcome(case):
    """Runs the tests of a unittest class."""
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def test_a_coroutine_is_run_by_the_plugin_for_coroutines(suite):
    source = """
        import unittest
        import pytest
        from midge.testing import with_broker

        @pytest.mark.{mark}
        @with_broker()
        async def test_passes(broker):
            broker.publish("t", "x")
            await broker.aio.expect("t", "x")

        @with_broker()
        @pytest.mark.{mark}
        async def test_fails(broker):
            assert False

        class TestGroup:
            @pytest.mark.{mark}
            @with_broker()
            @pytest.mark.parametrize("n", [1, 2])
            async def test_method(self, n, broker):
                assert n == 1

        class TestCase(unittest.IsolatedAsyncioTestCase):
            @with_broker()
            async def test_isolated(self, broker):
                self.assertFalse(broker.running)
    """
    result = suite(source.format(mark="asyncio"), "-p", "no:anyio")
    result.assert_outcomes(passed=2, failed=3)
    assert "midge/testing.py" not in result.stdout.str()
    # Each on asyncio and on trio.
    result = suite(source.format(mark="anyio"), "-p", "no:asyncio")
    result.assert_outcomes(passed=4, failed=5)


def test_a_coroutine_that_is_not_run_fails(suite):
    source = """
        from midge.testing import with_broker

        @with_broker()
        async def test_it(broker):
            pass
    """
    result = suite(source, "-p", "no:asyncio", "-p", "no:anyio")
    result.assert_outcomes(failed=1)
    with pytest.raises((TypeError, RuntimeError)) as caught:

        class Case(unittest.TestCase):
            @with_broker()
            async def test_it(self, broker):
                pass

    # Before 3.12 the interpreter wraps it.
    assert "only an IsolatedAsyncioTestCase runs" in str(caught.value.__cause__ or caught.value)


def test_fixtures_and_parameters(suite):
    result = suite("""
        import unittest.mock
        import pytest
        from midge.testing import with_broker

        @with_broker(limits_inflight=5)
        @pytest.mark.parametrize("n", [1, 2])
        def test_it(n, tmp_path, broker):
            assert n in (1, 2) and tmp_path.exists() and broker.running

        @pytest.mark.parametrize("n", [3])
        @with_broker()
        def test_above(n, tmp_path, it):
            assert n == 3 and it.running and tmp_path.exists()

        @unittest.mock.patch("os.getcwd")
        @with_broker()
        def test_patched(broker, cwd):
            assert broker.running and isinstance(cwd, unittest.mock.Mock)

        class TestGroup:
            @with_broker()
            def test_method(self, tmp_path, broker):
                assert broker.running and tmp_path.exists()
    """)
    result.assert_outcomes(passed=5)


def test_what_cannot_be_decorated():
    async def agen(broker):
        yield

    def gen(broker):
        yield

    for wrong in (agen, gen, BrokerTestCase, 5, lambda: None, lambda *, other: None):
        with pytest.raises(TypeError, match="with_broker"):
            with_broker()(wrong)
    with pytest.raises(midge.ConfigError, match="did you mean 'limits_inflight'"):
        with_broker(limits_inflght=5)

    async def coroutine():
        pass

    with pytest.raises(TypeError, match="make it `async def`"):
        with_broker()(lambda broker: coroutine())()


def test_a_failing_callback_fails_the_test(told):
    class Case(BrokerTestCase):
        def test_it(self):
            self.broker.on_message("t", lambda message: self.fail("asked for"))
            self.broker.publish("t")

    class Async(IsolatedAsyncioBrokerTestCase):
        async def test_it(self):
            self.broker.on_message("t", lambda message: self.fail("asked for"))
            self.broker.publish("t")

    for case in (Case, Async):
        result = outcome(case)
        ((_, text),) = result.failures
        assert "asked for" in text and result.testsRun == 1

    @with_broker()
    def test(broker):
        broker.on_message("t", lambda message: 1 / 0)
        broker.publish("t")

    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        test()
    assert len(told) == 3
