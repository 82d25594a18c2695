"""A container image of one file, as an OCI layout: the command on nothing.

oci.py build OUT VERSION ARCHITECTURE=PROGRAM...    ARCHITECTURE as OCI names it: amd64, arm64
oci.py unpack OUT ARCHITECTURE FOLDER               its files, and prints how it is started, as JSON

The same programs give the same bytes: times come from SOURCE_DATE_EPOCH (0 without it).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TITLE = "org.opencontainers.image"
USER = 65532  # the one that images without users call "nonroot"
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))


class Layout:
    """The blobs of an image, by their digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / Path(*digest.split(":"))

    def add(self, data: bytes, kind: str) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        place = self.blob(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": digest,
            "size": len(data),
        }

    def add_json(self, data: object, kind: str) -> dict[str, object]:
        return self.add(json.dumps(data, separators=(",", ":"), sort_keys=True).encode(), kind)

    def read(self, descriptor: dict[str, object]) -> bytes:
        digest = str(descriptor["digest"])
        data = self.blob(digest).read_bytes()
        assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}", f"{digest} is damaged"
        return data


def files_of(program: Path) -> bytes:
    """The layer: the program, its licences, and a folder for what it may have to keep."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as layer:

        def entry(name: str, mode: int, data: bytes | None = None) -> None:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = mode, EPOCH
            if data is None:
                info.type = tarfile.DIRTYPE
                layer.addfile(info)
            else:
                info.size = len(data)
                layer.addfile(info, io.BytesIO(data))

        entry("licenses", 0o755)
        for licence in sorted(ROOT.glob("LICENSE-*")):
            entry(f"licenses/{licence.name}", 0o644, licence.read_bytes())
        entry("midge", 0o755, program.read_bytes())
        entry("tmp", 0o1777)
    return buffer.getvalue()


def image(layout: Layout, version: str, architecture: str, program: Path) -> dict[str, object]:
    files = files_of(program)
    layer = layout.add(gzip.compress(files, 9, mtime=0), "layer.v1.tar+gzip")

    labels = {
        f"{TITLE}.title": "midge",
        f"{TITLE}.description": "A complete MQTT 5.0, 3.1.1 and 3.1 broker",
        f"{TITLE}.version": version,
        f"{TITLE}.licenses": "MIT OR Apache-2.0",
    }
    for name, variable in (("source", "MIDGE_REPOSITORY"), ("revision", "MIDGE_REVISION")):
        if value := os.environ.get(variable):
            labels[f"{TITLE}.{name}"] = value

    config = {
        "created": datetime.fromtimestamp(EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "ExposedPorts": {"1883/tcp": {}},
            "Entrypoint": ["/midge"],
            "Cmd": ["serve", "--listen", "tcp://0.0.0.0:1883"],
            "WorkingDir": "/",
            "Labels": labels,
            "StopSignal": "SIGTERM",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(files).hexdigest()}"]},
        "history": [{"created_by": "release/oci.py"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.add_json(config, "config.v1+json"),
        "layers": [layer],
        "annotations": labels,
    }
    descriptor = layout.add_json(manifest, "manifest.v1+json")
    return {**descriptor, "platform": {"architecture": architecture, "os": "linux"}}


def build(out: Path, version: str, programs: list[str]) -> None:
    layout = Layout(out)
    images = []
    for each in programs:
        architecture, _, program = each.partition("=")
        images.append(image(layout, version, architecture, Path(program)))

    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": images,
    }
    named = layout.add_json(index, "index.v1+json")
    named["annotations"] = {f"{TITLE}.ref.name": version}
    top = {**index, "manifests": [named]}
    (out / "index.json").write_text(json.dumps(top, indent=1) + "\n")
    (out / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}\n')


def unpack(out: Path, architecture: str, folder: Path) -> None:
    layout = Layout(out)
    (named,) = json.loads((out / "index.json").read_text())["manifests"]
    images = json.loads(layout.read(named))["manifests"]
    (wanted,) = (each for each in images if each["platform"]["architecture"] == architecture)

    manifest = json.loads(layout.read(wanted))
    config = json.loads(layout.read(manifest["config"]))
    for layer, known in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        files = gzip.decompress(layout.read(layer))
        assert known == f"sha256:{hashlib.sha256(files).hexdigest()}", "the layer is another one"
        with tarfile.open(fileobj=io.BytesIO(files)) as archive:
            archive.extractall(folder, filter="fully_trusted")
    print(json.dumps(config["config"]))


def main() -> None:
    match sys.argv[1:]:
        case ["build", out, version, *programs] if programs:
            build(Path(out), version, programs)
        case ["unpack", out, architecture, folder]:
            unpack(Path(out), architecture, Path(folder))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
