"""What the product asks of an object store beyond Django's interface of a storage. Imports nothing of S3: a site whose
files lie in a folder never loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

SIGNED_SECONDS = 300
"""How long a signed address begins anything; what has begun goes on."""
HEARD_SECONDS = 3600
"""The same for sound that is played in a page: a player asks the same address for every jump within the sound."""


class Changed(Exception):
    """The object is no longer the one that was looked at."""


@dataclass(frozen=True)
class SignedUpload:
    """Where a browser may PUT one object, and the headers that it must send with it."""

    url: str
    headers: dict[str, str]


@runtime_checkable
class ObjectStore(Protocol):
    """A storage that browsers can reach themselves, by addresses that it signs."""

    def reach(self) -> None:
        """Ask the store for the bucket itself; raises what the client raises when that is not to be had."""

    def sign_upload(self, name: str, *, size: int) -> SignedUpload:
        """Return where to put exactly ``size`` bytes under ``name``; the store refuses any other number."""

    def size_and_etag(self, name: str) -> tuple[int, str]:
        """Return the bytes of an object and what changes with them. Raises FileNotFoundError."""

    def fetch(self, name: str, path: Path, *, etag: str) -> None:
        """Write the object to ``path``. Raises Changed."""

    def copy(self, source: str, target: str, *, etag: str) -> None:
        """Copy an object within the store. Raises Changed."""
