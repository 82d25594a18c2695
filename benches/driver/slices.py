"""All brokers loaded at once, their generators let run in turns of a fraction of a second.

A core that others share is fast in one second and slow in the next, so that runs one after the
other compare seconds. Here every broker gets a part of each second. For saturating scenarios whose
figure is CPU time: while its generator stands still, a broker has nothing to do.
"""

import shlex
import signal
import subprocess
import time
from contextlib import ExitStack

# Seconds for a generator alone, until its clients are connected and its warm-up is over.
LEAD = 0.8
WARM_UP = 0.5


def run(runner, brokers, scenario, round_):
    """One row for each broker."""
    args = shlex.split(scenario["args"])
    # Each gets the time that it would have alone.
    total = len(brokers) * (LEAD + float(args[args.index("--duration") + 1]))
    with ExitStack() as stack:
        loads = []
        for name, spec in brokers.items():
            broker = stack.enter_context(runner.broker(name, spec, scenario))
            broker.start()
            loads.append((name, broker))
        start = time.monotonic()
        end = start + total
        for at, (name, broker) in enumerate(loads):
            duration = end - time.monotonic() - WARM_UP
            # The last value of an option counts.
            more = ["--warmup", str(WARM_UP), "--duration", f"{duration:.2f}"]
            more += ["--port", str(broker.port), "--pid", str(broker.pid())]
            load = subprocess.Popen(
                [*runner.load_pin, runner.load, *args, *more],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(load.kill)
            loads[at] = (name, load)
            time.sleep(LEAD)
            load.send_signal(signal.SIGSTOP)

        while time.monotonic() < end:
            for _, load in loads:
                load.send_signal(signal.SIGCONT)
                time.sleep(runner.slice_s)
                load.send_signal(signal.SIGSTOP)
        for _, load in loads:
            load.send_signal(signal.SIGCONT)
        rows = []
        for name, load in loads:
            row = {"name": scenario["name"], "broker": name, "round": round_}
            out, complaint = load.communicate(timeout=60)
            try:
                row.update(runner.figures(load.returncode, out, complaint))
            except RuntimeError as error:
                row["error"] = str(error)[-300:]
            rows.append(row)
        return rows
