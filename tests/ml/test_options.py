"""Each option of a conversion does what it says, on the sound that comes out; joins between pieces are not heard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from ml import f0, rendering
from ml.audio import frame_levels
from ml.catalog import SCALES
from ml.config import ANALYSIS_RATE, ModelConfig
from ml.converters.base import Piece
from ml.decoder import Gains, band_centres, shift_formants
from ml.engine import ConvertOptions, EngineError
from ml.levelling import FURTHEST_DB, levelled
from ml.noise import placed
from ml.spectral import bend, loudness
from tests.ml.conftest import Made, write_speech
from tests.sounds import speech

RATE = 16_000
CONFIG = ModelConfig()
PLAIN = ConvertOptions(pitch=0.0, denoise=0.0, format="wav24", sample_rate=RATE)
FEW = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def vowel(seconds: float = 2.0, hz: float = 120.0, formants: tuple[int, ...] = (600, 1300, 2500)) -> Any:
    """Pulses through resonators: a steady vowel (n,)."""
    phase = np.cumsum(np.full(int(seconds * RATE), hz / RATE))
    sound = np.diff(np.floor(phase), prepend=0.0) + 1e-3 * np.random.default_rng(0).standard_normal(len(phase))
    for formant, width in zip(formants, (80, 120, 160), strict=True):
        radius = np.exp(-np.pi * width / RATE)
        poles = [1.0, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2]
        sound = scipy.signal.lfilter([sum(poles)], poles, sound)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def convert(made: Made, folder: Path, samples: Any, options: ConvertOptions) -> Any:
    soundfile.write(folder / "source.wav", samples, RATE, subtype="FLOAT")
    made.engine.convert(made.voice, folder / "source.wav", folder / "out.wav", options=options)
    return soundfile.read(folder / "out.wav", dtype="float32")[0]


def envelope(samples: Any) -> Any:
    """Log magnitude (513,) without harmonics: the mean spectrum's cepstrum below 4 ms."""
    _, _, spectrum = scipy.signal.stft(samples[RATE // 2 : -RATE // 2], RATE, nperseg=1024)
    logs = np.log(np.square(np.abs(spectrum)).mean(1) + 1e-12) / 2
    cepstrum = np.fft.irfft(logs)
    cepstrum[64:-63] = 0
    return np.fft.rfft(cepstrum).real


def moved_by(before: Any, after: Any) -> float:
    """Semitones by which the envelope of 300 to 3200 Hz has moved along frequency: the best correlation's."""
    hertz = np.linspace(0, RATE / 2, len(before))
    band = np.geomspace(300, 3200, 200)
    candidates = np.arange(-8.0, 8.01, 0.25)
    fits = []
    for semitones in candidates:
        inside = (band * 2 ** (semitones / 12) >= 300) & (band * 2 ** (semitones / 12) <= 3200)
        one, two = np.interp(band[inside], hertz, before), np.interp(band[inside] * 2 ** (semitones / 12), hertz, after)
        fits.append(np.corrcoef(scipy.signal.detrend(one), scipy.signal.detrend(two))[0, 1])
    return float(candidates[int(np.argmax(fits))])


@pytest.mark.parametrize("semitones", [-4.0, 4.0])
def test_formants_move_and_pitch_stays(made: Made, tmp_path: Path, semitones: float) -> None:
    source = vowel()
    before = convert(made, tmp_path, source, PLAIN)
    after = convert(made, tmp_path, source, replace(PLAIN, formant=semitones))
    assert moved_by(envelope(before), envelope(after)) == pytest.approx(semitones, abs=1.0)
    tracks = [f0.extract(one, RATE, "pm").f0[50:-50] for one in (before, after)]
    both = (tracks[0] > 0) & (tracks[1] > 0)
    assert both.mean() > 0.8
    assert abs(np.median(1200 * np.log2(tracks[1][both] / tracks[0][both]))) < 5
    levels = [float(np.median(frame_levels(one, RATE))) for one in (before, after)]
    assert abs(levels[1] - levels[0]) < 4


@pytest.mark.parametrize("bandwidth", [4000.0, 8000.0, 24_000.0])
@pytest.mark.parametrize("semitones", [-12.0, -3.0, 5.0, 12.0])
def test_a_peak_of_the_gains_moves_by_the_ratio_and_the_width_stays(semitones: float, bandwidth: float) -> None:
    ratio, centres = 2 ** (semitones / 12), band_centres(160, 24_000.0)
    for hz in (500.0, 1200.0):
        peak = -((centres - hz).abs() / 150).square().clamp(max=20)[None, None]
        gains = shift_formants(Gains(peak, torch.zeros(1, 1, 80)), semitones, CONFIG, bandwidth)
        spacing = float(centres.diff()[int((centres < hz * ratio).sum())])
        assert float(centres[gains.harmonic[0, 0].argmax()]) == pytest.approx(hz * ratio, abs=1.2 * spacing)
        assert torch.allclose(gains.noise, gains.noise[..., :1].expand_as(gains.noise), atol=1e-5)
    slope = shift_formants(Gains(-centres[None, None] / 1000, torch.zeros(1, 1, 80)), semitones, CONFIG, bandwidth)
    kept = slope.harmonic[0, 0] + centres / 1000 + 0.5 * np.log(ratio)
    assert kept[centres >= bandwidth * 0.999].abs().max() < 0.02


@settings(max_examples=60, deadline=None)
@given(ratio=some.floats(0.5, 2.0), top=some.floats(1000.0, 24_000.0))
def test_a_bend_never_turns_back(ratio: float, top: float) -> None:
    bent = bend(torch.linspace(0, 24_000, 500), ratio, top)
    assert bent.isfinite().all() and (bent.diff() >= -1e-2).all()
    assert bent[0] == 0 and bent[-1] == 24_000


def spread(made: Any, source: Any, chosen: Any) -> float:
    """How unlike the two loudness contours are on the chosen frames: dB, apart from a constant."""
    contours = [loudness(torch.from_numpy(one)[None])[0].numpy()[: len(chosen)][chosen] for one in (made, source)]
    return float(np.std(contours[0] - contours[1]))


def test_the_result_takes_the_contour_of_the_source(made: Made, tmp_path: Path) -> None:
    swell = np.interp(np.arange(2 * RATE) / RATE, [0, 0.5, 1, 1.5, 2], [0.1, 1.0, 0.15, 1.0, 0.1])
    source = (vowel(2.0) * swell).astype(np.float32)
    frames = np.zeros(201, bool)
    frames[20:180] = True
    own, followed = (
        spread(convert(made, tmp_path, source, replace(PLAIN, envelope=one)), source, frames) for one in (0.0, 1.0)
    )
    assert followed < max(0.5, 0.5 * own)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_frames_go_to_a_level_by_their_share_and_others_stay(share: float) -> None:
    samples = vowel(2.0)
    own = loudness(torch.from_numpy(samples)[None])[0].numpy()
    shares = np.where(np.arange(201) < 100, share, 0.0).astype(np.float32)
    made = levelled(samples, RATE, own + np.float32(6.0), shares)
    gained = loudness(torch.from_numpy(made)[None])[0].numpy() - own
    assert np.allclose(gained[20:90], 6.0 * share, atol=0.1)
    assert np.allclose(gained[110:190], 0.0, atol=0.01)
    assert levelled(samples, RATE, own + 6, np.zeros_like(shares)) is samples
    far = levelled(samples, RATE, own + np.float32(60.0), np.ones_like(shares))
    assert 20 * np.log10(np.abs(far).max() / np.abs(samples).max()) == pytest.approx(FURTHEST_DB, abs=0.1)


def test_protection_keeps_the_level_of_unvoiced_frames_and_changes_no_voiced_ones(made: Made, tmp_path: Path) -> None:
    voice = vowel(1.0)
    hiss = np.diff(np.random.default_rng(5).standard_normal(RATE // 2 + 1)).astype(np.float32)
    # Louder than any voice hisses: what it has learnt cannot be what is wanted.
    source = np.concatenate([voice, 0.1 * hiss, voice, 0.1 * hiss, voice])
    track = f0.extract(source, RATE).f0
    unvoiced = np.zeros(len(track), bool)
    for start in (100, 250):
        unvoiced[start + 8 : start + 42] = True
    assert not track[unvoiced].any()
    plain, kept = (convert(made, tmp_path, source, replace(PLAIN, protection=one)) for one in (0.0, 1.0))
    # The source as loud as the voice is: this is what protected frames are to have.
    heard = levels(source)
    wanted = heard[unvoiced] + made.engine._converter.open(made.voice).traits.level_db - np.median(heard[track > 0])
    far, near = (np.abs(levels(one)[: len(track)][unvoiced] - wanted).mean() for one in (plain, kept))
    assert near < 1.5
    assert near < 0.7 * far
    assert np.abs(plain - kept)[20 * 160 : 75 * 160].max() < 1e-4


def levels(samples: Any) -> Any:
    """A-weighted loudness (T,) in dB."""
    return loudness(torch.from_numpy(samples)[None])[0].numpy()


def test_autotune_is_heard_in_the_result(made: Made, tmp_path: Path) -> None:
    source = vowel(hz=131.0)  # 2.5 cents over C3
    options = replace(PLAIN, autotune=1.0, scale="D major", pitch=0.4)
    heard = f0.extract(convert(made, tmp_path, source, options), RATE, "pm").f0[50:-50]
    assert abs(np.median(1200 * np.log2(heard[heard > 0] / 138.591))) < 5  # C sharp


def test_without_the_high_pass_what_lies_below_the_voice_stays(made: Made, tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(2).standard_normal(2 * RATE).astype(np.float32)
    source = np.concatenate([vowel(1.0), noise])
    found = [
        scipy.signal.welch(convert(made, tmp_path, source, replace(PLAIN, high_pass=one)), RATE, nperseg=RATE)[1][2:30]
        for one in (True, False)
    ]
    assert found[1].sum() > 3 * found[0].sum()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"formant": 12.5}, "formant shift must be from -12 to 12 semitones"),
        ({"protection": 1.1}, "protection of consonants must be from 0 to 1"),
        ({"envelope": -0.1}, "loudness contour must be from 0 to 1"),
        ({"pitch_smoothing": 101.0}, "pitch smoothing must be from 0 to 100 ms"),
        ({"autotune": float("nan")}, "autotune must be from 0 to 1"),
        ({"retune": 1000.0}, "retune time must be from 0 to 400 ms"),
        ({"scale": "H major"}, "must be “chromatic” or a key such as"),
    ],
)
def test_what_is_out_of_range_is_refused(made: Made, tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    source = write_speech(tmp_path / "source.wav", 1.0)
    with pytest.raises(EngineError, match=sentence):
        made.engine.convert(made.voice, source, tmp_path / "out.wav", options=ConvertOptions(**change))


shares = some.floats(0, 1)
combinations = some.builds(
    ConvertOptions,
    pitch=some.one_of(some.just("auto"), some.floats(-24, 24)),
    retrieval=shares,
    denoise=shares,
    formant=some.floats(-12, 12),
    protection=shares,
    envelope=shares,
    pitch_smoothing=some.floats(0, 100),
    autotune=shares,
    scale=some.sampled_from(sorted(SCALES)),
    retune=some.floats(0, 400),
    high_pass=some.booleans(),
    format=some.just("wav24"),
)


@FEW
@given(options=combinations, length=some.integers(1, 24_000), seed=some.integers(0, 3))
def test_any_combination_is_as_long_as_its_source_and_finite(
    made: Made, options: ConvertOptions, length: int, seed: int
) -> None:
    source = speech(2.0, rate=RATE, seed=seed)[:length]
    with TemporaryDirectory() as folder:
        result = convert(made, Path(folder), source, options)
    assert result.shape == (length,) and np.isfinite(result).all() and np.abs(result).max() <= 1.0


@FEW
@given(options=combinations)
def test_any_combination_leaves_silence_silent(made: Made, options: ConvertOptions) -> None:
    quiet = np.zeros(RATE, np.float32)
    source = np.concatenate([quiet, speech(1.0, rate=RATE), quiet])
    with TemporaryDirectory() as folder:
        level = frame_levels(convert(made, Path(folder), source, options), RATE)
    assert level[:90].max() < -60 and level[-90:].max() < -60


def test_noise_depends_on_its_place_alone() -> None:
    whole = placed(7, 1, 0, 500, 160)
    assert torch.equal(placed(7, 1, 130, 250, 160), whole[130:380])
    assert abs(float(whole.mean())) < 0.02 and float(whole.std()) == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(whole, placed(8, 1, 0, 500, 160))
    assert not torch.equal(whole, placed(7, 0, 0, 500, 160))
    assert placed(-1, 0, 5, 3, 4).shape == (3, 4) and placed(2**70, 0, 0, 1, 4).isfinite().all()


@pytest.mark.parametrize(("denoise", "steady"), [(0.0, True), (0.5, False)])
def test_joins_do_not_click(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, denoise: float, steady: bool
) -> None:
    """Above 2 kHz, within 50 ms of a cut, pieces differ from one long piece by less than -70 dB of full scale."""
    source = vowel(26.0) if steady else speech(26.0, rate=RATE)
    options = replace(PLAIN, denoise=denoise, envelope=0.5, protection=0.5, formant=2.0)
    level = frame_levels(source, RATE)
    cuts = rendering._cuts(level, len(level))[1:-1]
    assert len(cuts) >= 2
    pieces = convert(made, tmp_path, source, options)
    monkeypatch.setattr(rendering, "LONGEST_PIECE", len(level))
    whole = convert(made, tmp_path, source, options)
    band = scipy.signal.butter(4, 2000, "highpass", fs=RATE, output="sos")
    difference = np.abs(scipy.signal.sosfiltfilt(band, pieces - whole))
    near = max(float(difference[(cut - 5) * 160 : (cut + 5) * 160].max()) for cut in cuts)
    assert 20 * np.log10(near + 1e-12) < -70


def test_a_piece_starts_where_its_predecessors_pulses_end(made: Made) -> None:
    voice = made.engine._converter.open(made.voice)
    samples, track = vowel(2.0), np.full(201, 123.4, np.float32)
    track[90:100] = 0
    track[100:] = np.linspace(123.4, 250, 101)
    said = voice.said(samples)

    def render(first: int) -> Any:
        phase = float(rendering._phases(track, RATE // 100)[first] % 1.0)
        part = samples[first * 160 :]
        level = loudness(torch.from_numpy(part)[None])[0].numpy()
        rows = said[first:]
        return voice.render(
            Piece(part, track[first:], level, phase, 0.0, RATE, 0.0, 4, 1, start=first, said=rows, mean=rows.mean(0))
        )

    late = render(60)
    assert np.abs(render(0)[140 * 160 :] - late[80 * 160 :]).max() < 1e-4
    assert len(samples) // (ANALYSIS_RATE // 100) + 1 == len(track)
