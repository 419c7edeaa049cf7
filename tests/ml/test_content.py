"""The content and speaker encoders, as far as they can be told without trained weights."""

from __future__ import annotations

import pytest
import torch

from ml.config import ModelConfig
from ml.content import ContentEncoder, retrieve, speaker_mean
from ml.convnext import ConvNeXtBlock, DepthwiseConv
from ml.speaker import SpeakerEncoder, centroid, similarity

CONFIG = ModelConfig()


def test_content_is_one_normalised_vector_a_frame() -> None:
    torch.manual_seed(0)
    z = ContentEncoder(CONFIG).encode(torch.randn(2, 16_000) * 0.1)
    assert z.shape == (2, 101, 64)
    assert z.dtype == torch.float32
    assert torch.allclose(z.mean(-1), torch.zeros(2, 101), atol=1e-4)
    assert torch.allclose(z.square().mean(-1), torch.ones(2, 101), atol=1e-2)


def test_content_may_be_used_in_training_afterwards() -> None:
    z = ContentEncoder(CONFIG).encode(torch.randn(1, 1600) * 0.1)
    layer = torch.nn.Linear(64, 1)
    layer(z).sum().backward()
    assert layer.weight.grad is not None


def test_a_piece_with_its_context_gives_the_same_content_as_the_whole() -> None:
    torch.manual_seed(0)
    encoder = ContentEncoder(CONFIG)
    mel = torch.randn(1, 400, 80) - 5
    edge = encoder.context
    with torch.no_grad():
        whole, piece = encoder(mel), encoder(mel[:, 150 - edge : 250 + edge])
    assert torch.allclose(piece[:, edge:-edge], whole[:, 150:250], atol=1e-4)


def test_retrieval_moves_content_to_the_pool_by_its_ratio() -> None:
    torch.manual_seed(0)
    normal = torch.nn.functional.layer_norm
    pool = normal(torch.randn(500, 64), (64,))
    z = normal(torch.cat([pool[50:450]] * 3) + 1.5 * torch.randn(1200, 64), (64,))
    assert torch.equal(retrieve(z, pool, 0.0), z)
    near = [(retrieve(z, pool, ratio) @ pool.T).max(-1).values.mean() for ratio in (0.0, 0.3, 0.6)]
    assert near[0] < near[1] < near[2]
    assert torch.allclose(retrieve(pool, pool, 1.0, neighbours=1), pool, atol=1e-5)
    assert retrieve(z, pool[:2], 0.5).shape == z.shape


def test_a_speakers_mean_does_not_say_what_is_near() -> None:
    torch.manual_seed(0)
    normal = torch.nn.functional.layer_norm
    phones, other = torch.randn(400, 64), 1.5 * torch.randn(64)
    pool, z = normal(phones, (64,)), normal(phones[100:300] + other, (64,))
    means = z.mean(0), pool.mean(0)

    def right(found: torch.Tensor) -> float:
        return float(((found @ pool.T).argmax(-1) == torch.arange(100, 300)).float().mean())

    # By what is left without the means each frame finds its own; so it does not without them.
    assert right(retrieve(z, pool, 1.0, neighbours=1, means=means)) > 0.99
    flat = z.mean(0).expand(200, -1)
    assert right(retrieve(flat + 0.3 * (z - flat), pool, 1.0, neighbours=1, means=(z.mean(0), means[1]))) > 0.99
    assert right(retrieve(flat + 0.3 * (z - flat), pool, 1.0, neighbours=1)) < 0.99
    # The content itself goes to the voice's mean too, by the ratio.
    moved = [float((retrieve(z, pool, ratio, means=means).mean(0) - means[1]).norm()) for ratio in (0.01, 0.5)]
    assert moved[1] < 0.5 * moved[0]
    assert torch.equal(retrieve(z, pool, 0.0, means=means), z)


def test_what_is_one_sound_says_nothing_of_its_speaker() -> None:
    torch.manual_seed(0)
    normal = torch.nn.functional.layer_norm
    own, spoken = normal(torch.randn(400, 64) + 0.5, (64,)).mean(0), normal(torch.randn(400, 64) - 1.0, (64,))
    held = spoken[:1].expand(400, -1)
    away = [float((speaker_mean(z.mean(0), len(z), own) - own).norm()) for z in (spoken, held, spoken[:5])]
    assert away[0] > 0.8 * float((spoken.mean(0) - own).norm())
    assert away[1] < 1e-3
    assert away[2] < 0.4 * float((spoken[:5].mean(0) - own).norm())
    assert torch.equal(speaker_mean(torch.zeros(64), 0, own), own)


def test_what_is_near_is_said_by_the_frames_around_too() -> None:
    torch.manual_seed(0)
    normal = torch.nn.functional.layer_norm
    before, after, frame, other = normal(torch.randn(4, 64), (64,))
    nearly = normal(frame + 0.1 * torch.randn(64), (64,))
    # The same frame among strangers, and nearly the same one among its own neighbours.
    pool = torch.stack([other, other, frame, other, other, before, before, nearly, after, after])
    z = torch.stack([before, before, frame, after, after])
    assert torch.allclose(retrieve(z, pool, 1.0, neighbours=1)[2], nearly, atol=1e-5)
    pieces = torch.cat([retrieve(torch.randn(3, 64), pool, 1.0), retrieve(torch.randn(1300, 64), pool, 1.0)])
    assert torch.isfinite(pieces).all()


@pytest.mark.parametrize("dilation", [1, 3])
def test_the_shifted_convolution_is_torchs_depth_wise_convolution(dilation: int) -> None:
    torch.manual_seed(0)
    conv, x = DepthwiseConv(8, 7, dilation), torch.randn(2, 50, 8)
    expected = torch.nn.functional.conv1d(
        x.mT, conv.weight.T[:, None], conv.bias, padding=3 * dilation, dilation=dilation, groups=8
    ).mT
    assert torch.allclose(conv(x), expected, atol=1e-5)


def test_a_condition_changes_a_block_only_once_it_has_learnt() -> None:
    torch.manual_seed(0)
    block, x = ConvNeXtBlock(16, 2, 7, 1, condition=4), torch.randn(1, 20, 16)
    first, second = torch.randn(1, 4), torch.randn(1, 4)
    assert torch.equal(block(x, first), block(x, second))
    assert block.adapt is not None
    torch.nn.init.normal_(block.adapt.weight)
    assert not torch.allclose(block(x, first), block(x, second))


@pytest.mark.parametrize("length", [1, 1600, 16_000, 160_000])
def test_a_speaker_is_a_unit_vector_at_any_length(length: int) -> None:
    torch.manual_seed(0)
    embedding = SpeakerEncoder(CONFIG).eval().embed(torch.randn(length) * 0.1)
    assert embedding.shape == (192,)
    assert similarity(embedding, embedding) == pytest.approx(1.0, abs=1e-4)


def test_a_centroid_is_between_its_embeddings() -> None:
    first, second = torch.eye(192)[0], torch.eye(192)[1]
    assert similarity(centroid([first, second]), first) == pytest.approx(0.5**0.5, abs=1e-4)
    with pytest.raises(ValueError, match="at least one"):
        centroid([])
