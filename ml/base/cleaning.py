"""The corpus as the enhancer leaves it: what the decoder is to rebuild, and so what voices will sound like."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ml.audio import atomic, frame_levels
from ml.base.prepare import Item
from ml.enhancement import Enhancer, enhanced, loud_power

STRENGTH = 1.0


def cleaned(items: Sequence[Item], enhancer: Enhancer, work: Path) -> list[Item]:
    """`items` with their noise and room taken out, as far as the enhancer hears them.

    Made once for these items and weights: kept in `work/cleaned-MARK.npy`, 2 bytes a sample.
    """
    path = work / f"cleaned-{_mark(items, enhancer)}.npy"
    if not path.exists():
        found = np.concatenate([_without_noise(item, enhancer) for item in items])
        with atomic(path) as part, part.open("wb") as stream:
            np.save(stream, found)
    samples = np.split(np.load(path), np.cumsum([len(item.samples) for item in items])[:-1])
    return [replace(item, samples=own) for item, own in zip(items, samples, strict=True)]


def _without_noise(item: Item, enhancer: Enhancer) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    samples = item.floats()
    loud = loud_power(frame_levels(samples, item.rate))
    clean = enhanced(enhancer, samples, item.rate, STRENGTH, loud)
    return (np.clip(clean, -1, 1) * 32767).astype(np.int16)


def _mark(items: Sequence[Item], enhancer: Enhancer) -> str:
    digest = hashlib.sha256(f"{STRENGTH}".encode())
    for item in items:
        digest.update(f"{item.utterance.path} {len(item.samples)}".encode())
    for value in enhancer.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:16]
