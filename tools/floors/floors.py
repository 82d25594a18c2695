#!/usr/bin/env python3
"""The floors of a crate: which of its modules stand on which.

  floors.py                 compares each crate with its block in ARCHITECTURE.md; status 1 if they differ
  floors.py --print         prints the blocks as the code has them
  floors.py --save          writes them into ARCHITECTURE.md
  floors.py --edges CRATE   prints which module uses which, and where

A room is a module directly below a crate's root, with all files in it. It uses another room if one of its
files names something that is defined there; what is exported again by a third room counts as what it is.
Unit tests do not count, nor does what only the explorer of interleavings (`cfg(shuttle)`) builds. A room stands one floor above the highest room that it uses, so every arrow goes
downwards, unless there is a circle: the page names the rooms of those that there are, and a new one shows.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "ARCHITECTURE.md"
CRATES = {
    "midge-codec": ROOT / "crates/midge-codec/src",
    "midge-core": ROOT / "crates/midge-core/src",
    "midge": ROOT / "crates/midge/src",
    "midge-testkit": ROOT / "crates/midge-testkit/src",
    "midge-c": ROOT / "bindings/c/src",
}

Path_ = tuple[str, ...]


def code(text: str) -> str:
    """The text without comments, strings and unit tests."""
    text = re.sub(r'r#"(?:.|\n)*?"#|"(?:\\.|[^"\\])*"', '""', text)
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r"/\*(?:.|\n)*?\*/", "", text)
    while match := re.search(
        r"#\[cfg\((?:test|shuttle|all\(test[^\]]*)\)\]\s*(?:#\[[^\]]*\]\s*)*"
        r"(?:pub(?:\([a-z]+\))? )?(mod|use|fn|impl)\b",
        text,
    ):
        end, depth = match.end(), 0
        while end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
            if depth == 0 and (text[end - 1] == "}" or text[end - 1] == ";"):
                break
        text = text[: match.start()] + text[end:]
    return text


def tree(use: str) -> list[tuple[Path_, str]]:
    """The paths that a `use` names, with the name that each has here."""
    found: list[tuple[Path_, str]] = []

    def walk(prefix: Path_, rest: str) -> None:
        rest = rest.strip()
        if "{" in rest:
            head, _, body = rest.partition("{")
            inner = body.rsplit("}", 1)[0]
            front = prefix + tuple(part for part in head.strip().split("::") if part)
            depth, start = 0, 0
            for at, letter in enumerate(inner + ","):
                depth += {"{": 1, "}": -1}.get(letter, 0)
                if letter == "," and depth == 0:
                    if part := inner[start:at].strip():
                        walk(front, part)
                    start = at + 1
            return
        name = rest.split(" as ")
        parts = prefix + tuple(part.strip() for part in name[0].split("::") if part.strip())
        if parts and parts[-1] == "self":
            parts = parts[:-1]
        found.append((parts, name[-1].strip() if len(name) > 1 else (parts[-1] if parts else "")))

    walk((), use)
    return found


class Crate:
    def __init__(self, source: Path) -> None:
        self.texts: dict[Path_, str] = {}
        self.files: dict[Path_, Path] = {}
        tests_only: set[Path_] = set()
        for file in sorted(source.rglob("*.rs")):
            parts = file.relative_to(source).with_suffix("").parts
            if parts[-1] in ("mod", "lib"):
                parts = parts[:-1]
            text = file.read_text()
            only = re.findall(r"#\[cfg\((?:test|shuttle)\)\]\s*(?:pub )?mod (\w+);", text)
            tests_only |= {(*parts, module) for module in only}
            if parts[:1] in (("bin",), ("main",)) or "tests" in parts:
                continue
            self.texts[parts] = code(text)
            self.files[parts] = file
        for parts in [parts for parts in self.texts if self.is_below(parts, tests_only)]:
            del self.texts[parts], self.files[parts]
        self.uses = {
            module: [
                (self.absolute(module, path), name)
                for use in re.findall(r"\buse\s+([^;]+);", text)
                for path, name in tree(use)
            ]
            for module, text in self.texts.items()
        }

    @staticmethod
    def is_below(parts: Path_, modules: set[Path_]) -> bool:
        return any(parts[:n] in modules for n in range(1, len(parts) + 1))

    def absolute(self, module: Path_, path: Path_) -> Path_:
        """From the root of the crate on; a path into another crate begins with `::`."""
        if path[:1] == ("crate",):
            return path[1:]
        up = 0
        while path[up : up + 1] == ("super",):
            up += 1
        if up:
            return module[: len(module) - up] + path[up:]
        if path[:1] == ("self",):
            return module + path[1:]
        if path and module + path[:1] in self.texts:
            return module + path
        return ("::", *path)

    def home(self, path: Path_, seen: frozenset[Path_] = frozenset()) -> Path_ | None:
        """The module that defines what a path names."""
        if path[:1] == ("::",) or path in seen:
            return None
        at = max((n for n in range(len(path) + 1) if path[:n] in self.texts), default=0)
        module, rest = path[:at], path[at:]
        if not rest:
            return module
        for target, name in self.uses.get(module, []):
            names_it = name == rest[0] and target != path[: at + 1]
            if names_it and (found := self.home(target + rest[1:], seen | {path})):
                return found
        return module

    def edges(self) -> dict[tuple[str, str], set[Path]]:
        edges: dict[tuple[str, str], set[Path]] = defaultdict(set)
        for module, text in self.texts.items():
            if not module:
                continue  # the root only names what there is
            inline = re.findall(
                r"\b((?:crate|super)(?:::\w+)+)", re.sub(r"\buse\s+[^;]+;", "", text)
            )
            paths = [path for path, _ in self.uses[module]]
            paths += [self.absolute(module, tuple(path.split("::"))) for path in inline]
            for path in paths:
                home = self.home(path)
                if home and home[0] != module[0]:
                    edges[module[0], home[0]].add(self.files[module])
        return edges


def floors(rooms: set[str], edges: set[tuple[str, str]]) -> tuple[list[list[str]], list[str]]:
    """The rooms of each floor from below, and those that are in a circle or stand on one."""
    left, done, result = set(rooms), set(), []
    while floor := sorted(
        room for room in left if all(to in done for of, to in edges if of == room)
    ):
        result.append(floor)
        done |= set(floor)
        left -= done
    return result, sorted(left)


def block(name: str, crate: Crate) -> str:
    rooms = {module[0] for module in crate.texts if module}
    edges = set(crate.edges())
    result, knot = floors(rooms, edges)
    lines = [f"```floors {name}"]
    if knot:
        lines.append("circle: " + " ".join(knot))
    for number in range(len(result), 0, -1):
        lines.append(f"{number}  " + "  ".join(result[number - 1]))
    return "\n".join([*lines, "```"])


def main() -> int:
    crates = {name: Crate(source) for name, source in CRATES.items()}
    if sys.argv[1:2] == ["--edges"]:
        crate = crates[sys.argv[2]]
        for (of, to), files in sorted(crate.edges().items()):
            print(f"{of} -> {to}: {' '.join(sorted(file.name for file in files))}")
        return 0

    page, wrong = PAGE.read_text(), 0
    for name, crate in crates.items():
        now = block(name, crate)
        if sys.argv[1:] == ["--print"]:
            print(now, end="\n\n")
            continue
        shown = re.search(rf"```floors {re.escape(name)}\n.*?```", page, re.DOTALL)
        if shown and sys.argv[1:] == ["--save"]:
            page = page.replace(shown[0], now)
        elif not shown or shown[0] != now:
            print(f"{name}: ARCHITECTURE.md shows other floors than\n{now}")
            wrong += 1
        else:
            print(now)

    if sys.argv[1:] == ["--save"]:
        PAGE.write_text(page)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
