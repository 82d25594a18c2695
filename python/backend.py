"""Builds the package: maturin, with a word when Rust is missing, and without the paths of the machine
that builds in what it makes.

python backend.py flags           the flags for the compiler, for CARGO_ENCODED_RUSTFLAGS
python backend.py clean WHEEL...  takes the paths out of wheels that maturin has made
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
# In a source distribution the workspace is here.
ROOT = HERE if (HERE / "Cargo.toml").exists() else HERE.parent
RUST = (1, 89)

MISSING = """
midge is built from source here, which needs Rust {wanted} or later: {found}.
https://rustup.rs installs it; a wheel of midge needs no Rust.
"""


def check_rust() -> None:
    """Ends with a word if there is no Rust, or an old one."""
    wanted = ".".join(map(str, RUST))
    for tool in ("cargo", "rustc"):
        if shutil.which(os.environ.get(tool.upper(), tool)) is None:
            sys.exit(MISSING.format(wanted=wanted, found=f"there is no {tool} in PATH"))
    rustc = os.environ.get("RUSTC", "rustc")
    told = subprocess.run([rustc, "--version"], capture_output=True, text=True).stdout
    version = re.match(r"rustc (\d+)\.(\d+)", told)
    if version is not None and (int(version[1]), int(version[2])) < RUST:
        sys.exit(MISSING.format(wanted=wanted, found=f"there is {told.strip()}"))


def flags() -> list[str]:
    """Flags for the compiler: those that are set, and names in place of the paths of this machine."""
    encoded = os.environ.get("CARGO_ENCODED_RUSTFLAGS")
    known = encoded.split("\x1f") if encoded else os.environ.get("RUSTFLAGS", "").split()
    cargo = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    paths = {ROOT: "midge", cargo: "cargo", cargo.resolve(): "cargo"}
    return [*known, *(f"--remap-path-prefix={path}={name}" for path, name in paths.items())]


@contextmanager
def _flags():
    before = os.environ.get("CARGO_ENCODED_RUSTFLAGS")
    os.environ["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(flags())
    try:
        yield
    finally:
        if before is None:
            del os.environ["CARGO_ENCODED_RUSTFLAGS"]
        else:
            os.environ["CARGO_ENCODED_RUSTFLAGS"] = before


def clean(wheel: Path) -> None:
    """Takes the paths of this machine out of the software bill of materials of a wheel: crates of the
    workspace are named by their place in it."""
    with zipfile.ZipFile(wheel) as old:
        entries = [(info, old.read(info)) for info in old.infolist()]
    files, record = [], None
    for info, data in entries:
        if info.filename.endswith(".dist-info/RECORD"):
            record = (info, data)
            continue
        if "/sboms/" in info.filename:
            text = re.sub(r"file://[^\"#]*?/(crates|bindings)/", r"file:///\1/", data.decode())
            data = text.replace(f"{ROOT}/", "").encode()
        files.append((info, data))
    assert record is not None, f"{wheel} has no RECORD"

    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    for info, data in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([info.filename, f"sha256={digest}", len(data)])
    writer.writerow([record[0].filename, "", ""])
    part = wheel.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as new:
        for info, data in [*files, (record[0], rows.getvalue().encode())]:
            new.writestr(info, data)
    part.replace(wheel)


# What PEP 517 and PEP 660 ask for.


def get_requires_for_build_wheel(config_settings=None):
    check_rust()
    import maturin

    return maturin.get_requires_for_build_wheel(config_settings)


def get_requires_for_build_editable(config_settings=None):
    check_rust()
    import maturin

    return maturin.get_requires_for_build_editable(config_settings)


def get_requires_for_build_sdist(config_settings=None):
    check_rust()
    import maturin

    return maturin.get_requires_for_build_sdist(config_settings)


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    import maturin

    return maturin.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    import maturin

    return maturin.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_sdist(sdist_directory, config_settings=None):
    import maturin

    return maturin.build_sdist(sdist_directory, config_settings)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    check_rust()
    import maturin

    with _flags():
        name = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    clean(Path(wheel_directory) / name)
    return name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    check_rust()
    import maturin

    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)


def main() -> None:
    match sys.argv[1:]:
        case ["flags"]:
            print("\x1f".join(flags()), end="")
        case ["clean", *wheels] if wheels:
            for wheel in wheels:
                clean(Path(wheel))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
