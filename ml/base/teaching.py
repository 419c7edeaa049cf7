"""What the teacher hears in the corpus, in the terms of our content encoder, kept for `train content` to learn from.

The teacher is a speech recogniser (`ml/recogniser.py`). A *bridge* is trained to tell from its layers what our encoder,
as it is so far, says of the same recording. What of that the recogniser knows nothing of cannot be told: errors in
phones and most of who speaks, for it learnt to write down words whoever says them. What the bridge says is our content
without them, and the decoder understands it at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.base.corpus import read_manifest
from ml.base.loop import Run, adamw, cosine, descend, load_part, run
from ml.base.prepare import Item, load_pack
from ml.base.sampling import Piece, analysed, split_corpus
from ml.base.teacher import bundled, read_weights
from ml.config import ANALYSIS_RATE, ModelConfig
from ml.content import ContentEncoder
from ml.convnext import fast_precision
from ml.device import on_device, to_array
from ml.recogniser import Bridge, Hearing, packed, unpacked

LESSONS = "lessons.npy"
STEPS, BATCH, FRAMES, RATE = 1200, 16, 128, 2e-3
_READERS, _LEARNERS, _SECONDS = 700, 700, 8
"""How many utterances of native readers and of speechocean762 the bridge learns from, and of how much of each."""


class Lessons:
    """The teacher's content of every packed utterance.

    Raises FileNotFoundError before `teach` has run, ValueError when it ran on another corpus.
    """

    def __init__(self, data: Path, work: Path) -> None:
        self._rows = np.load(work / LESSONS, mmap_mode="r")
        paths = [utterance.path for utterance in read_manifest(data)]
        ends = np.cumsum([len(item.f0) for item in load_pack(data, work)])
        if ends[-1] != len(self._rows):
            raise ValueError(f"{work / LESSONS} is of another corpus; run `teach` again.")
        self._starts = dict(zip(paths, [0, *ends[:-1].tolist()], strict=True))

    def of(self, piece: Piece) -> NDArray[np.float32]:
        """(T, dimensions): the teacher's content of the frames that the piece was cut from."""
        found: NDArray[np.float32] = self.whole(piece.item)[piece.source.clip(0)]
        return found

    def whole(self, item: Item) -> NDArray[np.float32]:
        """(frames, dimensions): the teacher's content of an utterance."""
        start = self._starts[item.utterance.path]
        return np.asarray(self._rows[start : start + len(item.f0)], np.float32)


def teach(data: Path, work: Path, report: Callable[[float, str], None], steps: int = STEPS, seed: int = 1) -> None:
    """Trains the bridge on `work`'s content encoder, then writes the teacher's content of every packed utterance.

    Raises EngineError where the teacher's package is not installed.
    """
    config = ModelConfig()
    hearing, encoder = Hearing(config).eval(), ContentEncoder(config).eval()
    hearing.recogniser.load_state_dict(recogniser_weights())
    load_part(work, "content", "encoder", encoder)
    pairs = _pairs(_examples(split_corpus(data, work)[0], seed), hearing, encoder, report)
    train_bridge(hearing.bridge, pairs, work, steps, seed)
    _write(hearing, load_pack(data, work), work / LESSONS, report)


def recogniser_weights() -> dict[str, Tensor]:
    """What `Recogniser` is filled with, as it is when it was stored. Raises EngineError as `teach` does."""
    return {name: value.float() for name, value in unpacked(packed(*read_weights(bundled()))).items()}


def train_bridge(bridge: Bridge, pairs: Sequence[tuple[Tensor, Tensor]], work: Path, steps: int, seed: int) -> None:
    """To `steps`, resuming `work/bridge.state`, on pairs of what the teacher hears and what our encoder says of it."""
    long = [pair for pair in pairs if len(pair[0]) > FRAMES]
    optimiser = adamw(bridge, RATE)

    def step(index: int) -> dict[str, Tensor]:
        generator = np.random.default_rng([seed, index])
        rows = [long[which] for which in generator.integers(0, len(long), BATCH)]
        starts = [int(generator.integers(0, len(heard) - FRAMES)) for heard, _ in rows]
        heard, said = (
            torch.stack([row[part][start : start + FRAMES] for row, start in zip(rows, starts, strict=True)])
            for part in (0, 1)
        )
        distance = 1 - nn.functional.cosine_similarity(bridge(heard.float()), said.float(), dim=-1).mean()
        descend(distance, bridge, optimiser, RATE * cosine(index, steps))
        return {"distance": distance.detach()}

    run(Run("bridge", work, steps, seed, {"bridge": bridge, "optimiser": optimiser}), step)


def _examples(items: Sequence[Item], seed: int) -> list[Item]:
    learners = [item for item in items if item.utterance.corpus == "speechocean762"]
    readers = [item for item in items if item.utterance.corpus != "speechocean762"]
    generator = np.random.default_rng(seed)
    return [
        group[which]
        for group, count in ((readers, _READERS), (learners, _LEARNERS))
        for which in generator.permutation(len(group))[:count]
    ]


@torch.no_grad()
def _pairs(
    items: Sequence[Item], hearing: Hearing, encoder: ContentEncoder, report: Callable[[float, str], None]
) -> list[tuple[Tensor, Tensor]]:
    found = []
    for index, item in enumerate(items):
        samples = analysed(item)[: _SECONDS * ANALYSIS_RATE]
        sound = on_device(samples)[None]
        said = encoder.encode(sound)[0]
        with fast_precision():
            heard = hearing.heard(sound, len(said))[0]
        found.append((heard.half(), said.half()))
        report(0.2 * (index + 1) / len(items), "listening with the teacher")
    return found


@torch.no_grad()
def _write(hearing: Hearing, items: Sequence[Item], path: Path, report: Callable[[float, str], None]) -> None:
    total, done = sum(len(item.f0) for item in items), 0
    temporary = path.with_suffix(".tmp.npy")
    rows = np.lib.format.open_memmap(temporary, "w+", np.float16, (total, hearing.bridge.leave.out_features))
    for item in items:
        content = hearing.encode(on_device(analysed(item))[None], len(item.f0))[0]
        rows[done : done + len(item.f0)] = to_array(content)
        done += len(item.f0)
        report(0.2 + 0.8 * done / total, "listening with the teacher")
    rows.flush()
    del rows
    os.replace(temporary, path)
