"""Predictive maintenance: vibrations of machines come in by the hundred, and a trend that reaches a limit
before the next service is a warning, with the day when it will.

    pip install ./python
    python examples/python/maintenance.py

Sensors publish straight into the broker here; over the network they would be ordinary clients.
"""

import random
from collections import defaultdict

import midge

LIMIT = 7.1  # mm/s RMS
SERVICE = 90  # days until the next service
WEAR = {"pump": 0.001, "mill": 0.09}  # mm/s and day


def trend(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Least squares: level and slope."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return mean_y - slope * mean_x, slope


def warn(broker: midge.Broker, history: dict[str, list[tuple[float, float]]]) -> None:
    """Leaves a retained warning for each machine that will not last."""
    for machine, points in history.items():
        level, slope = trend(points)
        if slope <= 0:
            continue
        day = (LIMIT - level) / slope
        if day < SERVICE:
            warning = {"limit": LIMIT, "day": round(day)}
            broker.publish(f"maintenance/{machine}", json=warning, qos=1, retain=True)


def main() -> None:
    noise = random.Random(7)
    with midge.Broker(port=None) as broker:
        readings = broker.subscribe("machine/+/vibration", maxsize=1000)
        for day in range(30):
            for machine, wear in WEAR.items():
                rms = 2 + wear * day + noise.gauss(0, 0.1)
                broker.publish(f"machine/{machine}/vibration", json={"day": day, "rms": rms})

        history: dict[str, list[tuple[float, float]]] = defaultdict(list)
        while batch := readings.drain(100):
            for message in batch:
                reading = message.json()
                history[message.topic.split("/")[1]].append((reading["day"], reading["rms"]))
        print(f"readings: {sum(map(len, history.values()))}, lost: {readings.lost}")

        warn(broker, history)
        for topic, message in broker.retained.items():
            print(f"{topic}: {message.text}")
        if list(broker.retained) != ["maintenance/mill"]:
            raise SystemExit("not what was to be seen")


if __name__ == "__main__":
    main()
