"""Loudness, limiting, bandwidth and encoding, against figures known from elsewhere."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from ml import encoding
from ml.audio import LIMIT_REACH, limit, peaks, resample
from ml.dataset import bandwidth
from ml.loudness import integrated
from ml.metrics import contour_agreement
from tests.sounds import tone


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_a_full_scale_sine_has_the_standard_s_loudness(rate: int) -> None:
    wave = tone(5.0, hz=997.0, rate=rate, level=1.0)
    # ITU-R BS.1770-4: a 0 dBFS sine of 997 Hz in one channel reads -3.01 LKFS.
    assert abs(integrated([wave], rate) + 3.01) < 0.05
    assert abs(integrated([wave[i : i + 777] for i in range(0, len(wave), 777)], rate) + 3.01) < 0.05


def test_pauses_do_not_count_and_silence_has_no_loudness() -> None:
    wave = tone(3.0, rate=16_000, hz=997.0, level=0.1)
    paused = np.concatenate([wave, np.zeros(160_000, np.float32)])
    assert abs(integrated([wave], 16_000) - integrated([paused], 16_000)) < 0.6
    assert integrated([np.zeros(160_000, np.float32)], 16_000) == float("-inf")
    assert integrated([wave[:1000]], 16_000) == float("-inf")


def test_the_limiter_holds_every_peak_and_leaves_the_rest_alone() -> None:
    rate = 16_000
    wave = tone(1.0, rate=rate, level=0.5)
    wave[8000] = 3.0
    stereo = np.stack([wave, 0.5 * wave], axis=1)
    limited = limit(stereo, rate)
    assert np.abs(limited).max() <= 0.97 + 1e-6
    far = int(2 * LIMIT_REACH * rate)
    assert np.array_equal(limited[: 8000 - far], stereo[: 8000 - far])
    assert np.allclose(limited[:, 1] * 2, limited[:, 0], atol=1e-6)
    assert limit(stereo[:7000], rate) is not None and np.array_equal(limit(stereo[:7000], rate), stereo[:7000])


def test_a_recording_s_true_bandwidth_is_found_behind_its_rate() -> None:
    noise = np.random.default_rng(0).standard_normal(16_000 * 3).astype(np.float32) * 0.1
    wide = np.random.default_rng(0).standard_normal(48_000 * 3).astype(np.float32) * 0.1
    assert 7_500 <= bandwidth(soxr.resample(noise, 16_000, 48_000), 48_000) <= 8_300
    assert bandwidth(wide, 48_000) >= 23_500


def test_peaks_follow_the_waveform() -> None:
    assert peaks(np.array([0, 0.5, 0, -1.0], np.float32), 2) == [0.5, 1.0]
    assert len(peaks(np.zeros(7, np.float32), 200)) == 200
    assert peaks(np.zeros(0, np.float32)) == []


def test_resampling_gives_the_exact_length() -> None:
    for count in (1, 100, 44_099):
        assert len(resample(np.zeros(count, np.float32), 44_100, 16_000)) == round(count * 16_000 / 44_100)


@pytest.mark.parametrize("kind", ["flac", "mp3", "ogg", "m4a"])
def test_a_result_says_that_it_was_made_by_ai(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    encoding.write(out, kind, 48_000, 1, [tone(1.0, rate=48_000)[:, None]])
    with av.open(str(out)) as container:
        tags = container.metadata | container.streams.audio[0].metadata
    assert "AI" in " ".join(tags.values())


def test_blocks_of_any_size_are_encoded_whole(tmp_path: Path) -> None:
    wave = tone(1.0, rate=44_100)[:, None]
    for kind in ("mp3", "ogg", "m4a", "flac"):
        encoding.write(tmp_path / "out", kind, 44_100, 1, [wave[i : i + 1234] for i in range(0, len(wave), 1234)])
        samples, rate = _read(tmp_path / "out")
        assert 1.0 <= samples / rate < 1.12, kind


@pytest.mark.parametrize(("kind", "rate", "bit_rate"), [("mp3", 44_100, 64_000), ("mp3", 22_050, 32_000)])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_lossy_file_has_the_bit_rate_that_was_asked_for(
    kind: str, rate: int, bit_rate: int, channels: int, tmp_path: Path
) -> None:
    wave = np.repeat(tone(2.0, rate=rate)[:, None], channels, axis=1)
    encoding.write(tmp_path / "out", kind, rate, channels, [wave], bit_rate=bit_rate)
    with av.open(str(tmp_path / "out")) as container:
        assert (container.streams.audio[0].bit_rate, container.streams.audio[0].rate) == (bit_rate, rate)


@pytest.mark.parametrize("bit_rate", [32_000, 192_000])
def test_opus_keeps_near_the_bit_rate_that_was_asked_for(bit_rate: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((5 * 48_000, 2)).astype(np.float32) * 0.1
    encoding.write(tmp_path / "out", "ogg", 48_000, 2, [noise], bit_rate=bit_rate)
    assert 8 * (tmp_path / "out").stat().st_size / 5.0 == pytest.approx(bit_rate, rel=0.2)


def _read(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as container:
        frames = [frame.samples for frame in container.decode(audio=0)]
        return sum(frames), container.streams.audio[0].rate


def test_contours_agree_only_when_they_do() -> None:
    track = (150 + 40 * np.sin(np.arange(300) / 20)).astype(np.float32)
    assert contour_agreement(track, track) == pytest.approx((1.0, 0.0))
    correlation, cents = contour_agreement(track, track * 2)
    assert correlation == pytest.approx(1.0) and cents == pytest.approx(1200.0, abs=0.1)
    assert contour_agreement(track, track[::-1].copy())[0] < 0.9
    assert contour_agreement(track, np.zeros(300, np.float32)) == (0.0, 1200.0)
    flat = np.full(300, 150.0, np.float32)
    assert contour_agreement(flat, flat)[0] == 1.0


def test_wav_holds_the_samples_exactly(tmp_path: Path) -> None:
    wave = (np.round(tone(0.5, rate=16_000) * 2**15) / 2**15).astype(np.float32)
    encoding.write(tmp_path / "out.wav", "wav16", 16_000, 1, [wave[:, None]])
    assert np.array_equal(soundfile.read(tmp_path / "out.wav", dtype="float32")[0], wave)
