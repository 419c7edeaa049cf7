"""Opened voices that a process keeps, so that the next job with one of them reads and builds nothing."""

from __future__ import annotations

import gc
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ml.converters.base import Voice
from ml.memory import available_bytes

SPARE_BYTES = 512 * 1024**2
"""Memory of the machine, or of the GPU in use, that keeping voices leaves free for work."""


@dataclass
class Counts:
    """What a cache did since it was made."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0


class VoiceCache:
    """The `size` voices used last (0: any number), fewer when memory is short; at least the one in use."""

    def __init__(self, size: int, free: Callable[[], int] | None = None) -> None:
        self.counts = Counts()
        self._size, self._free = size, free or free_bytes
        self._held: OrderedDict[str, Voice] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str, load: Callable[[], Voice]) -> Voice:
        """Return the voice known as `key`, by `load` if it is not here; what `load` raises keeps nothing."""
        if key in self._held:
            self.counts.hits += 1
            self._held.move_to_end(key)
            return self._held[key]
        self.counts.misses += 1
        while self._held and (0 < self._size <= len(self._held) or self._free() < SPARE_BYTES):
            self._evict()
        voice = self._held[key] = load()
        return voice

    def _evict(self) -> None:
        self._held.popitem(last=False)
        self.counts.evictions += 1
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def free_bytes() -> int:
    """Memory that can still be taken, in bytes: the GPU's once it is in use, else the machine's."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.mem_get_info()[0])
    return available_bytes()
