"""Decoding of untrusted audio, always in a child process with limits on time, memory and what it writes.

`decode` is the parent's side. `python -m ml.decode` is the child: it reads a request as JSON on its standard
input, sets its own limits before it opens the file, decodes block by block, and answers on its standard output:
the description of the file with status 0, or one sentence for the user with status 3.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ml.errors import AudioError
from ml.probe import AUDIO_ERROR_STATUS, AudioInfo, Limits, run_limited
from ml.sniff import CONTAINERS, check_complete, container_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Block = npt.NDArray[np.float32]

LOWEST_RATE, HIGHEST_RATE = 8000, 192_000
SHORTEST_SECONDS = 0.2
SILENCE_PEAK = 1e-4  # -80 dBFS: below the noise of any microphone
LOUDEST_PEAK = 16.0  # float files may pass full scale a little; +24 dB is a broken export

_CODECS = {
    "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be",
    "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be",
    "flac", "alac", "mp3", "mp3float", "aac", "opus", "vorbis",
}  # fmt: skip


def decode(
    path: Path,
    out: Path,
    *,
    sample_rate: int | None = None,
    mono: bool = False,
    limits: Limits | None = None,
) -> AudioInfo:
    """Decodes the untrusted file `path` to `out` in a limited child process, in bounded memory.

    `out` becomes 24-bit FLAC when its name ends in `.flac`, else float WAV; it appears whole or not at all.
    `sample_rate` resamples (None keeps the file's), `mono` averages two channels. Returns what the *source* is,
    with its decoded length. Raises AudioError with one sentence for the user when the file is no audio, damaged,
    outside `limits`, silent, or costs too much to decode.
    """
    part = out.with_name(f".{out.name}.{os.getpid()}.part{out.suffix}")
    try:
        info = run_limited(path, part, limits=limits or Limits(), sample_rate=sample_rate, mono=mono)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return info


def _restrict(limits: Limits) -> None:
    """Binds this process: processor time, address space, file size; and it dies with its parent."""
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.out_bytes, limits.out_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write past the limit raises OSError instead
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class _Checks:
    """Watches the decoded blocks go by and refuses what is no usable sound."""

    def __init__(self, sample_rate: int, limits: Limits) -> None:
        self.sample_rate = sample_rate
        self.limits = limits
        self.samples = 0
        self.lowest = float("inf")
        self.highest = float("-inf")

    def add(self, block: Block) -> None:
        """Takes a block (channels, n)."""
        self.samples += block.shape[1]
        if self.samples > self.limits.seconds * self.sample_rate:
            raise AudioError(_too_long(None, self.limits))
        low, high = float(block.min(initial=0.0)), float(block.max(initial=0.0))
        if not (low == low and high == high and abs(low) != float("inf") and abs(high) != float("inf")):
            raise AudioError("The file holds values that are no numbers (NaN or infinity); export it again.")
        if max(-low, high) > LOUDEST_PEAK:
            raise AudioError("The sound is far above full scale; export it again at a normal level.")
        self.lowest, self.highest = min(self.lowest, low), max(self.highest, high)

    def finish(self, declared: float | None) -> float:
        """The decoded length in seconds, after all blocks."""
        duration = self.samples / self.sample_rate
        if self.samples == 0:
            raise AudioError("The file holds 0 samples of sound; record or export it again.")
        if declared is not None and duration < 0.9 * declared - 0.25:
            raise AudioError(
                f"The file says {declared:.1f} s but only {duration:.1f} s can be decoded; "
                "the upload or export broke off: send it again."
            )
        if duration < SHORTEST_SECONDS:
            raise AudioError(f"The sound lasts only {duration:.2f} s; send at least {SHORTEST_SECONDS} s.")
        if max(-self.lowest, self.highest) < SILENCE_PEAK:
            raise AudioError("The recording is silent from start to end; check the microphone and record again.")
        return duration


def _too_long(seconds: float | None, limits: Limits) -> str:
    length = f"lasts {seconds / 60:.0f} min" if seconds is not None else "is too long"
    return f"The sound {length}; at most {limits.seconds / 60:g} min are accepted, so split it."


def _check_stream(container: Any, stream: Any, limits: Limits) -> float | None:
    """Refuses by what the headers say; returns the length that they declare, in seconds."""
    codec = stream.codec_context
    if codec is None or codec.codec is None:
        raise AudioError("The sound is in a format that cannot be decoded; export it as WAV, FLAC or MP3.")
    if codec.codec_tag in ("drms", "enca", "aavd"):
        raise AudioError("The sound in this file is encrypted (DRM) and cannot be used; choose one without protection.")
    name, rate, channels = codec.codec.canonical_name, codec.sample_rate or 0, codec.layout.nb_channels
    if name in ("pcm_u8", "pcm_s8"):
        raise AudioError("8-bit sound is too coarse for a voice; export it with 16 bits or more.")
    if name not in _CODECS:
        raise AudioError(f"The sound is coded as {name}, which is not accepted; export it as WAV, FLAC or MP3.")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(
            f"The sample rate is {rate / 1000:g} kHz; export it with a rate from "
            f"{LOWEST_RATE // 1000} to {HIGHEST_RATE // 1000} kHz."
        )
    if channels not in (1, 2):
        raise AudioError(f"The file has {channels} channels; export it as mono or stereo.")
    declared = None
    if stream.duration is not None and stream.time_base is not None:
        declared = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        declared = container.duration / 1e6
    if declared is not None and declared > limits.seconds:
        raise AudioError(_too_long(declared, limits))
    return declared if name in _EXACT_LENGTH or container.format.name.startswith("mov") else None


# Where the declared length is a fact of the header and no estimate from the bit rate.
_EXACT_LENGTH = ("flac", "alac", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le")


def _audio_stream(container: Any) -> Any:
    for stream in container.streams.video:
        # Cover pictures are video streams too; FFmpeg marks them as attached pictures.
        if "attached_pic" not in str(stream.disposition):
            raise AudioError("This is a video; export its sound as WAV, FLAC or MP3.")
    if not container.streams.audio:
        raise AudioError("The file has no sound in it; choose another file.")
    return container.streams.audio[0]


def _blocks(container: Any, stream: Any) -> Iterator[Block]:
    """Yields the sound as float blocks (channels, n) in -1..1."""
    import av
    import numpy as np

    layout = "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=stream.codec_context.sample_rate)
    rate, damaged = stream.codec_context.sample_rate, 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            damaged += 1
            if damaged > 3:
                raise AudioError(_DAMAGED) from None
            continue
        for frame in frames:
            if frame.sample_rate != rate or frame.layout.nb_channels not in (1, 2):
                raise AudioError("The file changes its sample rate or channels midway; export it again.")
            frame.pts = None
            for plain in resampler.resample(frame):
                yield np.ascontiguousarray(plain.to_ndarray(), dtype=np.float32)


_DAMAGED = "The file is damaged and cannot be decoded; export it again or send another copy."


def _scan(file: BinaryIO, size: int, limits: Limits, sink: _Sink | None) -> AudioInfo:
    """Decodes an open file from end to end into `sink`; raises AudioError."""
    import av

    av.logging.set_level(av.logging.PANIC)
    name = container_of(file, size)
    check_complete(file, size, name)
    file.seek(0)
    options = {"format_whitelist": CONTAINERS[name] + ",mov,mp4,m4a", "protocol_whitelist": "pipe"}
    try:
        with av.open(file, mode="r", format=CONTAINERS[name], container_options=options) as container:
            stream = _audio_stream(container)
            declared = _check_stream(container, stream, limits)
            codec = stream.codec_context
            checks = _Checks(codec.sample_rate, limits)
            for block in _blocks(container, stream):
                checks.add(block)
                if sink is not None:
                    sink.write(block, codec.sample_rate)
            duration = checks.finish(declared)
            canonical, rate, channels = (
                codec.codec.canonical_name,
                codec.sample_rate,
                codec.layout.nb_channels,
            )
    except av.error.MemoryError:
        raise MemoryError from None
    except av.error.FFmpegError:
        raise AudioError(_DAMAGED) from None
    return AudioInfo(name, canonical, duration, rate, channels)


class _Sink:
    """Writes blocks to a sound file, resampled and mixed down as asked; opened at the first block."""

    def __init__(self, out: Path, sample_rate: int | None, mono: bool) -> None:
        self.out, self.sample_rate, self.mono = out, sample_rate, mono
        self.file: Any = None
        self.resampler: Any = None

    def write(self, block: Block, rate: int) -> None:
        """Takes a block (channels, n) at `rate` hertz."""
        samples = block.mean(axis=0, keepdims=True) if self.mono else block
        if self.file is None:
            self._open(rate, samples.shape[0])
        self._put(samples.T, last=False)

    def _open(self, rate: int, channels: int) -> None:
        import soxr

        from ml import whole

        wanted = self.sample_rate or rate
        if wanted != rate:
            self.resampler = soxr.ResampleStream(rate, wanted, channels, dtype="float32")
        flac = self.out.suffix == ".flac"
        self.file = whole.Writer(
            self.out,
            "w",
            samplerate=wanted,
            channels=channels,
            format="FLAC" if flac else "WAV",
            subtype="PCM_24" if flac else "FLOAT",
        )

    def _put(self, frames: Block, last: bool) -> None:
        if self.resampler is not None:
            import numpy as np

            frames = self.resampler.resample_chunk(np.ascontiguousarray(frames), last=last)
        self.file.write(frames)

    def close(self) -> None:
        """Flushes the resampler and the file."""
        import numpy as np

        from ml import whole

        if self.file is not None:
            self._put(np.zeros((0, self.file.channels), np.float32), last=True)
            self.file.close()
            whole.require(self.out, self.file.written)


def _child() -> int:
    request = json.load(sys.stdin)
    limits = Limits(**request["limits"])
    # Before the limits, so that all of them is for the file.
    for library in ("av", "numpy", *(("soundfile", "soxr") if request["out"] else ())):
        import_module(library)
    _restrict(limits)
    sink = _Sink(Path(request["out"]), request["sample_rate"], request["mono"]) if request["out"] else None
    try:
        descriptor = os.open(request["path"], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            info = _scan(file, os.fstat(descriptor).st_size, limits, sink)
        if sink is not None:
            sink.close()
    except AudioError as error:
        sys.stdout.write(str(error))
        return AUDIO_ERROR_STATUS
    json.dump(asdict(info), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(_child())
