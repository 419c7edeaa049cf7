"""The engine as the rest of the product sees it: slice, preflight, train, instant, convert.

Everything heavy is imported when it is first needed, so building an `Engine` is cheap.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.catalog import CONVERTERS
from ml.converters.base import (
    Checkpoint,
    Converter,
    ConvertOptions,
    ConvertResult,
    Report,
    Samples,
    TrainOptions,
    TrainResult,
    Voice,
)
from ml.converters.streaming import StreamOptions
from ml.errors import AudioError, Cancelled, EngineError, WeightsError

if TYPE_CHECKING:
    from ml.preflight import Preflight
    from ml.stream import Stream
    from ml.takes import TakeInfo
    from ml.voicecache import VoiceCache

__all__ = [
    "AudioError",
    "Cancelled",
    "Checkpoint",
    "ConvertOptions",
    "ConvertResult",
    "Engine",
    "EngineError",
    "Report",
    "StreamOptions",
    "TrainOptions",
    "TrainResult",
    "WeightsError",
    "silent",
]

_SAMPLE_SECONDS = 5.0


def silent(fraction: float, stage: str) -> None:
    """A report that nobody reads."""


class Engine:
    """One converter with all that is around it. Safe to keep for the life of a process; not for two threads at once.

    `converter` is a key of `ml.catalog.CONVERTERS` (KeyError otherwise). `threads` bounds the processor threads of the
    whole process; None takes OMP_NUM_THREADS, which a worker sets, or else two, or one where there is only one core.
    `device` is "auto", "cpu" or "cuda", for the whole process too; "auto" takes a GPU when there is one. `voices` is
    how many opened voices are kept (0: as many as memory holds), see `voice`.
    """

    def __init__(
        self, *, converter: str = "native", threads: int | None = None, device: str = "auto", voices: int = 1
    ) -> None:
        self._entry, self._device, self._voices = CONVERTERS[converter], device, voices
        self._threads = (
            threads or int((os.environ.get("OMP_NUM_THREADS") or "0").split(",")[0]) or min(2, os.cpu_count() or 1)
        )

    @cached_property
    def _converter(self) -> Converter:
        # Spinning OpenMP threads cost up to ten times the time on a shared machine; must be set before torch loads.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
        import torch

        from ml import device
        from ml.convnext import fast_dtype

        torch.set_num_threads(self._threads)
        device.choose(self._device)
        fast_dtype()  # timed here, before pieces of a sound share the cores
        converter: Converter = self._entry.load()()
        return converter

    @cached_property
    def cache(self) -> VoiceCache:
        """The opened voices that are kept, and how often that helped."""
        from ml.voicecache import VoiceCache

        return VoiceCache(self._voices)

    def voice(self, key: str, fetch: Callable[[], Path]) -> Voice:
        """Returns the voice known as `key`, which must name the file's content (its sha256), opened and kept.

        `fetch` is asked for the file only where it is not kept. Raises WeightsError for a bad voice file.
        """
        return self.cache.get(key, lambda: self._converter.open(fetch()))

    def warm(self) -> None:
        """Loads weights and runs every network once, so that the first job is as quick as the next."""
        self._converter.warm()

    @property
    def same_speaker(self) -> float:
        """Cosine of two takes' `speaker` vectors above which they are taken for the same speaker."""
        return self._converter.same_speaker

    def slice(self, source: Path, out_dir: Path, *, report: Report = silent) -> list[TakeInfo]:
        """Cuts a decoded recording into graded takes in `out_dir`. Raises AudioError when there is no voice in it."""
        from ml.takes import slice_recording

        return slice_recording(source, out_dir, embed=self._converter.embed, report=report)

    def preflight(self, takes: Sequence[TakeInfo | Mapping[str, Any]]) -> Preflight:
        """What `takes` (TakeInfo, or mappings with its fields) promise before anything is charged."""
        from ml.preflight import preflight

        return preflight(takes, same_speaker=self._converter.same_speaker)

    def train(
        self,
        takes: Sequence[Path],
        out: Path,
        *,
        options: TrainOptions | None = None,
        workdir: Path,
        report: Report = silent,
        on_checkpoint: Callable[[Checkpoint], None] | None = None,
        on_note: Callable[[str], None] | None = None,
        on_estimate: Callable[[float], None] | None = None,
    ) -> TrainResult:
        """Trains a voice from `takes` (mono WAV or FLAC) and writes the voice file `out`.

        `workdir` holds checkpoints; a later call with the same takes, options and `workdir` goes on from the last one.
        `on_note` hears in a sentence of what did not go as planned, `on_estimate` of the seconds that are left.
        Raises AudioError for takes that hold no voice or too little, EngineError for an option out of range,
        MemoryShortage when not even the smallest step fits into memory, Cancelled from `report`.
        """
        from ml import training

        chosen = options or TrainOptions()
        training.check(chosen)
        lesson = self._converter.lesson(takes, chosen)
        return training.run(
            lesson,
            out,
            takes=takes,
            options=chosen,
            workdir=workdir,
            sampler=lambda voice, told: self._sample(voice, takes[-1], told),
            report=report,
            listener=training.Listener(on_checkpoint, on_note, on_estimate),
        )

    def instant(self, takes: Sequence[Path], out: Path, *, report: Report = silent) -> TrainResult:
        """Makes a voice without training, in seconds: less alike than a trained one. Raises as `train` does."""
        started = time.monotonic()
        metrics = self._converter.instant(takes, out, report)
        report(1.0, "Done")
        sha256 = hashlib.sha256(out.read_bytes()).hexdigest()
        return TrainResult(out, metrics, [], time.monotonic() - started, 0, [], sha256)

    def convert(
        self,
        voice: Path | Voice,
        source: Path,
        out: Path,
        *,
        options: ConvertOptions | None = None,
        report: Report = silent,
    ) -> ConvertResult:
        """Converts a decoded `source` (WAV or FLAC, mono or stereo, any length) into `voice` and writes `out`.

        `voice` is a voice file, or one that `Engine.voice` opened.

        The result has exactly round(n * rate / source rate) samples per channel (in the lossless formats), silence
        stays silence. Raises WeightsError for a bad voice file, AudioError for a bad source, EngineError for an
        option out of range, Cancelled from `report`.
        """
        from ml import conversion

        opened = self._converter.open(voice) if isinstance(voice, Path) else voice
        return conversion.convert(
            opened,
            source,
            out,
            options=options or ConvertOptions(),
            clean=self._converter.clean,
            embed=self._converter.embed,
            report=report,
        )

    def stream(self, voice: Path, rate: int, *, options: StreamOptions | None = None) -> Stream:
        """Opens `voice` for sound at `rate` hertz (16000 to 48000) in real time; see `ml.stream.Stream`.

        Several streams of one engine know nothing of each other. Raises WeightsError for a bad voice file, EngineError
        for a rate or an option out of range.
        """
        from ml.stream import Stream

        return Stream(self._converter.open(voice), rate, options)

    def _sample(self, voice: Path, take: Path, report: Report) -> tuple[Samples, int]:
        """The first seconds of a take, through the voice and back: what a checkpoint sounds like."""
        from tempfile import TemporaryDirectory

        from ml.audio import load, save

        with TemporaryDirectory(dir=voice.parent, prefix=".sample-") as folder:
            source, made = Path(folder) / "source.wav", Path(folder) / "made.wav"
            samples, rate = load(take)
            save(source, samples[: int(_SAMPLE_SECONDS * rate)], rate)
            self.convert(voice, source, made, options=ConvertOptions(pitch=0.0), report=report)
            return load(made)
