#!/usr/bin/env python3
"""Interleaved runs of MQTT brokers under one load generator; medians, and ratios to one of them.

  ab.py --brokers brokers.json --plan plan.json [--only p2p] [--rounds 5] [--out rows.jsonl]
  ab.py --report rows.jsonl                     print the tables of an earlier run again
  ab.py --report rows.jsonl --summary broker_cpu_us_per_msg,lat_p50_us   one table a figure

Every broker is started fresh on one core (--broker-cpu), loaded from another (--load-cpu), and
ended by its own process id. Within a round the brokers take turns at the same scenario, and the
order rotates, so that the noise of the machine falls on all of them. With --slice they are loaded
at once and take turns of a fraction of a second: see slices.py.

A brokers file is {"name": {"cmd": ..., "files": {...}, ...}}. In cmd and files {port}, {port2},
{dir} (a scratch folder), {here} (the folder of the brokers file) and {mode} are filled in, and
environment variables are expanded; $MIDGE, $MIDGE_LOAD and $PEERS have defaults inside the project. "limit": true marks the byte forwarder, which runs only the
scenarios that name a limit_mode; "skip" lists scenarios (regular expressions) not to run;
"child": true says that the broker is a child of the process that is started.

Standard library only; 127.0.0.1 only.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import metrics
import slices

HERE = Path(__file__).resolve().parent


# What brokers files may name without setting it.
DEFAULTS = {
    "MIDGE": HERE.parents[1] / "target/release/midge",
    "MIDGE_LOAD": HERE.parent / "load/target/release/midge-load",
    "PEERS": HERE.parent / "peers",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fill(text, values):
    for key, value in values.items():
        text = text.replace("{" + key + "}", str(value))
    return os.path.expandvars(text)


class Broker:
    """One broker process in a scratch folder of its own."""

    def __init__(self, name, spec, base, pin, mode):
        self.name, self.spec, self.pin = name, spec, pin
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory(prefix="midge-ab-")
        values = {
            "port": self.port,
            "port2": free_port(),
            "dir": self.folder.name,
            "here": base,
            "mode": mode or "p2p",
        }
        for file, text in spec.get("files", {}).items():
            text = text if isinstance(text, str) else "\n".join(text) + "\n"
            Path(self.folder.name, file).write_text(fill(text, values))
        self.command = pin + shlex.split(fill(spec["cmd"], values))
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.folder.cleanup()

    def start(self, limit_s=30):
        log = Path(self.folder.name, "broker.log")
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder.name
            )
        end = time.monotonic() + limit_s
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                time.sleep(0.15)
                return
            except OSError:
                time.sleep(0.02)
        said = log.read_bytes()[-600:].decode("utf8", "replace")
        raise RuntimeError(f"{self.name} did not come up: {said}")

    def pid(self):
        """The broker's own process: a launcher's only child where the spec says so."""
        if not self.spec.get("child"):
            return self.process.pid
        for _ in range(100):
            found = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
                capture_output=True,
                text=True,
            ).stdout.split()
            if found:
                return int(found[-1])
            time.sleep(0.02)
        return self.process.pid


class Runner:
    """What all runs of one call have in common."""

    def __init__(self, options):
        self.load = os.path.abspath(options.load)
        realtime = ["chrt", "-f", "10"] if options.rt else []
        self.broker_pin = realtime + pin(options.broker_cpu)
        self.load_pin = realtime + pin(options.load_cpu)
        self.slice_s = options.slice
        self.base = Path(options.brokers).resolve().parent

    def round(self, brokers, scenario, round_, failures):
        """The rows of one round, as they come."""
        names = list(brokers)
        turn = round_ % len(names)
        names = names[turn:] + names[:turn]
        if self.slice_s:
            present = {n: brokers[n] for n in names if takes_part(brokers[n], scenario)}
            yield from slices.run(self, present, scenario, round_)
            return
        for name in names:
            if failures[name] < 2 and takes_part(brokers[name], scenario):
                yield self.run(name, brokers[name], scenario, round_)

    def broker(self, name, spec, scenario):
        return Broker(name, spec, self.base, self.broker_pin, scenario.get("limit_mode"))

    def run(self, name, spec, scenario, round_):
        """One row."""
        row = {"name": scenario["name"], "broker": name, "round": round_}
        try:
            with self.broker(name, spec, scenario) as broker:
                row.update(self.measure(broker, shlex.split(scenario["args"]), scenario))
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            row["error"] = str(error)[-300:]
        return row

    def measure(self, broker, args, scenario):
        if args[0] == "start":
            more = ["--cmd", " ".join(broker.command)]
        else:
            broker.start()
            more = ["--pid", str(broker.pid())]
        done = subprocess.run(
            [*self.load_pin, self.load, *args, "--port", str(broker.port), *more],
            capture_output=True,
            text=True,
            timeout=scenario.get("timeout", 400),
            cwd=broker.folder.name,
        )
        return self.figures(done.returncode, done.stdout, done.stderr)

    @staticmethod
    def figures(code, out, complaint):
        """What a generator printed; an exception with its complaint otherwise."""
        if code or not out.strip():
            raise RuntimeError(complaint.strip() or f"exit code {code}")
        return json.loads(out.strip().splitlines()[-1])


def takes_part(spec, scenario):
    """Whether a broker runs a scenario."""
    skipped = any(re.fullmatch(skip, scenario["name"]) for skip in spec.get("skip", []))
    return not skipped and (not spec.get("limit") or "limit_mode" in scenario)


def pin(cpu):
    return [] if cpu == "none" else ["taskset", "-c", cpu]


def run_plan(options, brokers, plan, wanted):
    runner = Runner(options)
    names = list(brokers)
    with contextlib.ExitStack() as files:
        out = None
        if options.out:
            out = files.enter_context(Path(options.out).open("a" if options.append else "w"))
        for scenario in plan:
            rows, failures = [], dict.fromkeys(names, 0)
            for round_ in range(min(options.rounds, scenario.get("max_rounds", options.rounds))):
                for row in runner.round(brokers, scenario, round_, failures):
                    failures[row["broker"]] += "error" in row
                    rows.append(row)
                    if out:
                        print(json.dumps(row), file=out, flush=True)
            if rows:
                print(metrics.report(rows, options.ref, names, wanted), flush=True)


def own_autogroup(nice):
    """Kernels with scheduler autogroups ignore nice values across sessions: take one of our own."""
    try:
        os.setsid()
    except OSError:
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os.setsid()
    try:
        Path("/proc/self/autogroup").write_text(str(nice))
    except OSError as error:
        print("autogroup nice not set:", error, file=sys.stderr)


def parse():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--brokers", default=str(HERE / "brokers.json"))
    p.add_argument("--plan", default=str(HERE / "plan.json"))
    p.add_argument("--load", default=os.environ["MIDGE_LOAD"], help="the generator")
    p.add_argument("--ref", default="mosquitto", help="the broker that ratios refer to")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--only", help="scenarios to run (regular expression)")
    p.add_argument("--group", help="plan group to run (regular expression)")
    p.add_argument("--broker", help="brokers to run (regular expression, whole name)")
    p.add_argument("--metrics", help="columns to print, separated by commas")
    p.add_argument("--out", help="file for the rows, one JSON object a line")
    p.add_argument("--append", action="store_true")
    p.add_argument("--report", help="only print the tables of these files, separated by commas")
    p.add_argument(
        "--summary", help="with --report: one table for each of these figures, separated by commas"
    )
    p.add_argument("--broker-cpu", default="0", help="core of the broker, or none")
    p.add_argument("--load-cpu", default="1", help="core of the generator, or none")
    p.add_argument("--slice", type=float, help="seconds of a turn of brokers that run at once")
    p.add_argument("--autogroup-nice", type=int, help="nice value of an own scheduler autogroup")
    p.add_argument(
        "--rt",
        action="store_true",
        help="SCHED_FIFO for both (root): clean figures in bursts of under a second on a busy machine",
    )
    return p.parse_args()


def main():
    # A plain TERM would leave the broker behind; an exception ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name, path in DEFAULTS.items():
        os.environ.setdefault(name, str(path))
    options = parse()
    wanted = options.metrics.split(",") if options.metrics else None
    if options.report:
        rows = [
            json.loads(line)
            for file in options.report.split(",")
            for line in Path(file).read_text().splitlines()
        ]
        rows = [row for row in rows if re.search(options.only or "", row["name"])]
        rows = [row for row in rows if re.fullmatch(options.broker or ".*", row["broker"])]
        names = list(dict.fromkeys(row["broker"] for row in rows))
        if options.summary:
            good = [row for row in rows if "error" not in row]
            for key in options.summary.split(","):
                print(metrics.summary(good, key, names))
        else:
            print(metrics.report(rows, options.ref, names, wanted))
        return

    if options.autogroup_nice is not None:
        own_autogroup(options.autogroup_nice)
    brokers = {
        name: spec
        for name, spec in json.loads(Path(options.brokers).read_text()).items()
        if not name.startswith("_") and re.fullmatch(options.broker or ".*", name)
    }
    plan = [
        scenario
        for scenario in json.loads(Path(options.plan).read_text())
        if re.search(options.only or "", scenario["name"])
        and re.fullmatch(options.group or ".*", scenario.get("group", ""))
    ]
    if not os.access(options.load, os.X_OK):
        sys.exit(f"no generator at {options.load}: cargo build --release in benches/load")
    if not brokers or not plan:
        sys.exit("nothing to run: no broker or no scenario was chosen")
    run_plan(options, brokers, plan, wanted)


if __name__ == "__main__":
    main()
