"""The reference page of the Python package, made of its docstrings.

python api_reference.py FILE            compares, exit code 1 if FILE is stale
python api_reference.py FILE --save     writes it
"""

import ast
import enum
import inspect
import sys
from pathlib import Path

import midge
import midge.testing
import pytest_midge

HEAD = """# Midge for Python: reference

Made of the docstrings by `tests/python/api_reference.py`, which the tests compare; the
[guide](python.md) and the [recipes](python-recipes.md) show how things go together. All names are
typed (`py.typed`); an editor shows the same texts.
"""

FIXTURES = sorted(name for name in vars(pytest_midge) if name.startswith("mqtt_"))


def text(thing):
    return inspect.getdoc(thing) or ""


def prose(thing):
    """A docstring, its examples fenced."""
    lines, fenced = [], False
    for line in text(thing).splitlines():
        example = line.startswith((">>>", "...")) or (fenced and line.strip() != "")
        if example and not fenced:
            lines.append("```python")
        if fenced and not example:
            lines.append("```")
        fenced = example
        lines.append(line)
    if fenced:
        lines.append("```")
    return "\n".join(lines)


def annotation(value):
    value = getattr(value, "__forward_arg__", value)
    shown = value if isinstance(value, str) else getattr(value, "__name__", str(value))
    return shown.replace("_midge.", "").strip('"')


def fields(cls):
    """The fields of a class with their types as they are written, those of its bases, too."""
    names = vars(cls).get("__annotations__", {})
    if not names:
        return
    written = {}
    for statement in ast.parse(inspect.getsource(sys.modules[cls.__module__])).body:
        for part in statement.body if isinstance(statement, ast.ClassDef) else []:
            # A typed dictionary does not know its bases: they are other classes of its module.
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                written.setdefault(part.target.id, {})[statement.name] = part.annotation
    for name in names:
        known = written[name]
        yield name, ast.unparse(known.get(cls.__name__) or next(iter(known.values())))


def parameter(found):
    shown = {found.VAR_POSITIONAL: "*", found.VAR_KEYWORD: "**"}.get(found.kind, "") + found.name
    typed = found.annotation is not found.empty
    if typed:
        shown += f": {annotation(found.annotation)}"
    if found.default is not found.empty:
        default = repr(found.default)
        if " object at " in default:
            default = "..."
        shown += f" = {default}" if typed else f"={default}"
    return shown


def signature(thing):
    try:
        found = inspect.signature(thing)
    except (ValueError, TypeError):
        return "(...)"
    parts, keywords = [], False
    for each in found.parameters.values():
        if each.name in ("self", "$self"):
            continue
        if each.kind is each.KEYWORD_ONLY and not keywords:
            parts.append("*")
        keywords = keywords or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        parts.append(parameter(each))
    result = ""
    if found.return_annotation is not found.empty:
        result = f" -> {annotation(found.return_annotation)}"
    return f"({', '.join(parts)}){result}"


def members(cls):
    for name, value in sorted(vars(cls).items()):
        if name.startswith("_"):
            continue
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if name in vars(cls).get("__annotations__", {}):
            continue
        if isinstance(value, property) or inspect.isgetsetdescriptor(value):
            yield name, "", value
        elif callable(value):
            yield name, signature(value), value


def one(name, thing, out):
    if not inspect.isclass(thing):
        out.append(f"### `{name}`\n\n{prose(thing) if callable(thing) else repr(thing)}\n")
        return
    if issubclass(thing, BaseException):
        bases = ", ".join(base.__name__ for base in thing.__bases__)
        out.append(f"### `{name}({bases})`\n\n{prose(thing)}\n")
        return

    made = "(...)" if thing.__init__ is object.__init__ else signature(thing.__init__)
    made = "" if made == "(...)" or "*args" in made else made.removesuffix(" -> None")
    out.append(f"### `{name}{made}`\n\n{prose(thing)}\n")
    for field, kind in fields(thing):
        if not field.startswith("_"):
            out.append(f"- `{field}: {annotation(kind)}`")

    inherited = [base for base in thing.__mro__ if base.__module__.split(".")[0] == "midge"]
    for base in inherited:
        for member, arguments, value in members(base):
            if base is not thing and member in vars(thing):
                continue
            if isinstance(value, enum.Enum):
                continue
            first = " ".join(text(value).split("\n\n")[0].split())
            out.append(f"- `{member}{arguments}`" + (f"  \n  {first}" if first else ""))
    out.append("")


def page():
    out = [HEAD, "## `midge`\n"]
    for name in midge.__all__:
        if name == "__version__":
            continue
        one(name, getattr(midge, name), out)
    out.append("## `midge.testing`\n")
    for name in midge.testing.__all__:
        one(name, getattr(midge.testing, name), out)
    out.append("## pytest fixtures\n")
    for name in FIXTURES:
        fixture = getattr(pytest_midge, name)
        out.append(f"### `{name}`\n\n{text(fixture)}\n")
    lines = [line.rstrip() for line in "\n".join(out).splitlines()]
    return "\n".join(lines).rstrip() + "\n"


def main():
    path = Path(sys.argv[1])
    if "--save" in sys.argv:
        path.write_text(page())
    elif path.read_text() != page():
        sys.exit(f"{path.name} is stale: tests/python/api_reference.py FILE --save")


if __name__ == "__main__":
    main()
