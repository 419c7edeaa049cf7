"""The content and speaker encoders, as far as they can be told without trained weights."""

from __future__ import annotations

import pytest
import torch

from ml.config import ModelConfig
from ml.content import ContentEncoder
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
