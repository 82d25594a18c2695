#!/usr/bin/env python3
"""Air and voice: the rules of CONTRIBUTING that a program can check.

  voice.py            checks what is committed and what is changed; status 1 with the places that fail
  voice.py --walls    lists the functions of twenty lines and more without a blank line

Comments name things, not persons: no "whoever", no "nobody" where a thread, a client or a packet is meant.
A function of twenty lines or more has a blank line between its steps; a few are one step, such as a table
of cases, so up to a tenth of them may have none.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PERSONS = re.compile(
    r"\b(whoever|whomever|whom|nobody|somebody|everybody|anybody|everyone|someone|anyone)\b"
    r"|(?:^|[.:;] )Who\b(?!\?)",
    re.IGNORECASE,
)
# `who` within a sentence may be right: "clients who" is not English for things, but names of tests quote it.
LONG = 20
SHARE = 0.10
COMMENT = {
    ".rs": r"^\s*//[/!]?(.*)|[;{,)]\s+//(.*)",
    ".c": r"^\s*(?:/\*|\*|//)(.*)|[;{,)]\s+/\*(.*)\*/",
    ".py": r"^\s*#(?!!)(.*)|\S\s\s#(.*)",
    ".sh": r"^\s*#(?!!)(.*)",
}
COMMENT |= {
    ".h": COMMENT[".c"],
    ".hpp": COMMENT[".c"],
    ".cpp": COMMENT[".c"],
    ".toml": COMMENT[".sh"],
}
FUNCTION = {
    ".rs": re.compile(
        r"^(\s*)(?:pub(?:\([^)]*\))? )?(?:const )?(?:async )?(?:unsafe )?(?:extern \"C\" )?fn (\w+)"
    ),
    ".py": re.compile(r"^(\s*)(?:async )?def (\w+)"),
}


def sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.splitlines()]


def persons(path: Path, lines: list[str]) -> list[str]:
    comment = re.compile(COMMENT[path.suffix])
    found = []
    for number, line in enumerate(lines, 1):
        match = comment.search(line)
        text = next((group for group in match.groups() if group), "") if match else ""
        if PERSONS.search(text.strip()):
            found.append(f"{path.relative_to(ROOT)}:{number}: {text.strip()}")
    return found


def bodies(path: Path, lines: list[str]) -> list[tuple[str, list[str]]]:
    """Functions with the lines between their first and last."""
    found = []
    for number, line in enumerate(lines):
        match = FUNCTION[path.suffix].match(line)
        if not match:
            continue
        indent = len(match.group(1))
        end = number + 1
        if path.suffix == ".rs":
            while end < len(lines) and lines[end].rstrip() not in (
                " " * indent + "}",
                " " * indent + "};",
            ):
                if lines[end - 1].rstrip().endswith(";") and end == number + 1:
                    break
                end += 1
        else:
            while end < len(lines) and (
                not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent
            ):
                end += 1
            while not lines[end - 1].strip():
                end -= 1
        found.append(
            (f"{path.relative_to(ROOT)}:{number + 1}: {match.group(2)}", lines[number + 1 : end])
        )
    return found


def main() -> int:
    told, long, walls = [], 0, []
    for path in sources():
        if path.suffix not in COMMENT or not path.is_file():
            continue
        lines = path.read_text().splitlines()
        if path != Path(__file__).resolve():
            told += persons(path, lines)
        if path.suffix in FUNCTION:
            for name, body in bodies(path, lines):
                if len(body) + 1 >= LONG:
                    long += 1
                    if all(line.strip() for line in body):
                        walls.append(name)

    if "--walls" in sys.argv:
        print(*walls, sep="\n")
        return 0
    for place in told:
        print(f"{place}\n    a person where a thing is meant (CONTRIBUTING, Air and voice)")
    share = len(walls) / max(long, 1)
    print(
        f"{len(walls)} of {long} functions of {LONG} lines and more have no blank line ({share:.1%})"
    )
    if share > SHARE:
        print(f"    more than {SHARE:.0%}: see voice.py --walls")
    return 1 if told or share > SHARE else 0


if __name__ == "__main__":
    sys.exit(main())
