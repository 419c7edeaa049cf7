"""What is said, heard by the recogniser: frame by frame, at any speed, and a source of any length on its own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import said
from ml.audio import resample, save
from ml.base.decoder_training import at_analysis_rate, heard_loss
from ml.config import ANALYSIS_RATE
from ml.recogniser import packed, unpacked
from ml.weights import load_base
from tests.sounds import speech, tone

RATE = ANALYSIS_RATE
HEARING = load_base().hearing


def content(samples: np.ndarray, frames: int | None = None, speed: float = 1.0) -> torch.Tensor:
    return HEARING.encode(torch.from_numpy(samples)[None], frames, speed)[0]


def likeness(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(first, second, dim=-1).mean())


@pytest.mark.parametrize("samples", [1, 159, 160, 4000, 40_001])
def test_every_frame_has_its_row_of_unit_variance(samples: int) -> None:
    rows = content(speech(3.0, rate=RATE)[:samples])
    assert rows.shape == (1 + samples // 160, 64) and rows.isfinite().all()
    assert torch.allclose(rows.square().mean(-1), torch.ones(len(rows)), atol=0.01)


def test_silence_and_full_scale_are_heard_without_fault() -> None:
    for samples in (np.zeros(8000, np.float32), np.full(8000, 1.0, np.float32), np.full(8000, 1e-20, np.float32)):
        assert content(samples).isfinite().all()


def test_what_is_said_hangs_little_on_level_and_on_when_it_is_said() -> None:
    spoken = speech(4.0, rate=RATE)
    plain = content(spoken)
    assert likeness(content(0.1 * spoken), plain) > 0.98
    late = content(np.concatenate([np.zeros(1600, np.float32), spoken]))[10:]
    assert likeness(late, plain) > 0.95


def test_the_base_is_taught_to_sound_like_what_was_said_at_any_rate_and_level() -> None:
    spoken = torch.from_numpy(speech(2.0, rate=24_000))[None]
    other = torch.from_numpy(speech(2.0, rate=24_000, seed=1))[None].requires_grad_()
    same, apart = (heard_loss(HEARING.recogniser, one, spoken, 24_000) for one in (spoken, other))
    assert float(same) < 1e-3 and float(heard_loss(HEARING.recogniser, 0.3 * spoken, spoken, 24_000)) < 0.1 * apart
    apart.backward()  # type: ignore[no-untyped-call]
    assert other.grad is not None and other.grad.isfinite().all() and other.grad.abs().max() > 0


def test_half_of_a_spectrum_is_the_sound_at_half_of_the_rate() -> None:
    low, high = (torch.from_numpy(tone(0.5, hz=1000.0, rate=rate))[None] for rate in (16_000, 24_000))
    assert torch.allclose(at_analysis_rate(high, 24_000), low, atol=1e-4)
    assert torch.allclose(at_analysis_rate(low, 16_000), low, atol=1e-6)


@pytest.mark.parametrize("speed", [0.87, 1.15])
def test_what_is_played_faster_is_given_at_its_own_frames(speed: float) -> None:
    spoken = speech(4.0, rate=RATE)
    plain, played = content(spoken), resample(spoken, RATE, round(RATE / speed))
    moved = content(played, len(plain), speed)
    assert moved.shape == plain.shape
    apart = [likeness(moved[20:-20], plain[20 + shift : len(plain) - 20 + shift]) for shift in (-15, 0, 15)]
    assert apart[1] > max(apart[0], apart[2]) and apart[1] > 0.8


def test_stored_integers_are_the_numbers_that_they_stand_for() -> None:
    values = torch.randint(0, 256, (5, 3), dtype=torch.uint8)
    scale, zero = torch.tensor([0.25]), torch.tensor([100], dtype=torch.uint8)
    stored = packed({"a": torch.ones(2), "m": torch.zeros(5, 3)}, {"m": (values, scale, zero)})
    assert stored["a"].dtype == torch.float16 and "m" not in stored
    found = unpacked(stored)
    assert found.keys() == {"a", "m"}
    assert torch.equal(found["m"], 0.25 * (values.float() - 100))


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(1, 4000), threads=st.integers(1, 2))
def test_a_track_of_any_length_has_every_row_once(
    tmp_path_factory: pytest.TempPathFactory, frames: int, threads: int
) -> None:
    """Rows that say where their samples lie come back as they are, whatever the windows and the threads."""
    folder = tmp_path_factory.mktemp("said")
    samples = (np.arange((frames - 1) * 160 + 80) // 160 / 4096).astype(np.float32)
    save(folder / "source.wav", samples, RATE)
    told: list[float] = []

    def hear(part: np.ndarray) -> np.ndarray:
        return np.repeat(4096 * np.concatenate([part, part[-1:]])[::160][: 1 + len(part) // 160, None], 3, axis=1)

    track = said.write(folder / "track", folder / "source.wav", frames, hear, told.append, threads)
    assert track.width == 3 and (folder / "track").stat().st_size == frames * 3 * 2
    rows = track.rows(0, frames)
    wanted = np.minimum(np.arange(frames), max(0, len(samples) - 1) // 160)
    assert np.abs(rows[:, 0] - wanted).max() <= 2
    beyond = track.rows(max(0, frames - 2), frames + 3)
    assert np.array_equal(beyond[-4:], np.repeat(rows[-1:], 4, axis=0))
    assert told[-1] == 1.0 and told == sorted(told)


def test_a_long_source_is_heard_as_in_one_go(tmp_path: Path) -> None:
    spoken = speech(24.0, rate=RATE)
    save(tmp_path / "source.wav", spoken, RATE, "FLOAT")
    frames = 1 + len(spoken) // 160
    track = said.write(
        tmp_path / "track", tmp_path / "source.wav", frames, lambda part: content(part).numpy(), lambda part: None, 2
    )
    assert likeness(torch.from_numpy(track.rows(0, frames)), content(spoken)) > 0.97
