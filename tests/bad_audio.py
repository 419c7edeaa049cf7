"""Files that are no usable sound, each made on the spot: the name for the upload -> what it is.

`BAD_FILES[name].write(path)` puts the bytes at `path`; `BAD_FILES[name].says` is a part of the one sentence that the
user must read. Used by the engine's tests and by those of uploads.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import wave
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 16_000


@dataclass(frozen=True)
class BadFile:
    """What writes a bad file, and a part of the sentence that it must be answered with."""

    content: Callable[[], bytes]
    says: str

    def write(self, path: Path) -> None:
        """Puts the file at `path`."""
        path.write_bytes(self.content())


def tone(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """A gliding tone with noise at -12 dBFS: usable sound for any format."""
    times = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(1).standard_normal(len(times)) * 0.01
    return (0.25 * np.sin(2 * np.pi * (150 + 20 * times) * times) + noise).astype(np.float32)


def wav(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", container: str = "WAV") -> bytes:
    """`samples` (n,) or (n, channels) as the bytes of a sound file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=subtype, format=container)
    return file.getvalue()


@lru_cache
def encoded(container: str, codec: str, rate: int = 48_000) -> bytes:
    """Two seconds of tone through one of FFmpeg's encoders."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.layout = "mono"
        resampler = av.AudioResampler(format=stream.codec_context.codec.audio_formats[0], layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(tone(2.0, rate)[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        for ready in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(ready))
    return file.getvalue()


@lru_cache
def video() -> bytes:
    """Half a second of grey pictures as an MP4 file."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 128, np.uint8), format="rgb24")))
        output.mux(stream.encode(None))
    return file.getvalue()


def eight_bit() -> bytes:
    """An 8-bit WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 1, RATE, 0, "NONE", ""))
        out.writeframes(bytes((tone() * 100 + 128).astype(np.uint8)))
    return file.getvalue()


def header_only(rate: int, channels: int, bits: int = 16) -> bytes:
    """A WAV of a second of noise with any rate and number of channels."""
    body = np.random.default_rng(2).integers(-9000, 9000, rate * channels // 10, np.int16).tobytes()
    body = body[: len(body) // (2 * channels) * 2 * channels]
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block, block, bits)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", len(body)) + body
    )  # fmt: skip


def long_flac() -> bytes:
    """A short FLAC whose header declares ten hours."""
    data = bytearray(wav(tone(), container="FLAC"))
    samples = 10 * 3600 * RATE
    data[21] = (data[21] & 0xF0) | (samples >> 32)
    data[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
    return bytes(data)


def silence_bomb() -> bytes:
    """More than an hour of silence in 3 MB: one silent MPEG frame again and again, and no header that says so."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3", options={"write_xing": "0"}) as output:
        stream = output.add_stream("libmp3lame", rate=8000)
        stream.layout, stream.bit_rate = "mono", 8000
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), format="s16p", layout="mono")
        frame.sample_rate = 8000
        output.mux([*stream.encode(frame), *stream.encode(None)])
    data = file.getvalue()
    start = data.index(b"\xff\xe3")
    one = data[start : data.index(b"\xff\xe3", start + 4)]
    return one * (3900 * 8000 // 576)


@lru_cache
def long_flac_of_silence() -> bytes:
    """Seventy minutes of digital silence as a real FLAC: 45 MB of sound in well under a megabyte."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8000, 1, "PCM_16", format="FLAC") as out:
        for _ in range(70):
            out.write(np.zeros(60 * 8000, np.int16))
    return file.getvalue()


def headless_flac_of_silence() -> bytes:
    """The same, but its header says that the length is unknown."""
    data = bytearray(long_flac_of_silence())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return bytes(data)


def tag(claimed: int) -> bytes:
    """The head of an ID3v2 tag that claims a length."""
    return b"ID3\x04\x00\x00" + bytes((claimed >> shift) & 0x7F for shift in (21, 14, 7, 0))


def zipped() -> bytes:
    """A ZIP archive with a sound file inside."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("voice.wav", wav(tone()))
    return file.getvalue()


def _replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


def _noise(count: int = 4000) -> bytes:
    return np.random.default_rng(3).integers(0, 256, count, np.uint8).tobytes()


def _loud(value: float) -> bytes:
    samples = tone()
    samples[100] = value
    return wav(samples, subtype="FLOAT")


def _riff(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + kind + body


BAD_FILES: dict[str, BadFile] = {
    "empty.wav": BadFile(lambda: b"", "is empty"),
    "one byte.wav": BadFile(lambda: b"R", "too short to hold"),
    "zeros.wav": BadFile(lambda: bytes(5000), "only zero bytes"),
    "random.mp3": BadFile(lambda: b"\x01" + _noise(), "no audio file that can be read"),
    "page.mp3": BadFile(lambda: b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "data.wav": BadFile(lambda: json.dumps({"error": "not found"}).encode(), "JSON"),
    "notes.wav": BadFile(lambda: b"These are only words, written in a plain file.\n" * 9, "text file"),
    "secret.pdf": BadFile(lambda: b"%PDF-1.7\n1 0 obj <</Encrypt 2 0 R>> endobj" + _noise(), "PDF"),
    "voices.zip": BadFile(zipped, "ZIP"),
    "nothing.zip": BadFile(lambda: b"PK\x05\x06" + bytes(18), "empty ZIP"),
    "voices.rar": BadFile(lambda: b"Rar!\x1a\x07\x01\x00" + _noise(), "RAR"),
    "voices.7z": BadFile(lambda: b"7z\xbc\xaf\x27\x1c" + _noise(), "7z"),
    "voice.wav.gz": BadFile(lambda: gzip.compress(wav(tone())), "gzip"),
    "voice.wav.bz2": BadFile(lambda: bz2.compress(wav(tone())), "bzip2"),
    "voice.wav.xz": BadFile(lambda: lzma.compress(wav(tone(0.3))), "xz archive"),
    "picture.png": BadFile(lambda: b"\x89PNG\r\n\x1a\n" + _noise(), "PNG"),
    "picture.m4a": BadFile(lambda: b"\xff\xd8\xff\xe0\x00\x10JFIF" + _noise(), "JPEG"),
    "picture.gif": BadFile(lambda: b"GIF89a" + _noise(), "GIF"),
    "picture.bmp": BadFile(lambda: b"BM" + _noise(), "bitmap"),
    "picture.heic": BadFile(lambda: b"\x00\x00\x00\x18ftypheic" + _noise(), "HEIC"),
    "program.wav": BadFile(lambda: b"\x7fELF\x02\x01\x01" + _noise(), "program"),
    "program.exe": BadFile(lambda: b"MZ\x90\x00" + _noise(), "Windows program"),
    "script.mp3": BadFile(lambda: b"#!/bin/sh\nrm -rf /\n", "script"),
    "model.wav": BadFile(lambda: pickle.dumps({"weights": [1.0] * 50}, protocol=4), "pickle"),
    "store.wav": BadFile(lambda: b"SQLite format 3\x00" + _noise(), "database"),
    "song.mid": BadFile(lambda: b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x01\xe0" + _noise(), "MIDI"),
    "list.m3u8": BadFile(lambda: b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", "playlist"),
    "voice.wma": BadFile(lambda: b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + _noise(), "Windows Media"),
    "voice.amr": BadFile(lambda: b"#!AMR\n" + _noise(), "AMR"),
    "voice.caf": BadFile(lambda: b"caff\x00\x01\x00\x00" + _noise(), "CAF"),
    "voice.au": BadFile(lambda: wav(tone(), container="AU"), "AU files"),
    "film.avi": BadFile(lambda: _riff(b"AVI ", _noise()), "AVI video"),
    "film.mpg": BadFile(lambda: b"\x00\x00\x01\xba" + _noise(), "MPEG video"),
    "film.flv": BadFile(lambda: b"FLV\x01\x05" + _noise(), "Flash"),
    "film.mp4": BadFile(video, "This is a video"),
    "bought.m4p": BadFile(lambda: _replaced(encoded("ipod", "aac"), b"ftypM4A ", b"ftypM4P "), "copy-protected (DRM)"),
    "bought.m4a": BadFile(lambda: _replaced(encoded("ipod", "aac"), b"mp4a", b"drms"), "encrypted (DRM)"),
    "cut.wav": BadFile(lambda: wav(tone())[:20_000], "end of this WAV file is missing"),
    "cut.aiff": BadFile(lambda: wav(tone(), container="AIFF")[:20_000], "end of this AIFF file is missing"),
    "cut.flac": BadFile(lambda: (data := wav(tone(), container="FLAC"))[: len(data) // 2], "can be decoded"),
    "cut.m4a": BadFile(lambda: encoded("ipod", "aac")[:9000], "index of this M4A file is missing"),
    "cut.ogg": BadFile(lambda: encoded("ogg", "libopus")[:-900], "end of this Ogg file is missing"),
    "no data.wav": BadFile(
        lambda: _riff(b"WAVE", b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)), "no sound data"
    ),
    "no samples.wav": BadFile(lambda: wav(np.zeros(0, np.float32)), "0 samples"),
    "nan.wav": BadFile(lambda: _loud(float("nan")), "NaN"),
    "infinite.wav": BadFile(lambda: _loud(float("-inf")), "infinity"),
    "blast.wav": BadFile(lambda: _loud(1e6), "far above full scale"),
    "eight bits.wav": BadFile(eight_bit, "8-bit"),
    "384 kHz.wav": BadFile(lambda: header_only(384_000, 1), "384 kHz"),
    "4 kHz.wav": BadFile(lambda: header_only(4_000, 1), "4 kHz"),
    "32 channels.wav": BadFile(lambda: header_only(RATE, 32), "32 channels"),
    "surround.wav": BadFile(lambda: header_only(RATE, 6), "6 channels"),
    "telephone.wav": BadFile(lambda: wav(tone(), subtype="ULAW"), "coded as pcm_mulaw"),
    "adpcm.wav": BadFile(lambda: wav(tone(), subtype="IMA_ADPCM"), "coded as adpcm"),
    "silence.wav": BadFile(lambda: wav(np.zeros(RATE, np.float32)), "silent from start to end"),
    "blink.wav": BadFile(lambda: wav(tone(0.05)), "lasts only"),
    "ten hours.flac": BadFile(long_flac, "600 min"),
    "silence bomb.flac": BadFile(long_flac_of_silence, "70 min"),
    "silence bomb of unknown length.flac": BadFile(headless_flac_of_silence, "is too long"),
    "silence bomb.mp3": BadFile(silence_bomb, "65 min"),
    "endless tag.mp3": BadFile(lambda: tag(200_000_000) + _noise(), "claims more than the whole file"),
    "huge tag.mp3": BadFile(lambda: tag(20_000_000) + bytes(20_000_000) + _noise(), "has 19 MB"),
    "only tag.mp3": BadFile(lambda: tag(500) + bytes(500) + b"\x01" + _noise(), "Behind its tag"),
    "broken tag.mp3": BadFile(lambda: b"ID3\x04\x00\x00\xff\xff\xff\xff" + _noise(), "is damaged; remove its tags"),
    "garbage.mp3": BadFile(lambda: b"\xff\xfb\x90\x64" + _noise(9000), "damaged"),
    "garbage.flac": BadFile(lambda: b"fLaC" + _noise(9000), "damaged"),
    "garbage.webm": BadFile(lambda: b"\x1aE\xdf\xa3" + _noise(9000), "damaged"),
    "garbage.ogg": BadFile(lambda: b"OggS" + _noise(9000), "damaged"),
}
