"""Checkpoints of one training in generations: the newest and those before it, each known by the SHA-256 in its name.

`state-000007-<sha256>.safetensors` is the seventh file that was saved, and `state.newest` names the last one, so that a
flipped bit, a cut file and a missing one are all noticed when the training goes on: it then takes the one before.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ml import checkpoint
from ml.errors import WeightsError

log = logging.getLogger(__name__)
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Found:
    """The newest generation that is whole, or none (`tensors` is empty), and the names of newer ones that are not."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.tensors)


class Generations:
    """The files of one `kind` in a folder, of which `keep` are kept. Only one process may write them at a time."""

    def __init__(self, folder: Path, kind: str, *, keep: int) -> None:
        self.folder, self.kind, self.keep = folder, kind, keep
        self._names = re.compile(rf"{re.escape(kind)}-(\d{{6,}})-([0-9a-f]{{64}})\.safetensors")
        for left in folder.glob(f".{kind}*.tmp"):  # what a killed process was writing
            left.unlink()

    def save(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Path:
        """Writes a new generation, whole or not at all, then removes the oldest.

        On a full disk the one before the newest makes room. Raises OSError when that does not help: the newest is
        still there.
        """
        earlier = self._all()
        number = self._number(earlier[-1]) + 1 if earlier else 1
        try:
            path = self._write(number, tensors, metadata)
        except OSError as error:
            if error.errno not in _FULL or len(earlier) < 2:
                raise
            log.warning("no room for another %s in %s: the older generation goes", self.kind, self.folder)
            for old in earlier[:-1]:
                old.unlink()
            path = self._write(number, tensors, metadata)
        for old in self._all()[: -self.keep]:
            old.unlink()
        return path

    def newest(self) -> Found:
        """Returns the newest generation that is whole. Damaged ones are logged."""
        damaged: list[str] = []
        paths = self._all()
        last = self._last_named()
        if last is not None and (not paths or self._number(self.folder / last) > self._number(paths[-1])):
            log.error("checkpoint %s is missing from %s", last, self.folder)
            damaged.append(last)
        for path in reversed(paths):
            try:
                tensors, metadata = self._read(path)
            except WeightsError as error:
                log.error("checkpoint %s is damaged: %s", path, error)
                damaged.append(path.name)
                continue
            return Found(tensors, metadata, damaged)
        return Found(damaged=damaged)

    def forget(self, names: list[str]) -> None:
        """Removes generations that `newest` found damaged, so that they are neither met nor kept again."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        if names:
            left = self._all()
            self._name_last(left[-1].name if left else "")

    def _read(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        match = self._names.fullmatch(path.name)
        return checkpoint.load_verified(path, match[2] if match else "")

    def _write(self, number: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Path:
        path = checkpoint.save_named(
            self.folder, lambda digest: f"{self.kind}-{number:06d}-{digest}.safetensors", tensors, metadata
        )
        self._name_last(path.name)
        return path

    def _name_last(self, name: str) -> None:
        note = self.folder / f".{self.kind}.newest.tmp"
        try:
            note.write_text(f"{name} {_sum(name)}", encoding="ascii")
            note.replace(self.folder / f"{self.kind}.newest")
        finally:
            note.unlink(missing_ok=True)

    def _last_named(self) -> str | None:
        """The name in `<kind>.newest`; None when there is none, or none that could be one (it is only a hint)."""
        try:
            name, _, told = (self.folder / f"{self.kind}.newest").read_text(encoding="ascii").partition(" ")
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return name if self._names.fullmatch(name) and told == _sum(name) else None

    def _number(self, path: Path) -> int:
        match = self._names.fullmatch(path.name)
        return int(match[1]) if match else 0

    def _all(self) -> list[Path]:
        """Every generation there is, the oldest first."""
        names = [name for name in os.listdir(self.folder) if self._names.fullmatch(name)]
        return sorted((self.folder / name for name in names), key=self._number)


def _sum(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]
