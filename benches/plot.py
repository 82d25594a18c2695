#!/usr/bin/env python3
"""Bar charts (SVG) from the rows of driver/ab.py.

  plot.py rows.jsonl [more.jsonl ...] --out ../docs/performance

One chart per figure and group of scenarios: medians, a logarithmic scale, one bar per broker. Needs
matplotlib; nothing else in the project does.
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "driver"))

import metrics  # noqa: E402

try:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
except ImportError:
    sys.exit("plot.py needs matplotlib: pip install matplotlib")

# File, title, figure, beginnings of the scenarios' names.
CHARTS = [
    (
        "throughput",
        "Messages per second, broker on one core",
        "recv_per_s",
        ("p2p 10 pairs q", "fan", "shared"),
    ),
    (
        "cpu",
        "CPU time of the broker per message, microseconds",
        "broker_cpu_us_per_msg",
        ("p2p", "fan", "shared"),
    ),
    ("latency-p50", "Median latency, microseconds", "lat_p50_us", ("latency", "pingpong")),
    (
        "latency-p99",
        "99th percentile of latency, microseconds",
        "lat_p99_us",
        ("latency", "pingpong"),
    ),
    (
        "memory-connection",
        "Memory per idle connection with one subscription, bytes",
        "bytes_per_conn_subscribed",
        ("hold",),
    ),
    ("memory-subscription", "Memory per subscription, bytes", "bytes_per_sub", ("subs",)),
    (
        "memory-retained",
        "Memory per retained message of 64 bytes",
        "bytes_per_retained",
        ("retained",),
    ),
    ("memory-queued", "Memory per queued message of 16 bytes", "bytes_per_queued", ("offline",)),
]
# midge stands out, the bound recedes, peers keep their colour in every chart.
COLOURS = {"midge": "#c44e2f", "limit": "#bbbbbb"}
PEER_COLOURS = ["#3b6ea5", "#6a9f58", "#9c7bb5", "#d1a93f", "#5aa9a4", "#8c6d5a", "#a05a7a"]


def colour(broker, brokers):
    peers = [name for name in brokers if name not in COLOURS]
    return COLOURS.get(broker) or PEER_COLOURS[peers.index(broker) % len(PEER_COLOURS)]


def chart(rows, brokers, title, key, scenarios, path):
    height = 0.9 + len(scenarios) * (0.16 * len(brokers) + 0.14)
    figure, axes = pyplot.subplots(figsize=(8, height))
    bar = 0.84 / len(brokers)
    for index, broker in enumerate(brokers):
        mine = [row for row in rows if row["broker"] == broker]
        places, values = [], []
        for place, scenario in enumerate(scenarios):
            value = metrics.median([row for row in mine if row["name"] == scenario], key)
            if value:
                places.append(place + (index - (len(brokers) - 1) / 2) * bar)
                values.append(value)
        if values:
            bars = axes.barh(
                places, values, bar * 0.92, label=broker, color=colour(broker, brokers)
            )
            axes.bar_label(bars, [metrics.number(value) for value in values], fontsize=6, padding=2)

    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.02)
    axes.set_yticks(range(len(scenarios)), scenarios, fontsize=8)
    axes.invert_yaxis()
    more = metrics.METRICS[key].more_is_better
    axes.set_title(f"{title} ({'more' if more else 'less'} is better)", fontsize=9)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *axes.get_legend_handles_labels(),
        fontsize=7,
        frameon=False,
        ncols=len(brokers),
        loc="lower center",
    )
    figure.tight_layout(rect=(0, 0.25 / height, 1, 1))
    # No date and fixed identifiers: the same rows give the same file.
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    print(path)


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("rows", nargs="+", help="files of driver/ab.py --out")
    p.add_argument("--out", default=str(HERE / "results"), help="folder for the charts")
    options = p.parse_args()
    pyplot.rcParams["svg.hashsalt"] = "midge"
    rows = [
        json.loads(line) for file in options.rows for line in Path(file).read_text().splitlines()
    ]
    rows = [row for row in rows if "error" not in row]
    brokers = list(dict.fromkeys(row["broker"] for row in rows))
    brokers.sort(key=lambda name: (name == "limit", name != "midge"))
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for file, title, key, prefixes in CHARTS:
        names = dict.fromkeys(row["name"] for row in rows if row.get(key))
        scenarios = [name for name in names if name.startswith(prefixes)]
        if scenarios:
            chart(rows, brokers, title, key, scenarios, out / f"{file}.svg")


if __name__ == "__main__":
    main()
