"""Packs files into PATH.zip for Windows, into PATH.tar.xz for other systems; the same files give the same bytes.

archive.py PATH PLACE=FILE...       PLACE is where the file stands in the folder of the archive
"""

from __future__ import annotations

import io
import lzma
import os
import sys
import tarfile
import time
import zipfile
from pathlib import Path

EPOCH = max(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), 315532800)  # 1980, where zip begins


def mode(place: str) -> int:
    return 0o755 if place.startswith("bin/") else 0o644


def zipped(name: str, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for place, data in files.items():
            info = zipfile.ZipInfo(f"{name}/{place}", time.gmtime(EPOCH)[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, data)
    return buffer.getvalue()


def tarred(name: str, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as packed:
        for place, data in files.items():
            info = tarfile.TarInfo(f"{name}/{place}")
            info.mode, info.mtime, info.size = mode(place), EPOCH, len(data)
            packed.addfile(info, io.BytesIO(data))
    return lzma.compress(buffer.getvalue(), preset=9)


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    path = Path(sys.argv[1])
    pairs = (each.split("=", 1) for each in sys.argv[2:])
    files = {place: Path(file).read_bytes() for place, file in pairs}

    pack, suffix = (zipped, ".zip") if "-windows-" in path.name else (tarred, ".tar.xz")
    archive = path.with_name(path.name + suffix)
    archive.write_bytes(pack(path.name, files))
    print(f"{archive.name}: {archive.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
