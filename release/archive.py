"""Packs files into NAME.zip; the same files give the same bytes.

archive.py FOLDER/NAME FILE...       the files stand in a folder NAME, without the paths they have here
"""

from __future__ import annotations

import os
import sys
import time
import zipfile
from pathlib import Path

EPOCH = max(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), 315532800)  # 1980, where zip begins


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    path = Path(sys.argv[1])
    archive = path.with_name(path.name + ".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in map(Path, sys.argv[2:]):
            info = zipfile.ZipInfo(f"{path.name}/{file.name}", time.gmtime(EPOCH)[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, file.read_bytes())
    print(f"{archive.name}: {archive.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
