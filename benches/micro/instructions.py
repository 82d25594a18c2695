#!/usr/bin/env python3
"""Instructions per unit of work of the hot paths, counted by callgrind.

  instructions.py                     print the counts
  instructions.py --save              write them to instructions.json
  instructions.py --check             compare with instructions.json; exit code 1 if one grew
  instructions.py --only 'p2p.*'      only these paths (regular expression, whole name)

Each path runs twice, the second time with more repetitions: the difference is free of set-up and
of the start of the process. Counts do not depend on what else the machine does; a little noise
remains (hash seeds, addresses, threads), hence a tolerance.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "instructions.json"
# Calls of the first run (after warm-up) and of the second one.
FEW, MANY = 20, 120


def build():
    subprocess.run(["cargo", "build", "--release", "--quiet", "--bins"], cwd=HERE, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", HERE / "target")
    return Path(target) / "release" / "repeat"


def paths(binary):
    listed = subprocess.run([binary], capture_output=True, text=True, check=True).stdout
    return {name: int(units) for name, units in (line.split() for line in listed.splitlines())}


def executed(binary, name, count):
    """Instructions of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={folder}/out",
                binary,
                name,
                str(count),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--save", action="store_true")
    p.add_argument("--check", action="store_true")
    p.add_argument("--only", default=".*")
    p.add_argument("--tolerance", type=float, default=0.05, help="growth that --check lets pass")
    options = p.parse_args()
    binary = build()
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    counts, grown = {}, []
    for name, units in paths(binary).items():
        if not re.fullmatch(options.only, name):
            continue
        work = executed(binary, name, MANY) - executed(binary, name, FEW)
        counts[name] = count = round(work / (MANY - FEW) / units, 1)
        change = ""
        if name in known:
            ratio = count / known[name]
            change = f"{(ratio - 1) * 100:+.1f} %"
            if ratio > 1 + options.tolerance:
                grown.append(name)
                change += "  grown"
        print(f"{name:34} {count:>12,.1f}  {change}", flush=True)
    if options.save:
        BASELINE.write_text(json.dumps(known | counts, indent=1) + "\n")
    if options.check and grown:
        sys.exit(f"more instructions than before: {', '.join(grown)}")


if __name__ == "__main__":
    main()
