from __future__ import annotations

import hashlib
import re
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "static" / "vendor"


def listed() -> dict[str, tuple[str, str]]:
    rows = re.findall(
        r"^\| (\S+) \| \S+ \| \S+ \| ([^|]+) \| ([0-9a-f]{64}) \|$", (VENDOR / "README.md").read_text(), re.M
    )
    return {name: (licence, digest) for name, licence, digest in rows}


def test_every_vendored_file_is_listed_and_unchanged() -> None:
    present = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path != VENDOR / "README.md"
    }
    assert present
    assert present == {name: digest for name, (_, digest) in listed().items()}


def test_every_vendored_package_carries_its_licence() -> None:
    folders = {path for path in VENDOR.iterdir() if path.is_dir()}
    assert folders
    assert [folder.name for folder in folders if not (folder / "LICENSE").is_file()] == []
