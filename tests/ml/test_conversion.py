"""A conversion: as long as its source to the sample, silent where it is, in every format, stoppable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from ml import checkpoint
from ml.audio import frame_levels
from ml.catalog import CONVERTERS
from ml.decode import decode
from ml.engine import Cancelled, ConvertOptions, Engine, EngineError, WeightsError
from ml.rendering import LONGEST_PIECE, _without_rumble
from tests.ml.conftest import STEPS, Made, write_speech
from tests.sounds import speech, tone

FEW = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def test_every_converter_of_the_catalogue_is_tested() -> None:
    assert set(STEPS) == set(CONVERTERS)


@FEW
@given(
    length=some.integers(1, 40_000),
    rate=some.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000, 96_000]),
    wanted=some.sampled_from([None, 16_000, 22_050, 44_100, 48_000]),
)
def test_the_result_is_exactly_as_long_as_the_source(
    made: Made, tmp_path: Path, length: int, rate: int, wanted: int | None
) -> None:
    source, out = tmp_path / "source.wav", tmp_path / "out.wav"
    soundfile.write(source, speech(length / rate + 0.1, rate=rate)[:length], rate, subtype="FLOAT")
    result = made.engine.convert(made.voice, source, out, options=ConvertOptions(sample_rate=wanted))
    info = soundfile.info(out)
    expected_rate = wanted or min(max(rate, 16_000), 48_000)
    assert (info.samplerate, info.frames) == (expected_rate, round(length * expected_rate / rate))
    assert (result.sample_rate, result.samples) == (info.samplerate, info.frames)


def test_pieces_join_without_a_gap_or_a_lost_sample(made: Made, tmp_path: Path) -> None:
    seconds = 2.7 * LONGEST_PIECE / 100
    source = write_speech(tmp_path / "long.wav", seconds, 44_100)
    made.engine.convert(made.voice, source, tmp_path / "out.wav")
    samples, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert len(samples) == soundfile.info(source).frames
    original, _ = soundfile.read(source, dtype="float32")
    loud = frame_levels(original, rate) > -30
    # Wherever the source is loud there is sound, at the joints too.
    assert np.median(frame_levels(samples, rate)[loud]) > -45
    assert (frame_levels(samples, rate)[loud] > -70).mean() > 0.99


def test_silence_stays_silent_and_speech_does_not(made: Made, tmp_path: Path) -> None:
    rate = 24_000
    quiet = np.zeros(2 * rate, np.float32)
    sound = np.concatenate([quiet, speech(2.0, rate=rate), quiet])
    soundfile.write(tmp_path / "source.wav", sound, rate, subtype="FLOAT")
    made.engine.convert(
        made.voice, tmp_path / "source.wav", tmp_path / "out.wav", options=ConvertOptions(format="wav24")
    )
    samples, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    level = frame_levels(samples, rate)
    assert level[:190].max() < -60 and level[-190:].max() < -60
    assert level[200:400].max() > -40


def test_a_silent_source_gives_a_silent_result(made: Made, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "source.wav", np.zeros(30_000, np.float32), 16_000)
    result = made.engine.convert(made.voice, tmp_path / "source.wav", tmp_path / "out.wav")
    samples, _ = soundfile.read(tmp_path / "out.wav")
    assert np.abs(samples).max() < 1e-3
    assert "similarity" not in result.metrics


def test_stereo_is_kept_with_the_source_on_its_side(made: Made, tmp_path: Path) -> None:
    rate = 24_000
    voice = speech(3.0, rate=rate)
    soundfile.write(tmp_path / "left.wav", np.stack([voice, np.zeros_like(voice)], axis=1), rate)
    result = made.engine.convert(made.voice, tmp_path / "left.wav", tmp_path / "out.wav")
    samples, _ = soundfile.read(tmp_path / "out.wav")
    assert result.channels == 2 and samples.shape == (len(voice), 2)
    left, right = np.sqrt(np.square(samples).mean(axis=0))
    assert left > 100 * right


def test_the_pitch_moves_by_the_semitones_asked_for(made: Made, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "source.wav", 4.0)
    options = ConvertOptions(pitch=7.0)
    result = made.engine.convert(made.voice, source, tmp_path / "out.wav", options=options)
    before, after = np.array(result.curves["source_f0"]), np.array(result.curves["result_f0"])
    assert len(before) == len(after) == len(result.curves["times"])
    both = (before > 0) & (after > 0)
    assert both.sum() > 50
    assert abs(12 * np.log2(np.median(after[both] / before[both])) - 7.0) < 0.5


def test_automatic_pitch_brings_the_source_to_the_voice(made: Made, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "low.wav", 4.0, f0=90.0)
    result = made.engine.convert(made.voice, source, tmp_path / "out.wav")
    assert 9.0 < result.pitch < 15.0  # from about 90 to about 180 Hz


@pytest.mark.parametrize("kind", ["wav16", "wav24", "flac", "mp3", "ogg", "m4a"])
def test_every_format_can_be_read_again(made: Made, tmp_path: Path, kind: str) -> None:
    source = write_speech(tmp_path / "source.wav", 2.0, 44_100)
    out = tmp_path / f"out.{kind.rstrip('0123456789')}"
    made.engine.convert(made.voice, source, out, options=ConvertOptions(format=kind))
    info = decode(out, tmp_path / "again.wav")
    assert abs(info.duration - 2.0) < 0.12
    assert (out.parent / f".{out.name}").exists() is False


def test_a_loudness_target_is_met_without_clipping(made: Made, tmp_path: Path) -> None:
    from ml.audio import blocks
    from ml.loudness import integrated

    source = write_speech(tmp_path / "source.wav", 5.0, 24_000)
    options = ConvertOptions(loudness=-16.0, format="wav24")
    made.engine.convert(made.voice, source, tmp_path / "out.wav", options=options)
    samples, rate = soundfile.read(tmp_path / "out.wav")
    assert abs(integrated(blocks(tmp_path / "out.wav"), rate) + 16.0) < 1.5
    assert np.abs(samples).max() <= 0.98


def test_the_same_seed_gives_the_same_samples(made: Made, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "source.wav", 2.0)
    results = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        made.engine.convert(made.voice, source, tmp_path / f"{name}.wav", options=ConvertOptions(seed=seed))
        results.append(soundfile.read(tmp_path / f"{name}.wav")[0])
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_stopping_leaves_nothing_behind(made: Made, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "source.wav", 30.0)
    told: list[float] = []

    def report(fraction: float, stage: str) -> None:
        told.append(fraction)
        if fraction > 0.4:
            raise Cancelled

    with pytest.raises(Cancelled):
        made.engine.convert(made.voice, source, tmp_path / "out.wav", report=report)
    assert [path.name for path in tmp_path.iterdir()] == ["source.wav"]
    assert told == sorted(told)


@pytest.mark.parametrize(
    "options",
    [
        ConvertOptions(pitch=30.0),
        ConvertOptions(retrieval=1.5),
        ConvertOptions(denoise=-0.1),
        ConvertOptions(sample_rate=96_000),
        ConvertOptions(format="aiff"),
        ConvertOptions(loudness=0.0),
        ConvertOptions(format="mp3", bit_rate=8_000),
        ConvertOptions(preset="best"),
        ConvertOptions(f0_method="guess"),
    ],
)
def test_an_option_out_of_range_is_refused_with_a_sentence(made: Made, tmp_path: Path, options: ConvertOptions) -> None:
    source = write_speech(tmp_path / "source.wav", 1.0)
    with pytest.raises(EngineError, match=r"must be|unknown"):
        made.engine.convert(made.voice, source, tmp_path / "out.wav", options=options)


def test_a_native_voice_without_its_levels_is_to_be_trained_again(made: Made, tmp_path: Path) -> None:
    if made.engine._entry is not CONVERTERS["native"]:
        pytest.skip("of native voices alone")
    tensors, metadata = checkpoint.load(made.voice)
    older = {name: value for name, value in tensors.items() if name != "levels"}
    checkpoint.save(tmp_path / "older.voice", older, metadata)
    checkpoint.save(tmp_path / "bad.voice", tensors | {"levels": tensors["levels"][:-1]}, metadata)
    source = write_speech(tmp_path / "source.wav", 1.0)
    for name, sentence in (("older", "train it again"), ("bad", "pool is missing")):
        with pytest.raises(WeightsError, match=sentence):
            made.engine.convert(tmp_path / f"{name}.voice", source, tmp_path / "out.wav")


def test_a_damaged_or_foreign_voice_file_is_refused(made: Made, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "source.wav", 1.0)
    data = made.voice.read_bytes()
    other = Engine(converter="toy" if made.engine._entry is CONVERTERS["native"] else "native")
    (tmp_path / "cut.voice").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.voice").write_bytes(b"not a voice")
    (tmp_path / "pickle.voice").write_bytes(b"\x80\x04\x95" + data)
    for name in ("cut", "text", "pickle", "absent"):
        with pytest.raises(WeightsError):
            made.engine.convert(tmp_path / f"{name}.voice", source, tmp_path / "out.wav")
    with pytest.raises(WeightsError, match="converter"):
        other.convert(made.voice, source, tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()


def test_a_pure_tone_is_taken_for_singing_and_moves_by_octaves_only(made: Made, tmp_path: Path) -> None:
    notes = [tone(0.6, hz=hz, rate=16_000) for hz in (110.0, 123.5, 130.8, 146.8, 130.8)]
    soundfile.write(tmp_path / "song.wav", np.concatenate(notes), 16_000)
    result = made.engine.convert(made.voice, tmp_path / "song.wav", tmp_path / "out.wav")
    assert result.pitch % 12 == 0


def test_below_the_voice_there_is_nothing_and_parts_join_as_one() -> None:
    rate = 24_000
    times = np.arange(2 * rate) / rate
    sound = (np.sin(2 * np.pi * 20 * times) + np.sin(2 * np.pi * 150 * times) + 0.5).astype(np.float32)
    track = np.full(201, 150.0, np.float32)
    whole = np.concatenate(list(_without_rumble(iter([sound]), track, rate)))
    parts = np.concatenate(list(_without_rumble(iter(np.array_split(sound, 7)), track, rate)))
    assert whole.dtype == np.float32 and np.allclose(whole, parts, atol=1e-6)
    spectrum = np.abs(np.fft.rfft(whole[rate:] * np.hanning(rate))) / rate * 4
    assert spectrum[150] == pytest.approx(1.0, abs=0.05)
    assert spectrum[20] < 0.1 and spectrum[0] < 0.01
    assert np.isfinite(np.concatenate(list(_without_rumble(iter([sound]), np.zeros(201, np.float32), rate)))).all()
