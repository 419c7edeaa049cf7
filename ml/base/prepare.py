"""Packs the corpus for training: samples, pitch and phone labels in flat files, resumable shard by shard.

Samples are there twice: as recorded, for the networks that listen, and with less noise, for those that learn how a
voice is to sound.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml import f0
from ml.activity import pauses
from ml.audio import Samples, frame_levels
from ml.base.corpus import Utterance, held_out_speakers, read_audio, read_manifest
from ml.base.denoising import Denoiser
from ml.base.labels import UNLABELLED, Aligner

SHARD = 200
SILENCE_MARGIN = 20
DENOISE = 0.7


@dataclass(frozen=True)
class Item:
    """Where one packed utterance lies: samples in its shard's `.pcm`, frames in its `.npz`."""

    utterance: Utterance
    rate: int
    samples: NDArray[np.int16]
    f0: NDArray[np.float32]
    labels: NDArray[np.int8]

    def floats(self) -> NDArray[np.float32]:
        """The samples in -1..1."""
        return (self.samples / np.float32(32767)).astype(np.float32)


def prepare(root: Path, work: Path, workers: int, report: Callable[[float, str], None]) -> None:
    """Writes `work/pack/NNNN.npz` for every SHARD utterances of `root`; existing shards are kept."""
    pack = work / "pack"
    pack.mkdir(parents=True, exist_ok=True)
    utterances = read_manifest(root)
    shards = [utterances[start : start + SHARD] for start in range(0, len(utterances), SHARD)]
    wanted = [(index, shard) for index, shard in enumerate(shards) if not _shard_path(pack, index).exists()]
    done = len(shards) - len(wanted)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(_pack_shard, root, _shard_path(pack, index), shard) for index, shard in wanted]
        for run in runs:
            run.result()
            done += 1
            report(done / len(shards), "packing the corpus")
    split = {"held_out": held_out_speakers(utterances)}
    (work / "split.json").write_text(json.dumps(split, indent=1), encoding="utf-8")


def load_pack(root: Path, work: Path, samples: str = "samples") -> list[Item]:
    """Every packed utterance, in the manifest's order: as recorded, or with `samples` = "clean" with less noise.

    Raises FileNotFoundError before `prepare` has run.
    """
    utterances = read_manifest(root)
    items: list[Item] = []
    for index in range(0, (len(utterances) + SHARD - 1) // SHARD):
        with np.load(_shard_path(work / "pack", index)) as shard:
            items.extend(_unpack(shard, samples, utterances[index * SHARD : (index + 1) * SHARD]))
    return items


def _shard_path(pack: Path, index: int) -> Path:
    return pack / f"{index:04d}.npz"


def _pack_shard(root: Path, path: Path, utterances: Sequence[Utterance]) -> None:
    aligner = Aligner()
    names = ("samples", "clean", "f0", "labels", "rate", "counts", "frames")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    denoisers: dict[tuple[str, int], Denoiser] = {}
    for utterance in utterances:
        samples, rate = read_audio(root / utterance.path)
        track = f0.extract(samples, rate).f0
        labels = aligner.align(samples, rate, utterance.transcript) if utterance.language == "en" else None
        denoiser = denoisers.setdefault((utterance.speaker, rate), Denoiser(rate, DENOISE))
        columns["samples"].append(_integers(samples))
        columns["clean"].append(_integers(denoised(samples, rate, track, denoiser)))
        columns["f0"].append(track.astype(np.float16))
        columns["labels"].append(np.full(len(track), UNLABELLED, np.int8) if labels is None else labels)
        columns["rate"].append(rate)
        columns["counts"].append(len(samples))
        columns["frames"].append(len(track))
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        np.savez(
            stream,
            samples=np.concatenate(columns["samples"]),
            clean=np.concatenate(columns["clean"]),
            f0=np.concatenate(columns["f0"]),
            labels=np.concatenate(columns["labels"]),
            rate=np.array(columns["rate"]),
            counts=np.array(columns["counts"]),
            frames=np.array(columns["frames"]),
        )
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _integers(samples: Samples) -> NDArray[np.int16]:
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16)


def denoised(samples: Samples, rate: int, track: NDArray[np.float32], denoiser: Denoiser) -> Samples:
    """`samples` (N,) at `rate` with less of the noise of their pauses, or of those of the speaker's last utterance.

    What the decoder rebuilds is what voices will sound like: it is not to learn rooms and hiss.
    """
    return denoiser(samples, pauses(track, frame_levels(samples, rate)[: len(track)]))


def _unpack(shard: Any, name: str, utterances: Sequence[Utterance]) -> list[Item]:
    sample_ends, frame_ends = np.cumsum(shard["counts"]), np.cumsum(shard["frames"])
    samples = np.split(shard[name], sample_ends[:-1])
    tracks = np.split(shard["f0"].astype(np.float32), frame_ends[:-1])
    labels = np.split(shard["labels"], frame_ends[:-1])
    rates = [int(rate) for rate in shard["rate"]]
    rows = zip(utterances, rates, samples, tracks, labels, strict=True)
    return [Item(*row) for row in rows]
