"""Figures of a run: which there are, which way is better, and their medians as tables."""

import statistics
from typing import NamedTuple


class Metric(NamedTuple):
    """A figure in a row: its heading, and whether more (True) or less (False) is better."""

    label: str
    more_is_better: bool | None = None


METRICS = {
    "broker_cpu_us_per_msg": Metric("CPU us/msg", False),
    "recv_per_s": Metric("msg/s", True),
    "mbytes_per_s": Metric("MB/s", True),
    "lat_p50_us": Metric("p50 us", False),
    "lat_p99_us": Metric("p99 us", False),
    "lat_p999_us": Metric("p99.9 us", False),
    "connects_per_s": Metric("connects/s", True),
    "broker_cpu_us_per_conn": Metric("CPU us/connect", False),
    "connect_p99_us": Metric("connect p99 us", False),
    "bytes_per_conn": Metric("B/connection", False),
    "bytes_per_conn_subscribed": Metric("B/connection+sub", False),
    "subs_per_s": Metric("sub/s", True),
    "broker_cpu_us_per_sub": Metric("CPU us/sub", False),
    "bytes_per_sub": Metric("B/sub", False),
    "teardown_max_ms": Metric("longest pause ms", False),
    "connack_after_teardown_s": Metric("CONNACK after teardown s", False),
    "store_cpu_us": Metric("CPU us/store", False),
    "deliver_cpu_us": Metric("CPU us/deliver", False),
    "deliver_s": Metric("full delivery s", False),
    "bytes_per_retained": Metric("B/retained", False),
    "queue_cpu_us": Metric("CPU us/queued", False),
    "drain_cpu_us": Metric("CPU us/drained", False),
    "bytes_per_queued": Metric("B/queued", False),
    "connack_ms": Metric("start to CONNACK ms", False),
    "cpu_ms": Metric("start CPU ms", False),
    "idle_rss_mib": Metric("idle MiB", False),
    "exit_ms": Metric("TERM to exit ms", False),
    "churn_cpu_us": Metric("CPU us/item", False),
    "rss_growth_kib": Metric("growth KiB", False),
    "p99_ratio": Metric("p99 to calm", False),
    "way_p99_ratio": Metric("p99 to calm, from written to arrived", False),
    "broker_rss_peak": Metric("peak RSS B", False),
    "delivered": Metric("delivered", True),
    "lost": Metric("lost"),
    "dup": Metric("dup"),
    "reordered": Metric("reordered"),
    "stalls": Metric("stalls"),
    "ack_errors": Metric("ack errors"),
    "broker_cpu": Metric("broker cores"),
    "load_cpu": Metric("load cores"),
    "other_cpu": Metric("other cores"),
}

# Faults and side figures are only shown when they are not zero.
QUIET = {"lost", "dup", "reordered", "stalls", "ack_errors", "failed"}


def number(value):
    """A figure with no more digits than mean something."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size < 100 else f"{value:.0f}"


def median(rows, metric):
    """The median of a figure over rows, or None."""
    values = [row[metric] for row in rows if row.get(metric) is not None]
    return statistics.median(values) if values else None


def paired_ratio(rows, reference_rows, metric):
    """The median of the ratios to the reference broker within each round, or None."""
    reference = {row["round"]: row for row in reference_rows}
    ratios = [
        row[metric] / reference[row["round"]][metric]
        for row in rows
        if row.get(metric) is not None
        and row["round"] in reference
        and reference[row["round"]].get(metric)
    ]
    return statistics.median(ratios) if ratios else None


def shown_metrics(rows, wanted=None):
    """The figures worth a column."""
    keys = [key for key in (wanted or METRICS) if any(key in row for row in rows)]
    return [key for key in keys if key not in QUIET or any(row.get(key) for row in rows)]


def table(name, rows, reference, order, wanted=None):
    """One scenario as a Markdown table: medians, and in parentheses the ratio to the reference."""
    rows = [row for row in rows if row["name"] == name]
    good = [row for row in rows if "error" not in row]
    rounds = max((row["round"] for row in rows), default=0) + 1
    lines = [f"\n### {name} ({rounds} round{'s' if rounds > 1 else ''})\n"]
    keys = shown_metrics(good, wanted)
    if keys:
        heads = []
        for key in keys:
            ratio = METRICS[key].more_is_better is not None
            heads.append(METRICS[key].label + (f" (x {reference})" if ratio else ""))
        lines += ["| broker | " + " | ".join(heads) + " |", "|---|" + "---|" * len(keys)]

    reference_rows = [row for row in good if row["broker"] == reference]
    for broker in order:
        mine = [row for row in good if row["broker"] == broker]
        failed = [row for row in rows if row["broker"] == broker and "error" in row]
        if not mine:
            if failed:
                lines.append(f"\n{broker} failed: {failed[0]['error'][-160:]}")
            continue
        cells = []
        for key in keys:
            value = median(mine, key)
            if value is None:
                cells.append("-")
                continue
            cell = number(value)
            ratio = paired_ratio(mine, reference_rows, key)
            if (
                METRICS[key].more_is_better is not None
                and broker != reference
                and ratio is not None
            ):
                cell += f" ({number(ratio)})"
            cells.append(cell)
        note = f" ({len(failed)} failed)" if failed else ""
        lines.append(f"| {broker}{note} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(rows, reference, order, wanted=None):
    """All scenarios of some rows."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    return "\n".join(table(name, rows, reference, order, wanted) for name in names)


def summary(rows, key, order):
    """One figure of all scenarios as a Markdown table: a scenario a line, a broker a column."""
    good = [row for row in rows if row.get(key) is not None]
    brokers = [broker for broker in order if any(row["broker"] == broker for row in good)]
    lines = [
        f"\n**{METRICS[key].label}**\n",
        "| scenario | " + " | ".join(brokers) + " |",
        "|---|" + "---:|" * len(brokers),
    ]
    for name in dict.fromkeys(row["name"] for row in good):
        cells = []
        for broker in brokers:
            value = median(
                [row for row in good if (row["name"], row["broker"]) == (name, broker)], key
            )
            cells.append("-" if value is None else number(value))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
