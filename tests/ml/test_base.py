"""The base's own training, on a corpus of a few seconds: pack, train, resume, evaluate, export, load."""

from __future__ import annotations

import csv
import importlib.metadata
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import soxr
import torch

from ml import f0
from ml.audio import frame_levels
from ml.base import sampling
from ml.base.adopt import adopt
from ml.base.cleaning import cleaned
from ml.base.content_training import train_content
from ml.base.corpus import held_out_speakers, read_manifest
from ml.base.decoder_training import train_decoder
from ml.base.enhancer_training import EnhancerTraining, cleaning, train_enhancer
from ml.base.evaluate import evaluate
from ml.base.export import export
from ml.base.labels import PHONES, UNLABELLED, Aligner
from ml.base.prepare import SHARD, load_pack, prepare
from ml.base.speaker_training import train_speaker
from ml.base.teacher import bundled, read_weights
from ml.base.teaching import LESSONS, Lessons, recogniser_weights, teach
from ml.config import ANALYSIS_RATE, ModelConfig
from ml.decoder import synthesise
from ml.errors import EngineError
from ml.losses import spectral_loss
from ml.recogniser import BEFORE, LAYERS, Recogniser
from ml.spectral import loudness
from ml.weights import FOLDER, load_base
from tests.sounds import speech

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "speech" / "dev"
COLUMNS = ("path", "speaker_id", "sex", "duration_s", "sample_rate", "transcript", "language", "age", "licence")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven adults of speechocean762 with two recordings each, and one voice at 24 kHz; sounds are generated."""
    root = tmp_path_factory.mktemp("corpus")
    rows = []
    for number in range(16):
        speaker, rate = (f"so762_{number // 2:04d}", 16_000) if number < 14 else ("kathleen", 24_000)
        path = root / ("speechocean762" if number < 14 else "rhasspy_kathleen") / f"{number}.ogg"
        path.parent.mkdir(exist_ok=True)
        seconds = 2.2 + 0.3 * (number % 3)
        soundfile.write(path, speech(seconds, rate=rate, f0=100.0 + 10 * number, seed=number), rate)
        rows.append([path.relative_to(root), speaker, "F", seconds, rate, "hello there", "en", "30", "CC0"])
    with (root / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return root


@pytest.fixture(scope="module")
def packed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("work")
    prepare(corpus, work, 1, lambda fraction, stage: None)
    return work


def test_packing_keeps_samples_and_makes_one_pitch_and_label_a_frame(corpus: Path, packed: Path) -> None:
    items = load_pack(corpus, packed)
    assert [item.utterance for item in items] == read_manifest(corpus)
    for item in items:
        samples, rate = soundfile.read(corpus / item.utterance.path, dtype="float32")
        assert rate == item.rate
        assert np.abs(item.floats() - samples).max() < 1e-3
        assert len(item.f0) == len(item.labels) == 1 + len(samples) * 100 // rate
        assert 0.2 < (item.f0 > 0).mean() < 1
    assert json.loads((packed / "split.json").read_text())["held_out"] == held_out_speakers(read_manifest(corpus))


def test_a_shard_that_is_there_is_kept(corpus: Path, packed: Path) -> None:
    shard = packed / "pack" / "0000.npz"
    before = shard.stat().st_mtime_ns
    prepare(corpus, packed, 1, lambda fraction, stage: None)
    assert shard.stat().st_mtime_ns == before
    assert SHARD >= 16


def test_held_out_speakers_are_never_among_the_trained_ones(corpus: Path, packed: Path) -> None:
    kept, held_out = sampling.split_corpus(corpus, packed)
    speakers = {item.utterance.speaker for item in held_out}
    assert len(speakers) == 5
    assert speakers.isdisjoint(item.utterance.speaker for item in kept)
    assert len(kept) + len(held_out) == 16


def test_a_piece_played_faster_is_higher_and_shorter(corpus: Path, packed: Path) -> None:
    item = load_pack(corpus, packed)[0]
    plain = sampling.cut(item, 16_000, 101, 1.0, np.random.default_rng(0))
    fast = sampling.cut(item, 16_000, 101, 1.4, np.random.default_rng(0))
    assert plain.samples.shape == fast.samples.shape == (16_000,)
    assert np.median(fast.f0[fast.f0 > 0]) == pytest.approx(1.4 * np.median(plain.f0[plain.f0 > 0]), rel=0.1)
    long = sampling.cut(item, 16_000, 501, 1.0, np.random.default_rng(0))
    assert long.samples[len(item.samples) :].max() == 0
    assert long.f0[len(item.f0) :].max() == 0


def test_colour_keeps_length_and_adds_noise_below_the_speech() -> None:
    torch.manual_seed(0)
    samples = torch.from_numpy(np.stack([speech(1.0, rate=16_000, seed=seed) for seed in range(4)]))
    coloured = sampling.colour(samples, np.random.default_rng(0), noise_share=0.0)
    assert coloured.shape == samples.shape
    assert coloured.isfinite().all()
    likeness = torch.nn.functional.cosine_similarity(coloured, samples)
    assert (likeness > 0.5).all()
    assert not torch.allclose(coloured, samples, atol=1e-3)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(corpus: Path, packed: Path, tmp_path: Path) -> None:
    states = []
    for name, stops in (("whole", [3]), ("stopped", [1, 3])):
        work = tmp_path / name
        work.mkdir()
        (work / "pack").symlink_to(packed / "pack")
        for stop in stops:
            train_speaker(corpus, work, stop, seed=4)
        states.append(torch.load(work / "speaker.state", weights_only=True))
    assert [state["step"] for state in states] == [3, 3]
    first, second = (state["parts"]["encoder"] for state in states)
    # The schedule of learning rates depends on the length asked for, so only its warm-up is alike.
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_to_the_end_gives_weights_that_load(corpus: Path, packed: Path, tmp_path: Path) -> None:
    train_content(corpus, packed, 2, seed=1)
    teach(corpus, packed, lambda fraction, stage: None, steps=2)
    train_content(corpus, packed, 4, seed=1, taught_from=2)
    train_speaker(corpus, packed, 2, seed=1)
    train_enhancer(corpus, packed, 2, seed=1)
    train_decoder(corpus, packed, 2, judged_from=1, seed=1)
    found = evaluate(corpus, packed)
    assert 0 <= found["held_out_phone_frame_accuracy"] <= 1
    assert 0 <= found["speaker_pair_eer"] <= 1
    assert found["held_out_spectral_loss"] > 0
    export(corpus, packed, tmp_path, "test-1")
    base = load_base(tmp_path)
    assert base.version == "test-1"
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["training"]["decoder"]["steps"] == 2 and card["training"]["content"]["steps"] == 4
    assert card["recogniser"]["version"] == importlib.metadata.version("moonshine-voice")
    assert torch.equal(base.hearing.recogniser.conv1.weight, load_base().hearing.recogniser.conv1.weight)
    assert {row["corpus"] for row in card["data"]} == {"speechocean762", "rhasspy_kathleen"}
    assert all(row["attribution"] for row in card["data"])


def test_the_recogniser_hears_what_its_authors_graph_does() -> None:
    network = Recogniser()
    network.load_state_dict(recogniser_weights())
    samples = np.pad(speech(3.0, rate=ANALYSIS_RATE), BEFORE)[None]
    graph = onnxruntime.InferenceSession(str(bundled()))
    wanted = graph.run(None, {"input_values": samples, "attention_mask": np.ones(samples.shape, np.int64)})[0]
    with torch.no_grad():
        found = network(torch.from_numpy(samples))
    assert len(found) == LAYERS + 1 and found[-1].shape == wanted.shape
    # Theirs rounds what goes into each product to 8 bits; ours does not.
    assert np.corrcoef(found[-1].numpy().ravel(), wanted.ravel())[0, 1] > 0.998


def test_the_shipped_recogniser_is_its_authors() -> None:
    shipped, own = load_base().hearing.recogniser.state_dict(), recogniser_weights()
    assert shipped.keys() == own.keys() and all(torch.equal(value, own[name]) for name, value in shipped.items())
    _, integers = read_weights(bundled())
    assert len(integers) == 6 * LAYERS


def test_without_its_package_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.base.teacher.find_spec", lambda name: None)
    with pytest.raises(EngineError, match="moonshine-voice"):
        bundled()


def test_lessons_are_those_of_the_frames_that_a_piece_was_cut_from(corpus: Path, packed: Path, tmp_path: Path) -> None:
    items = load_pack(corpus, packed)
    (tmp_path / "pack").symlink_to(packed / "pack")
    total = sum(len(item.f0) for item in items)
    np.save(tmp_path / LESSONS, np.repeat(np.arange(total, dtype=np.float32)[:, None], 64, 1))
    lessons, before = Lessons(corpus, tmp_path), len(items[0].f0)
    piece = sampling.cut(items[1], 16_000, 101, 1.25, np.random.default_rng(0))
    rows = lessons.of(piece)[:, 0]
    assert rows[0] == before + piece.source[0] and rows[80] - rows[0] == pytest.approx(100, abs=1)
    short = sampling.cut(items[1], 16_000, 501, 1.0, np.random.default_rng(0))
    assert short.source[-1] == -1 and (short.source >= 0).sum() == len(items[1].f0)
    np.save(tmp_path / LESSONS, np.zeros((total - 1, 64), np.float16))
    with pytest.raises(ValueError, match="another corpus"):
        Lessons(corpus, tmp_path)


def test_a_training_goes_on_from_weights_that_are_there(corpus: Path, packed: Path, tmp_path: Path) -> None:
    shipped = load_base()
    (tmp_path / "pack").symlink_to(packed / "pack")
    adopt(FOLDER, tmp_path)
    begun = torch.load(tmp_path / "decoder.state", weights_only=True)
    assert all(torch.equal(value, begun["parts"]["decoder"][k]) for k, value in shipped.decoder.state_dict().items())
    (tmp_path / "lessons.npy").symlink_to(packed / "lessons.npy")
    steps = begun["step"]
    assert steps == json.loads((FOLDER / "card.json").read_text())["training"]["decoder"]["steps"]
    train_decoder(corpus, tmp_path, steps + 1, judged_from=steps, seed=1)
    state = torch.load(tmp_path / "decoder.state", weights_only=True)
    assert state["step"] == steps + 1 and state["parts"]["optimiser"]["state"] and "adopted" not in state
    moved = [(state["parts"]["decoder"][k] - value).abs().max() for k, value in shipped.decoder.state_dict().items()]
    assert 0 < max(moved) < 0.01
    # Nothing was trained on besides, so the card's figure of the content encoder still holds.
    found = evaluate(corpus, tmp_path)
    card = json.loads((FOLDER / "card.json").read_text())["evaluation"]
    assert found["held_out_phone_frame_accuracy"] == card["held_out_phone_frame_accuracy"]
    with pytest.raises(FileExistsError, match="another --work"):
        adopt(FOLDER, tmp_path)


def test_what_is_no_adopted_state_must_be_whole(corpus: Path, packed: Path, tmp_path: Path) -> None:
    (tmp_path / "pack").symlink_to(packed / "pack")
    train_speaker(corpus, tmp_path, 1, seed=1)
    state = torch.load(tmp_path / "speaker.state", weights_only=True)
    del state["parts"]["optimiser"]
    torch.save(state, tmp_path / "speaker.state")
    with pytest.raises(KeyError):
        train_speaker(corpus, tmp_path, 2, seed=1)


def test_cleaned_recordings_are_as_long_and_made_once(corpus: Path, packed: Path, tmp_path: Path) -> None:
    hiss = (np.random.default_rng(0).standard_normal(16_000) * 150).astype(np.int16)
    items = [replace(item, samples=np.concatenate([item.samples, hiss])) for item in load_pack(corpus, packed)[:3]]
    enhancer = load_base().enhancer
    found = cleaned(items, enhancer, tmp_path)
    kept = list(tmp_path.glob("cleaned-*.npy"))
    written = kept[0].stat().st_mtime_ns
    assert len(kept) == 1 and [len(one.samples) for one in found] == [len(one.samples) for one in items]
    for item, clean in zip(items, found, strict=True):
        hisses = [np.median(frame_levels(one.floats(), one.rate)[-90:-10]) for one in (item, clean)]
        assert hisses[1] < hisses[0] - 10
        assert item.utterance == clean.utterance and np.array_equal(item.f0, clean.f0)
    again = cleaned(items, enhancer, tmp_path)
    assert kept[0].stat().st_mtime_ns == written
    assert all(np.array_equal(one.samples, two.samples) for one, two in zip(found, again, strict=True))
    cleaned(items[:2], enhancer, tmp_path)
    assert len(list(tmp_path.glob("cleaned-*.npy"))) == 2


def test_an_enhancer_that_takes_nothing_away_is_measured_as_that(corpus: Path, packed: Path) -> None:
    kept, _ = sampling.split_corpus(corpus, packed, "clean")
    training = EnhancerTraining(kept, ModelConfig(), 10, seed=1)
    target, heard = training.draw(4, np.random.default_rng(0))
    assert target.shape == heard.shape and heard.isfinite().all()
    assert not torch.equal(target, heard)
    again = training.draw(4, np.random.default_rng(0))
    assert torch.equal(target, again[0]) and torch.equal(heard, again[1])
    with torch.no_grad():
        training.enhancer.leave.weight.zero_()
        training.enhancer.leave.bias.fill_(20.0)
    found = cleaning(training.enhancer, kept, count=1)
    assert found["after"] == pytest.approx(found["before"], rel=0.05)
    assert found["before"] > 0.1
    assert not cleaning(training.enhancer, [item for item in kept if item.utterance.corpus == "speechocean762"])


def test_the_clean_samples_have_quieter_pauses(corpus: Path, packed: Path) -> None:
    plain, clean = load_pack(corpus, packed)[0], load_pack(corpus, packed, "clean")[0]
    assert len(plain.samples) == len(clean.samples)
    quietest = [np.percentile(frame_levels(item.floats(), item.rate), 5) for item in (plain, clean)]
    assert quietest[1] < quietest[0] - 3


def test_text_that_cannot_be_aligned_gives_no_labels() -> None:
    aligner = Aligner()
    noise = (np.random.default_rng(0).standard_normal(16_000) * 0.1).astype(np.float32)
    assert aligner.align(noise, 16_000, "") is None
    assert aligner.align(noise, 16_000, "qwrtzp") is None


needs_recordings = pytest.mark.skipif(
    not RECORDINGS.exists(), reason="the development recordings are not beside the checkout"
)


def recording(speaker: str, number: int) -> tuple[torch.Tensor, np.ndarray]:
    """One development recording at the analysis rate, as a tensor and as an array."""
    path = sorted((RECORDINGS / "speech" / speaker).iterdir())[number]
    samples, rate = soundfile.read(path, dtype="float32")
    samples = np.asarray(soxr.resample(samples, rate, ANALYSIS_RATE), np.float32)
    return torch.from_numpy(samples), samples


@needs_recordings
def test_the_shipped_speaker_encoder_tells_unheard_speakers_apart() -> None:
    base = load_base()
    speakers = ("libri_1688", "libri_1998", "ljspeech", "so762_0482", "so762_2036")
    first = [base.speaker.embed(recording(speaker, 0)[0]) for speaker in speakers]
    second = [base.speaker.embed(recording(speaker, 3)[0]) for speaker in speakers]
    cosines = torch.stack(first) @ torch.stack(second).T
    assert (cosines.argmax(-1) == torch.arange(len(speakers))).all()


@needs_recordings
def test_the_shipped_base_rebuilds_an_unheard_voice_at_its_pitch() -> None:
    base = load_base()
    signal, samples = recording("ljspeech", 0)
    track = f0.extract(samples, ANALYSIS_RATE).f0
    with torch.no_grad():
        gains = base.decoder(
            base.hearing.encode(signal[None]),
            torch.from_numpy(track)[None],
            loudness(signal[None]),
            base.speaker.embed(signal)[None],
        )
        made = synthesise(gains, torch.from_numpy(track)[None], ANALYSIS_RATE, len(signal), base.config)
    assert spectral_loss(made, signal[None], ANALYSIS_RATE) < 0.9
    heard = f0.extract(made[0].numpy(), ANALYSIS_RATE).f0
    both = (heard > 0) & (track > 0)
    assert both.sum() > 0.9 * (track > 0).sum()
    assert np.corrcoef(np.log(heard[both]), np.log(track[both]))[0, 1] > 0.95


@needs_recordings
def test_speech_is_aligned_with_its_text() -> None:
    samples, rate = soundfile.read(RECORDINGS / "speech" / "ljspeech" / "LJ001-0002.flac", dtype="float32")
    labels = Aligner().align(samples, rate, "in being comparatively modern.")
    assert labels is not None
    assert len(labels) == 1 + len(samples) * 100 // rate
    spoken = [PHONES[label] for i, label in enumerate(labels) if label > 0 and (i == 0 or label != labels[i - 1])]
    assert " ".join(spoken[:2]) == "IH N"
    assert " ".join(spoken[-5:]) in ("M AA D ER N", "AA D ER N")
    assert UNLABELLED not in labels
