#!/usr/bin/env python3
"""Air and voice: the rules of CONTRIBUTING that a program can check.

  voice.py              checks what is committed and what is changed; status 1 with the places that fail
  voice.py --walls      lists the functions of twenty lines and more without a blank line
  voice.py --self-test  checks the reading of sources on samples

Comments, docstrings and pages name things, not persons, where a thread, a client or a packet is meant; so
do names of tests. A function of twenty lines or more has a blank line between its steps; a few are one
step, such as a table of cases, so in each room up to a tenth of them may have none. No function has more
than thirty lines in a row without one; the entries of a list do not count.
"""

import re
import subprocess
import sys
import unittest
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PERSONS = re.compile(
    r"\b(whoever|whomever|whom|nobody|somebody|everybody|anybody|everyone|someone|anyone)\b"
    r"|(?:^|[.:;] )Who\b(?!\?)",
    re.IGNORECASE,
)
# `who` within a sentence may be right: "clients who" is not English for things, but names of tests quote it.
TEST_PERSONS = re.compile(r"^(?:test_)?who_|(?:^|_)(?:nobody|somebody|everybody|whoever)(?:_|$)")
LONG = 20
SHARE = 0.10
RUN = 30
COMMENT = {
    ".rs": r"^\s*//[/!]?(.*)|[;{,)]\s+//(.*)",
    ".c": r"^\s*(?:/\*|\*|//)(.*)|[;{,)]\s+/\*(.*)\*/",
    ".py": r"^\s*#(?!!)(.*)|\S\s\s#(.*)",
    ".sh": r"^\s*#(?!!)(.*)",
    ".md": r"^(.*)$",
}
COMMENT |= {
    ".h": COMMENT[".c"],
    ".hpp": COMMENT[".c"],
    ".cpp": COMMENT[".c"],
    ".pyi": COMMENT[".py"],
    ".toml": COMMENT[".sh"],
}
DOCSTRINGS = (".py", ".pyi")
# They quote what is not wanted.
QUOTING = ("CONTRIBUTING.md", "tools/voice/voice.py")
FUNCTION = {
    ".rs": re.compile(
        r"^(\s*)(?:pub(?:\([^)]*\))? )?(?:const )?(?:async )?(?:unsafe )?(?:extern \"C\" )?fn (\w+)"
    ),
    ".py": re.compile(r"^(\s*)(?:async )?def (\w+)"),
}


class Function(NamedTuple):
    """A function, with the number of its first line and the lines after it."""

    name: str
    at: int
    body: list[str]

    def is_long(self) -> bool:
        return len(self.body) + 1 >= LONG

    def is_wall(self) -> bool:
        return self.is_long() and all(line.strip() for line in self.body)

    def runs(self) -> list[tuple[int, int]]:
        """First line and length of each run of lines without a blank one that is too long.

        Only the first line of a list counts: its entries are no steps, and rustfmt takes blank lines
        between them away.
        """
        found: list[tuple[int, int]] = []
        begin, length, closing = 0, 0, None
        for place, line in enumerate([*self.body, ""]):
            if closing is not None:
                if re.match(closing, line):
                    closing = None
            elif not line.strip():
                if length > RUN:
                    found.append((self.at + 1 + begin, length))
                begin, length = place + 1, 0
            else:
                length += 1
                if line.endswith("["):
                    closing = line[: len(line) - len(line.lstrip())] + r"\]"
        return found


def sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.splitlines()]


def docstrings(lines: list[str]) -> list[tuple[int, str]]:
    """The lines of docstrings: strings in three quotes that begin a line."""
    found: list[tuple[int, str]] = []
    inside = False
    for number, line in enumerate(lines, 1):
        text = line.strip()
        begins = not inside and re.match(r'[rR]?"""', text) is not None
        if begins or inside:
            found.append((number, text.strip('rR"') if begins else text.strip('"')))
        if (begins or inside) and text.count('"""') % 2:
            inside = not inside
    return found


def prose(suffix: str, lines: list[str]) -> list[tuple[int, str]]:
    """The lines that are written to be read: comments, docstrings, and pages but for their code."""
    comment = re.compile(COMMENT[suffix])
    found = docstrings(lines) if suffix in DOCSTRINGS else []
    code = False
    for number, line in enumerate(lines, 1):
        if suffix == ".md" and line.lstrip().startswith("```"):
            code = not code
        match = None if code else comment.search(line)
        text = next((group for group in match.groups() if group), "") if match else ""
        if text:
            found.append((number, text.strip()))
    return found


def persons(suffix: str, lines: list[str]) -> list[tuple[int, str]]:
    return [(number, text) for number, text in prose(suffix, lines) if PERSONS.search(text)]


def functions(suffix: str, lines: list[str]) -> list[Function]:
    found = []
    for number, line in enumerate(lines):
        match = FUNCTION[suffix].match(line)
        if not match:
            continue
        end = (end_of_braces if suffix == ".rs" else end_of_block)(lines, number, match.group(1))
        found.append(Function(match.group(2), number + 1, lines[number + 1 : end]))
    return found


def end_of_braces(lines: list[str], number: int, indent: str) -> int:
    """The line that closes a function of Rust; the next one for a declaration without a body."""
    if lines[number].rstrip().endswith((";", "}")):
        return number + 1

    end = number + 1
    while end < len(lines) and lines[end].rstrip() not in (indent + "}", indent + "};"):
        if re.match(re.escape(indent) + r"\).*;$", lines[end]):
            break
        end += 1
    return end


def end_of_block(lines: list[str], number: int, indent: str) -> int:
    """The line after the last one of a function of Python, whose parameters may have lines of their own."""
    end = number + 1
    while end < len(lines) and (
        not lines[end].strip()
        or len(lines[end]) - len(lines[end].lstrip()) > len(indent)
        or lines[end].startswith(indent + ")")
    ):
        end += 1
    while not lines[end - 1].strip():
        end -= 1
    return end


def tests(suffix: str, lines: list[str]) -> list[tuple[int, str]]:
    """The names of tests that have a person in them."""
    found = []
    for function in functions(suffix, lines):
        above = function.at - 2
        while above >= 0 and lines[above].lstrip().startswith("#[") and "test]" not in lines[above]:
            above -= 1
        is_test = "test]" in lines[above] if suffix == ".rs" else function.name.startswith("test_")
        if is_test and TEST_PERSONS.search(function.name):
            found.append((function.at, function.name))
    return found


def room(name: str) -> str:
    """The part of the repository whose share of walls is counted: a crate, a binding, a folder."""
    folders = name.split("/")[:-1]
    depth = 2 if folders[:1] in (["crates"], ["bindings"], ["tests"], ["benches"]) else 1
    return "/".join(folders[:depth]) or "."


def main() -> int:
    failed: list[str] = []
    rooms: dict[str, tuple[int, list[str]]] = {}
    for path in sources():
        if path.suffix not in COMMENT or not path.is_file():
            continue
        name, lines = str(path.relative_to(ROOT)), path.read_text().splitlines()
        if name not in QUOTING:
            failed += [f"{name}:{at}: {text}" for at, text in persons(path.suffix, lines)]
        if path.suffix not in FUNCTION:
            continue

        failed += [f"{name}:{at}: {test}" for at, test in tests(path.suffix, lines)]
        runs = {}
        for function in functions(path.suffix, lines):
            runs |= {at: (function.name, length) for at, length in function.runs()}
            if function.is_long():
                long, walls = rooms.get(room(name), (0, []))
                if function.is_wall():
                    walls = [*walls, f"{name}:{function.at}: {function.name}"]
                rooms[room(name)] = (long + 1, walls)
        failed += [
            f"{name}:{at}: {length} lines in a row in {function}, more than {RUN}"
            for at, (function, length) in runs.items()
        ]

    if "--walls" in sys.argv:
        print(*(wall for _, walls in rooms.values() for wall in walls), sep="\n")
        return 0
    for name, (long, walls) in rooms.items():
        print(f"{name}: {len(walls)} of {long} functions of {LONG} lines and more are walls")
        if len(walls) > max(SHARE * long, 1):
            failed.append(f"{name}: more walls than {SHARE:.0%}, see voice.py --walls")
    if failed:
        print("\nAgainst Air and voice in CONTRIBUTING (persons, walls, lines in a row):")
        print(*failed, sep="\n")
    return 1 if failed else 0


class SelfTest(unittest.TestCase):
    """What is found in samples, and what is not."""

    def test_functions_end_where_they_end(self) -> None:
        rust = ["fn a() {}", "fn b(", "    x: u8,", ");", "    fn c() {", "        1", "    }", "x"]
        found = [(f.name, f.at, len(f.body)) for f in functions(".rs", rust)]
        self.assertEqual(found, [("a", 1, 0), ("b", 2, 1), ("c", 5, 1)])

        python = [
            "def a(",
            "    x,",
            ") -> int:",
            "    return 1",
            "",
            "",
            "async def b():",
            "  pass",
        ]
        found = [(f.name, f.at, len(f.body)) for f in functions(".py", python)]
        self.assertEqual(found, [("a", 1, 3), ("b", 7, 1)])

    def test_a_run_is_counted_between_blank_lines(self) -> None:
        short, long = ["x"] * RUN, ["x"] * (RUN + 1)
        self.assertEqual(Function("f", 1, [*short, "", *short]).runs(), [])
        self.assertEqual(Function("f", 1, [*short, " ", *long]).runs(), [(RUN + 3, RUN + 1)])
        table = ["  let cases = [", *["    a,"] * RUN, "    [", "    ],", "  ];"]
        self.assertEqual(Function("f", 1, [*table, *["x"] * (RUN - 1)]).runs(), [])
        self.assertEqual(Function("f", 1, [*table, *short]).runs(), [(2, RUN + 1)])

    def test_a_wall_is_long_and_has_no_blank_line(self) -> None:
        self.assertTrue(Function("f", 1, ["x"] * (LONG - 1)).is_wall())
        self.assertFalse(Function("f", 1, ["x"] * (LONG - 2)).is_wall())
        self.assertFalse(Function("f", 1, ["x", "", *["x"] * LONG]).is_wall())

    def test_persons_are_found_in_what_is_read(self) -> None:
        for suffix, lines, at in [
            (".rs", ["let nobody = 1;", "/// Whoever holds it."], [2]),
            (".py", ['"""Waits for', "somebody.", '"""', "anyone = 1", "x = 1  # nobody"], [2, 5]),
            (".pyi", ['    """Everybody."""', "    everyone: int"], [1]),
            (".md", ["For someone.", "```", "whoever", "```", "Nobody waits."], [1, 5]),
            (".c", ["/* Who waits */", "int someone;"], [1]),
        ]:
            with self.subTest(suffix):
                found = sorted(number for number, _ in persons(suffix, lines))
                self.assertEqual(found, at)

    def test_persons_are_found_in_names_of_tests(self) -> None:
        rust = ["#[test]", "fn who_waits_is_told() {", "}", "fn nobody() {", "}"]
        self.assertEqual(tests(".rs", rust), [(2, "who_waits_is_told")])
        python = ["def test_somebody_reads():", "    pass", "def test_whole():", "    pass"]
        self.assertEqual(tests(".py", python), [(1, "test_somebody_reads")])

    def test_a_room_is_a_crate_or_a_folder(self) -> None:
        names = ["crates/midge/src/a.rs", "tests/python/a.py", "python/midge/_a.py", "tests/a.py"]
        rooms = ["crates/midge", "tests/python", "python", "tests"]
        self.assertEqual([room(name) for name in names], rooms)


if __name__ == "__main__":
    if "--self-test" in sys.argv:
        sys.argv.remove("--self-test")
        unittest.main()
    sys.exit(main())
