"""The native fine-tune's parts: what its content is made of, how its batch fits the memory, its precisions."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from ml.adaptation import Adaptation, fitted
from ml.audio import load
from ml.catalog import PRECISIONS
from ml.converters.base import FAST, VoiceTraits
from ml.converters.native import NativeConverter
from ml.convnext import fast_precision
from ml.copies import thinned
from ml.decoder import Decoder, synthesise
from ml.engine import Engine, TrainOptions, silent
from ml.memory import available_bytes
from ml.rehearsal import Rehearsal
from tests.sounds import speech

CONVERTER = NativeConverter()
OPTIONS = TrainOptions(preset="fast", steps=2)
SPEAKER = [192**-0.5] * 192


def lesson(takes: list[Path], options: TrainOptions = OPTIONS) -> Adaptation:
    """A prepared fine-tune of the shipped base."""
    found = Adaptation(CONVERTER.base, CONVERTER.embed, takes, options)
    found.prepare(silent)
    return found


def test_a_take_is_heard_as_it_is_disturbed_and_in_other_voices(takes: list[Path]) -> None:
    prepared = lesson(takes)
    for copies, f0 in zip(prepared.copies, prepared.data.f0, strict=True):
        plain, moved = copies[0].float(), copies[1:].float()
        assert copies.shape == (13, len(f0), CONVERTER.base.config.content.dimensions)
        likeness = torch.nn.functional.cosine_similarity(moved, plain[None], dim=-1).mean(-1)
        assert (likeness < 0.999).all(), "a copy that is the take itself teaches nothing"
        assert (likeness > 0.3).all(), "a copy that is another sentence would teach mumbling"


def test_with_much_speech_each_take_borrows_from_one_lender(takes: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.adaptation.LENDERS_SECONDS", 1.0)
    assert {len(copies) for copies in lesson(takes).copies} == {7}


@given(batch=st.integers(1, 64), clip=st.sampled_from([16_000, 24_000, 48_000]), available=st.integers(0, 10**11))
def test_a_batch_fits_the_memory_there_is(batch: int, clip: int, available: int) -> None:
    found = fitted(batch, clip, available)
    assert 1 <= found <= batch
    assert found == batch or (found + 1) * clip * 1000 + 500_000_000 > available
    assert fitted(batch, clip, 10**12) == batch


def test_a_batch_stays_as_it_began_when_a_training_goes_on(takes: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.adaptation.available_bytes", lambda: 560_000_000)
    small = lesson(takes, TrainOptions(preset="fast", steps=2, batch=9))
    assert small.batch < 9
    monkeypatch.undo()
    large = lesson(takes, TrainOptions(preset="fast", steps=2, batch=9))
    assert large.batch == 9
    small.step(0)
    large.load_state(small.state())
    assert large.batch == small.batch


def test_memory_is_what_the_kernel_or_the_control_group_leaves(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    assert available_bytes(meminfo, tmp_path) == 5_120_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert available_bytes(meminfo, tmp_path) == 5_120_000
    (tmp_path / "memory.max").write_text("3000\n")
    assert available_bytes(meminfo, tmp_path) == 2000
    assert 0 < available_bytes() < 2**50


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_trains(precision: str, takes: list[Path], tmp_path: Path) -> None:
    options = TrainOptions(preset="fast", steps=2, batch=2, precision=precision)
    result = Engine(threads=1).train(takes, tmp_path / "a.voice", options=options, workdir=tmp_path / "run")
    assert 0 < result.curve[-1]["held_out"] < 10


def test_float32_differs_from_bfloat16_only_by_rounding(takes: list[Path]) -> None:
    losses = [lesson(takes, TrainOptions(preset="fast", steps=2, precision=name)).step(0) for name in ("fp32", "bf16")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize("batch", [1, 4, 5])
def test_a_step_is_the_same_on_any_number_of_threads(batch: int, takes: list[Path]) -> None:
    weights, threads = [], torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        try:
            tuned = lesson(takes, TrainOptions(preset="fast", steps=2, batch=batch))
            losses = [tuned.step(0), tuned.step(1)]  # the second is judged, too
            checked = tuned.held_out()
        finally:
            torch.set_num_threads(threads)
        weights.append([*tuned.decoder.state_dict().values(), torch.tensor([*losses, checked])])
    for one, other in zip(*weights, strict=True):
        assert torch.equal(one, other)


def test_the_parts_of_a_step_are_together_the_whole_batch(takes: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    slopes, losses = [], []
    for parts in (1, 2, 3):
        monkeypatch.setattr("ml.adaptation.PARTS", parts)
        tuned = Adaptation(CONVERTER.base, CONVERTER.embed, takes, OPTIONS, replace(FAST, rehearsed=0.0))
        tuned.prepare(silent)
        monkeypatch.setattr("ml.adaptation._descend", lambda found, *_: slopes.append(found))
        losses.append(tuned.step(0))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3) and losses[2] == pytest.approx(losses[0], rel=1e-3)
    for other in slopes[1:]:
        alike = [
            float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))
            for a, b in zip(slopes[0], other, strict=True)
            if a.norm() > 1e-4
        ]
        assert len(alike) > len(slopes[0]) / 2 and min(alike) > 0.99


def test_a_pool_is_thinned_evenly_and_never_beyond_its_size() -> None:
    pool = torch.arange(1000.0)[:, None]
    assert torch.equal(thinned(pool, 1000), pool)
    kept = thinned(pool, 400)[:, 0]
    assert len(kept) == 400 and set((kept // 100).tolist()) == {0, 3, 6, 9}
    assert (kept.diff() == 1).sum() == 396  # all but the three jumps
    assert len(thinned(pool, 350)) <= 350 and len(thinned(pool[:10], 100)) == 10


@pytest.mark.parametrize("denoise", [0.0, 0.5])
def test_a_voice_is_not_to_learn_the_noise_of_its_recordings(denoise: float, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noisy = []
    for number in range(2):
        spoken = np.concatenate([speech(2.5, rate=24_000, seed=number), np.zeros(24_000, np.float32)])
        noise = 0.003 * random.standard_normal(len(spoken))
        noisy.append(tmp_path / f"{number}.flac")
        soundfile.write(noisy[-1], spoken + noise, 24_000, subtype="PCM_24")
    prepared = lesson(noisy, TrainOptions(preset="fast", steps=2, denoise=denoise))
    heard, _ = load(noisy[0], prepared.rate)
    target = prepared.targets[0].numpy()
    assert target.shape == heard.shape
    pause, words = slice(-prepared.rate // 2, None), slice(0, prepared.rate)
    fallen = 10 * np.log10(np.square(heard[pause]).mean() / np.square(target[pause]).mean())
    assert (9 < fallen < 18.5) if denoise else abs(fallen) < 1e-3
    assert 10 * np.log10(np.square(heard[words]).mean() / np.square(target[words]).mean()) == pytest.approx(0, abs=0.3)


def test_a_voice_gets_its_takes_colour_and_the_training_goes_on_without(takes: list[Path], tmp_path: Path) -> None:
    prepared = lesson(takes)
    plain = [value.clone() for value in prepared.decoder.state_dict().values()]
    prepared.save(tmp_path / "a.voice")
    assert all(torch.equal(one, two) for one, two in zip(prepared.decoder.state_dict().values(), plain, strict=True))
    coloured = CONVERTER.open(tmp_path / "a.voice").decoder

    def missing(decoder: torch.nn.Module) -> float:
        """The mean distance of the takes' mean spectrum below 4 kHz to that of the takes as they are said, in dB."""
        differences = []
        for said in prepared._said():
            with torch.no_grad():
                gains = decoder(said.content[None], said.f0[None], said.loudness[None], speaker)
                made = synthesise(gains, said.f0[None], prepared.rate, len(said.target), CONVERTER.base.config)[0]
            spectra = [
                torch.stft(x, 512, 160, window=torch.hann_window(512), return_complex=True) for x in (made, said.target)
            ]
            differences.append(torch.log(spectra[1].abs() + 1e-4) - torch.log(spectra[0].abs() + 1e-4))
        return 8.7 * float(torch.cat(differences, 1)[4:128].mean(1).abs().mean())

    speaker = torch.tensor(prepared.traits.embedding)[None]
    torch.manual_seed(1)
    assert missing(coloured) < 0.6 * missing(prepared.decoder)


def test_an_instant_voice_is_nearer_to_its_takes_than_the_base(takes: list[Path], tmp_path: Path) -> None:
    made = CONVERTER.instant(takes, tmp_path / "a.voice", silent)
    assert made["held_out"] < 0.95 * lesson(takes).held_out()


def test_what_is_rehearsed_may_change_its_colour_and_nothing_else() -> None:
    base, traits = CONVERTER.base, VoiceTraits(180.0, 90.0, 300.0, -28.0, 7000.0, 20.0, SPEAKER)
    rehearsal = Rehearsal(base, traits, seed=1)

    def distance(decoder: Decoder) -> float:
        with torch.no_grad(), fast_precision():
            return float(rehearsal.distance(decoder, torch.arange(0, 40, 4)))

    as_it_was = distance(base.decoder)
    coloured = copy.deepcopy(base.decoder)
    coloured.leave.bias.data += 0.3 * torch.randn(len(coloured.leave.bias), generator=torch.manual_seed(1))
    dulled = copy.deepcopy(base.decoder)
    dulled.leave.weight.data *= 0.7
    assert as_it_was < 0.01
    assert distance(coloured) < 0.03
    assert distance(dulled) > 0.1
    voiced = rehearsal.f0[rehearsal.f0 > 0]
    assert 150 < float(voiced.median()) < 215
    assert float(rehearsal.loudness[rehearsal.f0 > 0].median()) == pytest.approx(-28.0, abs=1.0)


def test_a_fine_tune_forgets_less_when_it_rehearses(takes: list[Path]) -> None:
    left, options = [], TrainOptions(preset="fast", steps=20, batch=4)
    for share in (0.0, FAST.rehearsed):
        tuned = Adaptation(CONVERTER.base, CONVERTER.embed, takes, options, replace(FAST, rehearsed=share))
        tuned.prepare(silent)
        assert (tuned.rehearsal is None) == (share == 0.0)
        for index in range(12):
            tuned.step(index)
        rehearsal = Rehearsal(CONVERTER.base, tuned.traits, seed=5)
        with torch.no_grad():
            left.append(float(rehearsal.distance(tuned.decoder, torch.arange(0, 40, 4))))
    assert left[1] < 0.8 * left[0]
