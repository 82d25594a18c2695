"""Packs files into PATH.zip; the same files give the same bytes.

archive.py PATH PLACE=FILE...       PLACE is where the file stands in the folder of the archive
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
        for each in sys.argv[2:]:
            place, _, file = each.partition("=")
            info = zipfile.ZipInfo(f"{path.name}/{place}", time.gmtime(EPOCH)[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o755 if place.startswith("bin/") else 0o644) << 16
            packed.writestr(info, Path(file).read_bytes())
    print(f"{archive.name}: {archive.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
