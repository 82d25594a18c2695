#!/usr/bin/env python3
"""Prints the licences of all crates that are linked into packages: licences.py TARGET PACKAGE...

Asks cargo for the crates that the packages use on this target, and reads the licence files of each. The same
text stands once. A crate without a file is listed with its licence, whose text must come with another one.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

NAMES = re.compile(r"^(licen[cs]e|copying|notice|unlicense)", re.IGNORECASE)


def crates(target, names):
    """The crates of the registry that are linked into the packages, by identifier."""
    command = [
        "cargo",
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        target,
    ]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

    found = {}
    waiting = [key for key, package in packages.items() if package["name"] in names]
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        found[key] = packages[key]
        for dependency in nodes[key]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return sorted(
        (package for package in found.values() if package["source"]),
        key=lambda package: (package["name"], package["version"]),
    )


def texts(package):
    """The texts of the licences that come with a crate."""
    folder = Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file() and NAMES.match(path.name))
    return [
        path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").strip()
        for path in files
    ]


def main():
    target, *names = sys.argv[1:]
    listed = crates(target, names)
    if not listed:
        sys.exit(f"licences.py: no crates of {names} for {target}")

    users = {}
    print("# Licences of what Midge is made of\n")
    print(
        "Midge itself: MIT OR Apache-2.0 (LICENSE-MIT, LICENSE-APACHE). The standard library of Rust: MIT OR Apache-2.0.\n"
    )
    for package in listed:
        name = f"{package['name']} {package['version']}"
        if not package["license"]:
            sys.exit(f"licences.py: {name} names no licence")
        print(f"- {name}: {package['license']}")
        for text in texts(package):
            users.setdefault(text, []).append(name)

    for text, used in users.items():
        print(f"\n## {', '.join(used)}\n")
        print(text)


if __name__ == "__main__":
    main()
