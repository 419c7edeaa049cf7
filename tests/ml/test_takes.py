"""Takes: where they are cut, what they are worth, and what the report before a training says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve

from ml.audio import frame_levels
from ml.engine import AudioError, Engine
from ml.grading import clipping, decay_seconds, grade, reasons
from ml.preflight import find_outliers, note_name, preflight
from ml.takes import TakeInfo, find_spans
from tests.ml.conftest import write_speech
from tests.sounds import speech, tone

ENGINE = Engine(converter="toy", threads=1)
SPEECH = np.ones(10_000, bool)


def test_a_recording_becomes_takes_of_two_to_twelve_seconds(tmp_path: Path) -> None:
    source = write_speech(tmp_path / "source.wav", 40.0, 44_100)
    takes = ENGINE.slice(source, tmp_path / "takes")
    lengths = [take.end - take.start for take in takes]
    assert sum(lengths) > 25 and max(lengths) <= 12.5
    assert np.median(lengths) >= 2
    assert all(take.end <= following.start + 0.4 for take, following in zip(takes, takes[1:], strict=False))
    for take in takes:
        info = soundfile.info(take.path)
        assert (info.channels, info.samplerate, info.format) == (1, 44_100, "FLAC")
        assert abs(info.duration - (take.end - take.start)) < 0.01
        assert len(take.peaks) == 200 and 0 < max(take.peaks) <= 1
        assert abs(np.linalg.norm(take.speaker) - 1) < 1e-3


def test_clean_speech_is_usable_and_graded_within_reason(tmp_path: Path) -> None:
    takes = ENGINE.slice(write_speech(tmp_path / "source.wav", 10.0, f0=140.0), tmp_path / "takes")
    usable = [take for take in takes if take.usable]
    assert usable
    assert all(
        90 < take.f0_median_hz < 200 and take.f0_low_hz <= take.f0_median_hz <= take.f0_high_hz for take in usable
    )
    assert all(take.snr_db > 20 and take.clipping == 0 and take.reasons == [] for take in usable)


def test_a_recording_without_a_voice_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).standard_normal(80_000) * 0.02, 16_000)
    with pytest.raises(AudioError, match="No voice can be heard"):
        ENGINE.slice(tmp_path / "noise.wav", tmp_path / "takes")


def test_long_speech_without_a_pause_is_cut_at_its_quietest() -> None:
    level = np.full(3000, -20.0, np.float32)
    level[900] = level[1800] = -50.0
    spans = find_spans(np.ones(30 * 16_000 // 512, bool), level, 30.0)
    assert [round(end, 2) for _, end in spans[:2]] == [9.0, 18.0]
    assert all(end - start <= 12.0 for start, end in spans)


def test_noise_clipping_and_quiet_are_told_in_sentences() -> None:
    clean = speech(4.0, rate=16_000)
    noisy = clean + 0.05 * np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    cases = {
        "quieter room": (noisy, -26.0),
        "clipped": (np.clip(clean * 6, -0.9, 0.9), -60.0),
        "very quiet": (clean * 0.005, -100.0),
        "hardly any voice": (np.random.default_rng(1).standard_normal(64_000).astype(np.float32) * 0.02, -60.0),
    }
    for words, (samples, noise_db) in cases.items():
        found = grade(samples, 16_000, SPEECH, noise_db, "swift")
        assert any(words in reason for reason in reasons(found, 4.0)), words
    assert reasons(grade(clean, 16_000, SPEECH, -60.0, "swift"), 4.0) == []


def test_clipping_counts_flat_tops_only() -> None:
    wave = tone(1.0, rate=16_000, level=0.9)
    assert clipping(wave) < 0.002
    assert clipping(np.clip(wave, -0.6, 0.6)) > 0.3
    assert clipping(np.zeros(100, np.float32)) == 0.0


def test_a_room_is_heard_in_the_decay() -> None:
    dry = speech(6.0, rate=16_000)
    found = []
    for seconds in (0.7, 1.4):
        times = np.arange(int(seconds * 16_000)) / 16_000
        tail = np.random.default_rng(0).standard_normal(len(times)) * 10 ** (-3 * times / seconds)
        tail[0] = 4.0
        found.append(decay_seconds(frame_levels(fftconvolve(dry, tail).astype(np.float32), 16_000)))
    assert decay_seconds(frame_levels(dry, 16_000)) < found[0] < found[1]
    assert abs(found[0] - 0.7) < 0.25 and abs(found[1] - 1.4) < 0.6


def _take(**changes: object) -> dict[str, object]:
    plain = TakeInfo(
        path=Path("take.flac"), start=0.0, end=10.0, snr_db=40.0, clipping=0.0, loudness_lufs=-20.0, reverberation=0.3,
        f0_low_hz=100.0, f0_median_hz=130.0, f0_high_hz=260.0, speech_share=0.9, voiced_share=0.5,
        speaker=[1.0, 0.0], usable=True, reasons=[], peaks=[],
    )  # fmt: skip
    return vars(plain) | changes


def test_a_minute_of_clean_lively_speech_promises_a_good_voice() -> None:
    found = preflight([_take() for _ in range(6)], same_speaker=0.7)
    assert (found.usable_seconds, found.outliers) == (60.0, [])
    assert found.rating == "very good" and found.likeness is not None and 0 < found.likeness_error < 0.1
    assert found.missing == ["No notes above C4; sing a few if the voice shall sing higher."]


def test_little_noisy_ringing_speech_promises_less_and_says_why() -> None:
    poor = [_take(snr_db=15.0, reverberation=0.8, end=5.0, f0_low_hz=120.0, f0_high_hz=150.0)]
    found = preflight(poor, same_speaker=0.7)
    assert found.rating == "poor" and found.likeness is None
    text = " ".join(found.missing)
    for word in ("Only 5 s", "No notes above D3", "noisy", "room"):
        assert word in text
    assert preflight([_take(usable=False)], same_speaker=0.7).usable_seconds == 0.0


def test_a_stranger_among_the_takes_is_found_by_its_index() -> None:
    takes = [_take(), _take(), _take(speaker=[0.0, 1.0]), _take(speaker=[0.95, 0.3])]
    found = preflight(takes, same_speaker=0.7)
    assert found.outliers == [2]
    assert found.usable_seconds == 30.0
    assert find_outliers([], 0.7) == find_outliers([[1.0]], 0.7) == []


def test_notes_have_their_names() -> None:
    assert [note_name(hertz) for hertz in (440.0, 261.6, 27.5, 466.2)] == ["A4", "C4", "A0", "A#4"]
