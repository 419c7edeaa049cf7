"""A stream: the same to the bit however it is cut, as long as its source, equally late, silent where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from ml import f0
from ml.__main__ import main
from ml.audio import frame_levels
from ml.catalog import CONVERTERS
from ml.config import SYNTHESIS_RATES
from ml.decoder import Gains, pulses, synthesise
from ml.engine import AudioError, ConvertOptions, Engine, EngineError, StreamOptions
from ml.metrics import contour_agreement
from ml.stream import Stream
from ml.stream_networks import ContentStream
from ml.stream_resampling import StreamResampler
from ml.stream_synthesis import LEAD_FRAMES, SynthesisStream
from ml.voicefile import converter_of
from ml.weights import load_base
from tests.ml.conftest import Made, write_speech
from tests.sounds import Samples, speech, tone

FEW = settings(max_examples=6, deadline=None, derandomize=True)
RATES = (16_000, 22_050, 32_000, 44_100, 48_000)


def through(stream: Stream, samples: Samples, cuts: list[int] | None = None) -> Samples:
    """All that a stream makes of `samples`, pushed in one go or cut after the given numbers of samples."""
    pieces = np.split(samples, np.cumsum(cuts)) if cuts else [samples]
    return np.concatenate([*(stream.push(piece) for piece in pieces), stream.flush()])


def test_every_converter_of_the_catalogue_streams(made: Made) -> None:
    sound = speech(1.5, rate=24_000)
    result = through(made.engine.stream(made.voice, 24_000), sound)
    assert len(result) == len(sound)
    assert frame_levels(result, 24_000)[frame_levels(sound, 24_000) > -25].mean() > -45


@FEW
@given(rate=some.sampled_from(RATES), sizes=some.lists(some.integers(0, 5000), min_size=1, max_size=12))
def test_the_result_does_not_depend_on_how_the_source_is_cut(made: Made, rate: int, sizes: list[int]) -> None:
    sound = speech(0.45, rate=rate)
    whole = through(made.engine.stream(made.voice, rate), sound)
    assert np.array_equal(through(made.engine.stream(made.voice, rate), sound, sizes), whole)


def test_single_samples_are_pushes_too(made: Made) -> None:
    sound = speech(0.2, rate=16_000)
    whole = through(made.engine.stream(made.voice, 16_000), sound)
    assert np.array_equal(through(made.engine.stream(made.voice, 16_000), sound, [1] * (len(sound) - 1)), whole)


@FEW
@given(rate=some.sampled_from([*RATES, 16_001, 47_900]), length=some.integers(0, 12_000))
def test_the_result_is_as_long_as_the_source_at_any_rate(made: Made, rate: int, length: int) -> None:
    stream = made.engine.stream(made.voice, rate)
    result = through(stream, speech(length / rate + 0.1, rate=rate)[:length])
    assert result.shape == (length,) and result.dtype == np.float32 and np.isfinite(result).all()


@pytest.mark.parametrize("rate", RATES)
def test_no_sample_waits_longer_than_stated(made: Made, rate: int) -> None:
    stream = made.engine.stream(made.voice, rate)
    sound, given_back, longest, few = speech(0.4, rate=rate), 0, 0, 8
    for start in range(0, len(sound), few):
        given_back += len(stream.push(sound[start : start + few]))
        longest = max(longest, start + few - given_back)
    assert stream.delay_seconds - 0.001 < longest / rate <= stream.delay_seconds <= 0.150


def test_silence_stays_silent_and_speech_does_not(made: Made) -> None:
    rate = 24_000
    quiet = np.zeros(rate // 2, np.float32)
    result = through(made.engine.stream(made.voice, rate), np.concatenate([quiet, speech(0.6, rate=rate), quiet]))
    level = frame_levels(result, rate)
    assert level[:45].max() < -80 and level[-35:].max() < -80
    assert level[50:110].max() > -40
    assert not through(made.engine.stream(made.voice, rate), quiet).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_and_the_stream_goes_on(made: Made, bad: float) -> None:
    sound = speech(0.4, rate=16_000)
    broken = sound[4000:].copy()
    broken[17] = bad
    stream = made.engine.stream(made.voice, 16_000)
    before = stream.push(sound[:4000])
    with pytest.raises(AudioError, match="finite"):
        stream.push(broken)
    result = np.concatenate([before, stream.push(sound[4000:]), stream.flush()])
    assert np.array_equal(result, through(made.engine.stream(made.voice, 16_000), sound))


@pytest.mark.parametrize("bad", [np.zeros((8, 2), np.float32), np.zeros(8, np.int16), np.zeros(8, np.complex64)])
def test_stereo_and_whole_numbers_are_refused(made: Made, bad: Samples) -> None:
    with pytest.raises(AudioError, match="one channel"):
        made.engine.stream(made.voice, 16_000).push(bad)


@pytest.mark.parametrize("level", [1e-30, 1e-4, 1.0, 1e3, 3e38])
def test_any_level_gives_a_sound_within_full_scale(made: Made, level: float) -> None:
    sound = speech(0.4, rate=16_000).astype(np.float64)
    loud = (sound / np.abs(sound).max() * level).astype(np.float32)
    result = through(made.engine.stream(made.voice, 16_000), loud)
    assert np.isfinite(result).all() and np.abs(result).max() < 1.0


def test_a_constant_and_full_scale_squares_do_no_harm(made: Made) -> None:
    constant = np.full(6_000, 1.0, np.float32)
    for sound in (constant, np.sign(tone(0.4, rate=16_000)), np.resize([1.0, -1.0], 6_000).astype(np.float32)):
        result = through(made.engine.stream(made.voice, 16_000), sound)
        assert np.isfinite(result).all() and np.abs(result).max() < 1.0


def test_two_streams_know_nothing_of_each_other(made: Made) -> None:
    one, two = speech(0.5, rate=24_000, seed=1), speech(0.5, rate=24_000, f0=210.0, seed=2)
    alone = [through(made.engine.stream(made.voice, 24_000), sound) for sound in (one, two)]
    streams = [made.engine.stream(made.voice, 24_000) for _ in range(2)]
    parts: list[list[Samples]] = [[], []]
    for start in range(0, len(one), 1000):
        for index, sound in enumerate((one, two)):
            parts[index].append(streams[index].push(sound[start : start + 1000]))
    for index in range(2):
        assert np.array_equal(np.concatenate([*parts[index], streams[index].flush()]), alone[index])


def test_another_seed_is_other_noise(made: Made) -> None:
    sound = speech(0.6, rate=16_000)
    first, other = (
        through(made.engine.stream(made.voice, 16_000, options=StreamOptions(seed=seed)), sound) for seed in (0, 1)
    )
    assert not np.array_equal(first, other)


def test_an_ended_stream_takes_no_more(made: Made) -> None:
    stream = made.engine.stream(made.voice, 16_000)
    assert len(stream.flush()) == 0
    with pytest.raises(EngineError, match="open another"):
        stream.push(np.zeros(1, np.float32))
    with pytest.raises(EngineError, match="open another"):
        stream.flush()


@pytest.mark.parametrize("options", [{"pitch": 25.0}, {"pitch": -24.1}, {"retrieval": 1.1}, {"preset": "best"}])
def test_options_out_of_range_are_refused(made: Made, options: dict[str, object]) -> None:
    with pytest.raises(EngineError):
        made.engine.stream(made.voice, 16_000, options=replace(StreamOptions(), **options))


@pytest.mark.parametrize("rate", [0, 8_000, 15_999, 48_001, 96_000])
def test_rates_out_of_range_are_refused(made: Made, rate: int) -> None:
    with pytest.raises(EngineError, match="16000 to 48000"):
        made.engine.stream(made.voice, rate)


def test_pitch_moves_by_what_was_asked_for(made: Made) -> None:
    sound = speech(1.5, rate=16_000)
    as_it_is = f0.extract(sound, 16_000).f0
    for semitones in (-5.0, 7.0):
        stream = made.engine.stream(made.voice, 16_000, options=StreamOptions(pitch=semitones))
        heard = f0.extract(through(stream, sound), 16_000).f0
        both = (heard > 0) & (as_it_is > 0)
        assert np.median(12 * np.log2(heard[both] / as_it_is[both])) == pytest.approx(semitones, abs=0.5)


def test_automatic_pitch_reaches_the_voices_range(made: Made) -> None:
    # The voice was made of speech at 180 Hz.
    heard = f0.extract(through(made.engine.stream(made.voice, 16_000), speech(4.0, rate=16_000, f0=110.0)), 16_000).f0
    voiced = heard[100:][heard[100:] > 0]
    assert abs(12 * np.log2(np.median(voiced) / 190.0)) < 2.5


def test_a_stream_sounds_like_the_conversion_of_a_file(made: Made, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "source.wav", 6.0, 24_000)
    sound, rate = soundfile.read(source, dtype="float32")
    made.engine.convert(made.voice, source, tmp_path / "out.wav", options=ConvertOptions(pitch=3.0, denoise=0.0))
    offline, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    streamed = through(made.engine.stream(made.voice, rate, options=StreamOptions(pitch=3.0)), sound)
    levels = [frame_levels(result, rate)[100:] for result in (offline, streamed)]
    audible = levels[0] > levels[0].max() - 40
    assert np.corrcoef(levels[0][audible], levels[1][audible])[0, 1] > 0.9
    tracks = [f0.extract(result, rate).f0[100:] for result in (offline, streamed)]
    assert contour_agreement(tracks[0], tracks[1])[1] < 100


@pytest.mark.parametrize("rate", SYNTHESIS_RATES)
def test_synthesis_in_hops_is_synthesis_in_one_go(rate: int) -> None:
    config, hop, frames = load_base().config, 5, 60
    torch.manual_seed(0)
    harmonic, noise = torch.randn(1, frames, 160).cumsum(-1) * 0.05 - 3, torch.full((1, frames, 80), -14.0)
    contour = torch.linspace(110.0, 190.0, frames + hop + LEAD_FRAMES)
    contour[30:38] = 0
    # The stream begins unvoiced, and from the last unvoiced frame on the first period runs.
    phase = contour[:1].double() / 100 % 1
    gains = Gains(harmonic, noise)
    whole = synthesise(gains, contour[None, :frames], rate, (frames - 1) * rate // 100, config, phase=phase)
    stream = SynthesisStream(rate, hop, config)
    step = rate // 100
    # A hop before the beginning, unvoiced, as a stream has it.
    before = torch.cat([torch.zeros(hop), contour])
    parts = [torch.cat([part[:, :1].expand(-1, hop, -1), part], dim=1) for part in (harmonic, noise)]
    made = [
        stream(Gains(*(part[:, at : at + hop] for part in parts)), before[at : at + hop + LEAD_FRAMES].numpy())
        for at in range(0, frames, hop)
    ]
    sound = torch.from_numpy(np.concatenate(made))[hop * step + stream.delay :]
    inner = slice(5 * step, 45 * step)
    assert whole[0, inner].abs().max() > 0.1
    assert torch.allclose(sound[inner], whole[0, inner], atol=2e-3)


@pytest.mark.parametrize("hops", [1, 7])
def test_pulses_do_not_end_with_their_stretch(hops: int) -> None:
    stream = SynthesisStream(24_000, 5, load_base().config)
    flat = Gains(torch.zeros(1, 5, 160), torch.full((1, 5, 80), -14.0))
    contour = np.full(5 + LEAD_FRAMES, 150.0, np.float32)
    made = torch.from_numpy(np.concatenate([stream(flat, contour) for _ in range(hops + 2)]))
    train, _ = pulses(torch.full((1, 200), 150.0), 24_000, len(made))
    inner = made[2400:]
    shifts = [torch.dot(inner[:-200], train[0, shift : shift + len(inner) - 200]) for shift in range(161)]
    # With unit gains the source comes back: somewhere it lies exactly over a train of the same pitch.
    assert float(max(shifts)) > 0.97 * float(inner[:-200].square().sum())


def test_with_all_of_the_past_and_future_content_is_that_of_a_file() -> None:
    encoder = load_base().content
    torch.manual_seed(0)
    mel = torch.randn(160, 80).cumsum(0) * 0.2 - 5
    hop, ahead = 5, 100
    stream = ContentStream(encoder, hop, hop + ahead)
    with torch.inference_mode():
        whole = encoder(mel[None])[0]
        made = torch.cat([stream(mel[at : at + hop + ahead])[:hop] for at in range(0, 50, hop)])
    assert torch.nn.functional.cosine_similarity(made, whole[:50], dim=-1).min() > 0.99


@pytest.mark.parametrize(("rate", "wanted"), [(48_000, 16_000), (44_100, 16_000), (24_000, 22_050), (16_001, 16_000)])
def test_resampling_keeps_tones_in_place_and_removes_what_does_not_fit(rate: int, wanted: int) -> None:
    for hz, kept in ((440.0, True), (0.44 * min(rate, wanted), True), (0.54 * wanted, rate < 1.08 * wanted)):
        if hz >= rate / 2:
            continue
        sound = tone(0.5, hz=hz, rate=rate)
        resampler = StreamResampler(rate, wanted)
        made = np.concatenate([resampler(part) for part in np.array_split(sound, 9)])
        true = tone(0.5, hz=hz, rate=wanted)[: len(made)]
        inner = slice(200, len(made) - 200)
        if kept:
            assert np.abs(made - true)[inner].max() < 0.002
        else:
            assert np.abs(made)[inner].max() < 0.001


@FEW
@given(rate=some.sampled_from([*RATES, 16_001, 47_900]), outputs=some.integers(1, 4000))
def test_a_resampler_says_exactly_what_it_needs(rate: int, outputs: int) -> None:
    needed = StreamResampler(rate, 16_000).inputs_for(outputs)
    assert len(StreamResampler(rate, 16_000)(np.zeros(needed, np.float32))) >= outputs
    assert len(StreamResampler(rate, 16_000)(np.zeros(needed - 1, np.float32))) < outputs


def test_a_voice_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.voice").write_bytes(b"nothing")
    for name in CONVERTERS:
        with pytest.raises(EngineError):
            Engine(converter=name, threads=1).stream(tmp_path / "bad.voice", 16_000)


def test_the_command_line_streams_a_file(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_speech(tmp_path / "source.wav", 0.5), tmp_path / "out.flac"
    command = ["stream", str(made.voice), str(source), str(out), "--sample-rate", "24000", "--threads", "1"]
    command += ["--converter", converter_of(made.voice)]
    assert main([*command, "--chunk-ms", "30"]) == 0
    assert "delay" in capsys.readouterr().out
    assert (soundfile.info(out).samplerate, soundfile.info(out).frames) == (24_000, 12_000)
    assert main([*command, "--chunk-ms", "0"]) == 2
    assert main([*command[:3], str(tmp_path / "out.mp3")]) == 2
