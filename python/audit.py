"""Audits distributions of the Python package: metadata, contents, the platform that they promise, the
stable interface, size, the bill of materials, and paths of the machine that built them.

audit.py FILE...                 wheels and source distributions

Needs what release-requirements.txt lists.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 3_000_000  # bytes of a wheel


def tool(*command: str) -> str:
    """Runs a tool of this environment; its complaint ends the audit."""
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def complain(file: Path, what: str) -> None:
    sys.exit(f"{file.name}: {what}")


def glibc(wheel: Path, promised: str) -> None:
    """The oldest system that the symbols of a wheel allow is the one in its name."""
    shown = tool("auditwheel", "show", str(wheel))
    consistent = re.search(r'following platform tag:\s+"([^"]+)"', shown)
    if consistent is None or not older_or_same(consistent[1], promised):
        complain(wheel, f"auditwheel finds it is not {promised}:\n{shown}")


def musl(wheel: Path) -> None:
    """It is linked with musl alone, and musl has what it uses, where there is one to look at.

    auditwheel knows musl by the name that Alpine gives it; what zig links says libc.so, which musl's
    loader takes for itself on every system.
    """
    from elftools.elf.elffile import ELFFile

    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".so"))
        module = ELFFile(io.BytesIO(archive.read(name)))

    dynamic = module.get_section_by_name(".dynamic")
    needed = {tag.needed for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"}
    if needed != {"libc.so"}:
        complain(wheel, f"it is linked with {', '.join(sorted(needed))}")

    machine = {"x64": "x86_64", "AArch64": "aarch64"}.get(module.get_machine_arch(), "other")
    library = Path(f"/usr/lib/{machine}-linux-musl/libc.so")
    if not library.exists():
        print(f"{wheel.name}: its symbols are not compared, there is no musl for {machine}")
        return
    with library.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
        known = {symbol.name for symbol in symbols if symbol.entry.st_shndx != "SHN_UNDEF"}
    for symbol in module.get_section_by_name(".dynsym").iter_symbols():
        if symbol.entry.st_shndx != "SHN_UNDEF" or symbol.entry.st_info.bind != "STB_GLOBAL":
            continue
        if symbol.name not in known and not re.match("_?Py", symbol.name):
            complain(wheel, f"musl has no {symbol.name}")


def platform(wheel: Path) -> None:
    promised = re.search(r"[-.]((?:many|musl)linux_\d+_\d+_\w+?)(?:\.|$)", wheel.stem)
    if promised is None:
        complain(wheel, "it names no manylinux or musllinux version")
    elif promised[1].startswith("many"):
        glibc(wheel, promised[1])
    else:
        musl(wheel)


def older_or_same(found: str, promised: str) -> bool:
    """Whether a wheel that is `found` serves all systems that are `promised`."""
    one, other = (
        re.fullmatch(r"(many|musl)linux_(\d+)_(\d+)_(\w+)", tag) for tag in (found, promised)
    )
    if one is None or other is None or (one[1], one[4]) != (other[1], other[4]):
        return False
    return (int(one[2]), int(one[3])) <= (int(other[2]), int(other[3]))


def contents(wheel: Path) -> None:
    size = wheel.stat().st_size
    if size >= LARGEST:
        complain(wheel, f"{size} bytes, {LARGEST} is the limit")

    cargo = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    paths = {str(ROOT), str(cargo), str(cargo.resolve()), str(Path.home())} - {"/"}
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for name in names:
            data = archive.read(name)
            for path in paths:
                if path.encode() in data:
                    complain(wheel, f"{name} has a path of this machine: {path}")

        bills = [
            name for name in names if re.search(r"\.dist-info/sboms/.*\.cyclonedx\.json$", name)
        ]
        if len(bills) != 1:
            complain(wheel, "it has no bill of materials in .dist-info/sboms")
        listed = {part["name"] for part in json.loads(archive.read(bills[0]))["components"]}
        if not {"midge-core", "tokio", "pyo3"} <= listed:
            complain(wheel, f"{bills[0]} does not list what it is made of")

        for wanted in ("licenses/LICENSE-APACHE", "licenses/LICENSE-MIT", "entry_points.txt"):
            if not any(name.endswith(f".dist-info/{wanted}") for name in names):
                complain(wheel, f"without {wanted}")


def audit(file: Path) -> None:
    tool("twine", "check", "--strict", str(file))
    if file.suffix == ".whl":
        contents(file)
        tool("check_wheel_contents", "--toplevel", "midge,pytest_midge", str(file))
        if "-abi3" in file.name:
            tool("abi3audit", "--strict", str(file))
        if "linux" in file.name:
            platform(file)
    print(f"{file.name}: audited, {file.stat().st_size // 1024} KiB", flush=True)


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for name in sys.argv[1:]:
        audit(Path(name))


if __name__ == "__main__":
    main()
