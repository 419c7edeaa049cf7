"""Whatever is no usable sound is refused with a sentence that tells what it is; usable sound is not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ml.decode import decode
from ml.errors import AudioError
from ml.probe import Limits, probe
from tests.bad_audio import BAD_FILES, encoded, tone, wav

GOOD_FILES = {
    "wav": (lambda: wav(tone()), "wav", "pcm_s16le"),
    "24-bit wav": (lambda: wav(tone(), subtype="PCM_24"), "wav", "pcm_s24le"),
    "float wav": (lambda: wav(tone(), subtype="FLOAT"), "wav", "pcm_f32le"),
    "aiff": (lambda: wav(tone(), container="AIFF"), "aiff", "pcm_s16be"),
    "flac": (lambda: wav(tone(), container="FLAC"), "flac", "flac"),
    "vorbis": (lambda: wav(tone(), container="OGG", subtype="VORBIS"), "ogg", "vorbis"),
    "opus": (lambda: encoded("ogg", "libopus"), "ogg", "opus"),
    "webm": (lambda: encoded("webm", "libopus"), "webm", "opus"),
    "m4a": (lambda: encoded("ipod", "aac"), "mp4", "aac"),
    "aac": (lambda: encoded("adts", "aac"), "aac", "aac"),
    "mp3": (lambda: encoded("mp3", "libmp3lame"), "mp3", "mp3"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_its_own_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    BAD_FILES[name].write(path)
    with pytest.raises(AudioError) as refused:
        probe(path)
    sentence = str(refused.value)
    assert BAD_FILES[name].says in sentence
    assert sentence.endswith(".") and "\n" not in sentence and str(tmp_path) not in sentence


def test_there_are_at_least_forty_bad_files() -> None:
    assert len(BAD_FILES) >= 40


@pytest.mark.parametrize("name", GOOD_FILES)
def test_every_promised_format_is_read_whatever_its_name(name: str, tmp_path: Path) -> None:
    make, container, codec = GOOD_FILES[name]
    path = tmp_path / "..;evil name.txt"
    path.write_bytes(make())
    found = probe(path)
    assert (found.container, found.codec, found.channels) == (container, codec, 1)
    assert abs(found.duration - 2.0) < 0.1


def test_a_link_a_folder_a_pipe_and_nothing_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.wav"
    good.write_bytes(wav(tone()))
    (tmp_path / "link.wav").symlink_to(good)
    os.mkfifo(tmp_path / "pipe.wav")
    for name, says in (
        ("link.wav", "link"),
        ("pipe.wav", "ordinary file"),
        (".", "folder"),
        ("absent.wav", "not there"),
    ):
        with pytest.raises(AudioError, match=says):
            probe(tmp_path / name)


def test_a_file_over_the_size_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.wav"
    with path.open("wb") as file:
        file.truncate(101 * 1024 * 1024)
    with pytest.raises(AudioError, match="101 MB"):
        probe(path)


def test_the_child_is_held_to_its_processor_time(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    samples = np.random.default_rng(0).standard_normal(48_000 * 60).astype(np.float32) * 0.1
    soundfile.write(path, np.tile(samples, 10), 48_000)
    with pytest.raises(AudioError, match="more time"):
        probe(path, limits=Limits(wall_seconds=0.3))


def test_the_child_is_held_to_its_memory(tmp_path: Path) -> None:
    path = tmp_path / "good.wav"
    path.write_bytes(wav(tone()))
    with pytest.raises(AudioError, match="memory"):
        probe(path, limits=Limits(memory_bytes=150 * 1024 * 1024))


def test_decoding_resamples_mixes_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    stereo = np.stack([tone(2.0, 44_100), np.zeros(88_200, np.float32)], axis=1)
    (tmp_path / "in").write_bytes(wav(stereo, 44_100, "FLOAT"))
    found = decode(tmp_path / "in", tmp_path / "out.flac", sample_rate=24_000, mono=True)
    assert (found.sample_rate, found.channels) == (44_100, 2)
    samples, rate = soundfile.read(tmp_path / "out.flac")
    assert rate == 24_000 and samples.shape == (48_000,)
    assert 0.11 < np.abs(samples).max() < 0.16
    BAD_FILES["nan.wav"].write(tmp_path / "bad")
    with pytest.raises(AudioError):
        decode(tmp_path / "bad", tmp_path / "bad.flac")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "in", "out.flac"]


def test_decoding_without_wishes_keeps_every_sample(tmp_path: Path) -> None:
    samples = tone(1.5, 22_050)
    (tmp_path / "in").write_bytes(wav(samples, 22_050, "FLOAT"))
    decode(tmp_path / "in", tmp_path / "out.wav")
    decoded, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert np.array_equal(decoded, samples)
