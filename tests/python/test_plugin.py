"""The pytest plugin, in runs of pytest of its own."""

import sys

import pytest
from packets import connect


@pytest.fixture
def suite(pytester):
    """Runs pytest on a test file, in a process of its own."""

    def run(source, *arguments, ini="", conftest=""):
        pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n" + ini)
        if conftest:
            pytester.makeconftest(conftest)
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=50)

    run.path = pytester.path
    return run


def test_a_fresh_broker_for_each_test(suite):
    result = suite("""
        ports = set()

        def test_one(mqtt_broker):
            assert mqtt_broker.messages == [] and mqtt_broker.host == "127.0.0.1"
            mqtt_broker.publish("t", "x", retain=True)
            ports.add(mqtt_broker)

        def test_two(mqtt_broker):
            assert mqtt_broker.messages == [] and mqtt_broker.retained == {}
            assert not any(broker.running for broker in ports)
    """)
    result.assert_outcomes(passed=2)


def test_settings(suite):
    result = suite(
        """
        import pytest

        @pytest.mark.mqtt_broker(clock="manual", limits_inflight=5)
        def test_marker(mqtt_broker):
            mqtt_broker.clock.advance(1)
            assert mqtt_broker.timeout == 14.0

        def test_option(mqtt_broker_factory):
            assert mqtt_broker_factory(port=None).port == 0
            assert mqtt_broker_factory(timeout=1).timeout == 1

        @pytest.mark.mqtt_broker(limits_inflght=5)
        def test_mistake(mqtt_broker):
            pass
        """,
        "--midge-timeout=7",
        "--strict-markers",
        conftest="""
            import os, pytest
            os.environ["MIDGE_TIMEOUT_SCALE"] = "2"

            @pytest.fixture(scope="session")
            def mqtt_broker_options():
                return {"record": 5}
        """,
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*did you mean 'limits_inflight'*"])


def test_one_broker_for_the_run(suite):
    source = """
        known = []

        def test_one(mqtt_broker_session, {fixture}):
            {fixture}.publish("t", "x", retain=True)
            known.append({fixture}.port)
            assert {fixture} is mqtt_broker_session

        def test_two({fixture}):
            assert {fixture}.messages == [] and {fixture}.retained == {{}}
            assert known == [{fixture}.port]
    """
    suite(source.format(fixture="mqtt_broker_reset")).assert_outcomes(passed=2)
    result = suite(source.format(fixture="mqtt_broker"), ini="midge_reuse = session\n")
    result.assert_outcomes(passed=2)
    result = suite("", ini="midge_reuse = never\n")
    assert 'midge_reuse: "fresh" or "session"' in result.stderr.str()


def test_protocols(suite):
    source = "def test(mqtt_protocol): print('with', mqtt_protocol)"
    suite(source).assert_outcomes(passed=2)
    result = suite(source, "-s", ini="midge_protocols = 3.1 5.0\n")
    result.stdout.fnmatch_lines(["*with 3.1", "*with 5.0"])


FAILING = """
    def test_it(mqtt_broker):
        with mqtt_broker.socket() as sock:
            sock.settimeout(10)
            sock.sendall(CONNECT)
            assert sock.recv(4)
        mqtt_broker.wait_client("s", connected=False)
        mqtt_broker.publish("alarm/7", "on")
        assert {assertion}
""".replace("CONNECT", repr(connect()))


def test_the_report_of_a_failure(suite):
    result = suite(FAILING.format(assertion="False"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*Captured log mqtt*",
            "<midge.Broker mqtt://127.0.0.1:*>",
            '* ms  connected *"s" MQTT 3.1.1 from memory*',
            '* ms  disconnected *"s" connection_lost*',
            "* ms  published *(host) \"alarm/7\" b'on' qos=0 matched=0",
        ]
    )

    result = suite(FAILING.format(assertion="False"), "--midge-log-limit=1")
    # The end of the session may be told before or after the message.
    result.stdout.fnmatch_lines(["... * earlier events; *", "* ms  *"])
    assert "Captured log mqtt" not in suite(FAILING.format(assertion="True")).stdout.str()
    result = suite(FAILING.format(assertion="False"), "--midge-log=none")
    assert "Captured log mqtt" not in result.stdout.str()
    result = suite(FAILING.format(assertion="True"), "--midge-log=all", "-rP")
    result.stdout.fnmatch_lines(["*Captured log mqtt*"])


def test_messages_are_compared_in_words(suite):
    result = suite(FAILING.format(assertion="mqtt_broker.messages == [('alarm/7', b'off'), 'x']"))
    result.stdout.fnmatch_lines(
        ["*at 0: Message('alarm/7', b'on')*", "*expected: ('alarm/7', b'off')*", "*missing: *'x'*"]
    )


def test_strict(suite):
    result = suite(FAILING.format(assertion="True"), "--midge-strict")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["--midge-strict:", "* disconnected *connection_lost*"])
    suite("def test(mqtt_broker): pass", "--midge-strict").assert_outcomes(passed=1)


def test_keep_waits_for_a_key(pytester):
    pytester.makepyfile("def test(mqtt_broker): assert False")
    result = pytester.run(
        sys.executable, "-m", "pytest", "--midge-keep", "-s", stdin=b"\n", timeout=50
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*mqtt://127.0.0.1:* is left running*"])


def test_nothing_native_is_imported_until_a_fixture_runs(suite):
    result = suite("""
        import sys

        def test_it():
            assert "midge" not in sys.modules and "midge._midge" not in sys.modules
            assert "pytest_midge" in sys.modules
    """)
    result.assert_outcomes(passed=1)


def test_it_can_be_turned_off(suite):
    suite("def test(): pass", "-p", "no:midge").assert_outcomes(passed=1)


def test_next_to_other_plugins(suite):
    source = """
        import itertools, pytest
        turns = itertools.count()

        @pytest.mark.flaky(reruns=2)
        def test_flaky(mqtt_broker):
            assert mqtt_broker.messages == []
            mqtt_broker.publish("t")
            assert next(turns) == 1

        async def test_asyncio(mqtt_broker):
            mqtt_broker.publish("t")
            await mqtt_broker.aio.expect("t")

        @pytest.mark.anyio
        async def test_anyio(mqtt_broker):
            mqtt_broker.publish("t")
            await mqtt_broker.aio.expect("t")

        @pytest.mark.timeout(10)
        def test_timeout(mqtt_broker):
            mqtt_broker.publish("t")
            mqtt_broker.expect("t")
    """
    result = suite(source, "-p", "pytest_mqtt", "--mqtt-port=1883", ini="asyncio_mode = auto\n")
    assert "5 passed" in result.stdout.str() and "1 rerun" in result.stdout.str()


def test_xdist(suite, pytester):
    source = """
        import pytest

        @pytest.mark.parametrize("n", range(8))
        def test_it(mqtt_broker, mqtt_broker_reset, n):
            mqtt_broker.publish("t", str(n))
            mqtt_broker.expect("t", str(n))
            mqtt_broker_reset.publish("t", str(n))
            assert mqtt_broker_reset.messages == [("t", str(n))]
            assert n != 5
    """
    result = suite(source, "-n", "2", "--junitxml=report.xml")
    result.assert_outcomes(passed=7, failed=1)
    result.stdout.fnmatch_lines(["*Captured log mqtt*", "* published *"])


def test_a_wait_ends_at_the_time_limit_of_pytest(suite):
    result = suite(
        "def test(mqtt_broker): mqtt_broker.expect('never', timeout=40)",
        "--timeout=1",
        "--timeout-method=signal",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Timeout*"])


def test_the_cost_of_a_run_without_brokers():
    import subprocess

    program = "import sys, pytest; a = set(sys.modules); import pytest_midge; print(*(set(sys.modules) - a))"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50
    )
    assert out.stdout.split() == ["pytest_midge"]


def test_evidence_in_every_phase(suite):
    """Setup, call and teardown, each fixture, and JUnit XML."""
    source = """
        import pytest

        @pytest.fixture
        def app(mqtt_broker):
            mqtt_broker.publish("from/setup", "1")
            assert mqtt_broker.port == 0

        @pytest.fixture
        def late(mqtt_broker_reset):
            yield mqtt_broker_reset
            mqtt_broker_reset.publish("from/teardown", "2")
            assert False

        def test_setup(app):
            pass

        def test_teardown(late):
            late.publish("from/call", "3")

        def test_session(mqtt_broker_session):
            mqtt_broker_session.publish("from/session", "4")
            assert False

        def test_session_again(mqtt_broker_session):
            mqtt_broker_session.publish("from/again", "5")
            assert False

        def test_factory(mqtt_broker_factory):
            mqtt_broker_factory().publish("from/one", "6")
            mqtt_broker_factory().publish("from/other", "7")
            assert False
    """
    result = suite(source, "--junitxml=report.xml", "-o", "junit_logging=log")
    result.assert_outcomes(passed=1, failed=3, errors=2)

    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_setup*",
            "*Captured log mqtt setup*",
            '*"from/setup"*',
            "*ERROR at teardown of test_teardown*",
            "*Captured log mqtt teardown*",
            '*"from/call"*',
            '*"from/teardown"*',
            "*_ test_session _*",
            "*Captured log mqtt call*",
            '*"from/session"*',
            "*_ test_session_again _*",
            '*"from/again"*',
            "*_ test_factory _*",
            '*"from/one"*',
            '*"from/other"*',
        ]
    )
    output = result.stdout.str()
    again = output[output.index("_ test_session_again _") : output.index("_ test_factory _")]
    assert "from/session" not in again
    report = (suite.path / "report.xml").read_text()
    for topic in ("setup", "teardown", "session", "again", "one", "other"):
        assert f"from/{topic}" in report


def test_tracebacks_end_in_the_test(suite):
    result = suite("""
        def test_expect(mqtt_broker):
            mqtt_broker.expect("never", timeout=0)

        def test_sequence(mqtt_broker):
            mqtt_broker.expect_sequence("never", timeout=0)

        def test_none(mqtt_broker):
            mqtt_broker.publish("t")
            mqtt_broker.expect_none()

        def test_client(mqtt_broker):
            mqtt_broker.wait_client("x", timeout=0)

        def test_subscription(mqtt_broker):
            mqtt_broker.wait_subscription("x", timeout=0)

        def test_stopped(mqtt_broker):
            mqtt_broker.stop()
            mqtt_broker.publish("t")

        def test_get(mqtt_broker):
            mqtt_broker.subscribe("t").get(timeout=0)

        def test_aio(mqtt_broker):
            import asyncio
            asyncio.run(mqtt_broker.aio.expect("never", timeout=0))
    """)
    result.assert_outcomes(failed=8)
    assert "site-packages/midge" not in result.stdout.str()


CALLBACK = """
    import threading
    import pytest

    def test_callback(mqtt_broker):
        done = threading.Event()

        def callback(message):
            done.set()
            assert message.text == "other"

        mqtt_broker.on_message("t", callback)
        mqtt_broker.publish("t", "x")
        assert done.wait(10)

    def fails(message):
        assert message.text == "hook"

    @pytest.mark.mqtt_broker(intercept=fails)
    def test_hook(mqtt_broker):
        with pytest.raises(Exception, match="refused"):
            mqtt_broker.publish("t", "x")

    def test_reset(mqtt_broker_reset):
        mqtt_broker_reset.on_message("t", fails)
        mqtt_broker_reset.publish("t", "x")

    def test_good(mqtt_broker, mqtt_broker_reset):
        pass
"""


def test_failing_callbacks_are_reported(suite):
    result = suite(CALLBACK, "-rA")
    result.assert_outcomes(passed=4, warnings=3)
    result.stdout.fnmatch_lines(["*Captured failures mqtt teardown*", "the callback *", "*assert*"])
    result = suite(CALLBACK, "--midge-strict")
    result.assert_outcomes(passed=4, errors=3, warnings=3)
    result.stdout.fnmatch_lines(["--midge-strict:", "the callback *callback:", "*AssertionError*"])


def test_markers_merge_and_parameters_count(suite):
    result = suite("""
        import pytest

        pytestmark = pytest.mark.mqtt_broker(limits_inflight=3, timeout=11)

        @pytest.mark.mqtt_broker(clock="manual", timeout=12)
        class TestIt:
            @pytest.mark.mqtt_broker(timeout=13)
            def test_marks(self, mqtt_broker):
                mqtt_broker.clock.advance(1)
                assert mqtt_broker.timeout == 13
                assert mqtt_broker._settings.get("limits.inflight") == "3"

        @pytest.mark.parametrize("mqtt_broker", [{"timeout": 14}, {"port": None}], indirect=True)
        def test_parameters(mqtt_broker):
            assert mqtt_broker.timeout == 14 or mqtt_broker.port == 0
            assert mqtt_broker._settings.get("limits.inflight") == "3"

        @pytest.mark.parametrize("mqtt_broker", [5], indirect=True)
        def test_mistake(mqtt_broker):
            pass
    """)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*indirect parameters are mappings of keywords*"])


def test_one_test_does_not_end_the_broker_of_the_run(suite):
    result = suite(
        """
        came = []

        def test_stops(mqtt_broker):
            mqtt_broker.stop()

        def test_leaves_things(mqtt_broker):
            mqtt_broker.on_message("t", came.append)
            mqtt_broker.left = mqtt_broker.subscribe("t")

        def test_after(mqtt_broker):
            mqtt_broker.publish("t")
            mqtt_broker.expect("t")
            assert came == [] and list(mqtt_broker.left) == []
        """,
        ini="midge_reuse = session\n",
    )
    result.assert_outcomes(passed=3)
