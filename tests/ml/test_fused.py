"""oneDNN's own calls give what torch's public ones do; networks without a gradient what they give with one."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from ml import fused
from ml.config import SYNTHESIS_RATES, ModelConfig
from ml.convnext import ConvNeXtBlock, bfloat16_precision, float32_precision
from ml.decoder import Gains, responses
from ml.f0.swift import SwiftF0Network
from ml.stream_networks import ContentStream, DecoderStream
from ml.weights import load_base
from tests.sounds import speech

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN")


def block(condition: int = 0) -> ConvNeXtBlock:
    torch.manual_seed(0)
    made = ConvNeXtBlock(64, 3, 7, 2, condition)
    for value in made.parameters():
        nn.init.normal_(value, std=0.2)
    return made


def test_this_way_is_taken_without_a_gradient_on_the_processor_alone() -> None:
    x = torch.zeros(2)
    assert not fused.there(x)
    with torch.no_grad():
        assert fused.there(x) and not fused.there(torch.zeros(2, device="meta"))
    with torch.inference_mode():
        assert fused.there(x)
        seen: list[bool] = []

        def look(value: Tensor) -> Tensor:
            seen.append(fused.there(value))
            return value + 1

        torch.jit.trace(look, x, check_trace=False)
        assert seen == [False]


@pytest.mark.parametrize("condition", [0, 5])
@pytest.mark.parametrize("frames", [1, 3, 200])
def test_a_block_without_a_gradient_is_the_block_with_one(condition: int, frames: int) -> None:
    made, x = block(condition), torch.randn(2, frames, 64)
    given = torch.randn(2, condition) if condition else None
    with torch.no_grad():
        found = made(x, given)
    assert torch.allclose(found, made(x, given), atol=2e-5)


def test_in_bfloat16_a_block_is_as_near_to_float32_as_it_was() -> None:
    made, x = block(), torch.randn(1, 200, 64)
    exact = made(x)
    with bfloat16_precision():
        before = made(x)
        with torch.no_grad():
            now = made(x)
    assert now.dtype == exact.dtype
    assert (now - exact).square().mean() < 1.2 * (before - exact).square().mean()
    assert now.equal(exact) is False
    with float32_precision(), torch.no_grad():
        assert torch.allclose(made(x), exact, atol=2e-5)


@pytest.mark.parametrize("activation", ["none", fused.GELU])
def test_a_layer_laid_out_once_is_the_layer(activation: str) -> None:
    layer, x = nn.Linear(80, 48), torch.randn(12, 80)
    expected = layer(x)
    if activation == fused.GELU:
        expected = nn.functional.gelu(expected, approximate="tanh")
    plain = fused.Linear(layer.weight, layer.bias, 12, torch.float32, activation)
    assert torch.equal(plain(x), expected)  # with a gradient nothing is laid out
    with torch.no_grad():
        packed = fused.Linear(layer.weight, layer.bias, 12, torch.float32, activation)
        assert torch.allclose(packed(x), expected, atol=1e-5)
        assert torch.equal(packed(x), packed(x))


@pytest.mark.parametrize("seconds", [0.02, 0.3, 3.0])
def test_swift_is_the_same_with_and_without_a_gradient(seconds: float) -> None:
    torch.manual_seed(0)
    network = SwiftF0Network()
    for bank in network.filters:
        nn.init.uniform_(bank, 0.0, 0.01)
    sound = torch.from_numpy(speech(seconds, rate=16_000))[None]
    expected = network(sound)
    with torch.inference_mode():
        network.requires_grad_(False)
        found = network(sound)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_two_hops_at_once_are_one_after_the_other_to_the_bit() -> None:
    base, hop, frames = load_base(), 5, 12
    torch.manual_seed(0)
    speaker = nn.functional.normalize(torch.randn(1, base.config.speaker.dimensions))
    with torch.inference_mode():
        contents = [ContentStream(base.content, hop, frames) for _ in range(2)]
        decoders = [DecoderStream(base.decoder, speaker, hop, frames) for _ in range(2)]
        assert contents[0].even and decoders[0].even
        mel = torch.randn(4 * frames, base.config.mel.bands) - 5
        features = torch.randn(4 * frames, base.decoder.enter.in_features)
        alone = torch.cat([contents[0](part) for part in torch.split(mel, frames)])
        assert torch.equal(torch.cat([contents[1](part) for part in torch.split(mel, 2 * frames)]), alone)
        gains = [decoders[0](part)[0].harmonic for part in torch.split(features, frames)]
        pairs = [gain.harmonic for part in torch.split(features, 2 * frames) for gain in decoders[1](part)]
        assert all(torch.equal(one, other) for one, other in zip(gains, pairs, strict=True))


def test_threads_beside_each_other_get_the_same_to_the_bit() -> None:
    base, mel = load_base(), torch.randn(1, 700, 80) - 5
    found: list[Tensor] = []

    def run() -> None:
        with torch.inference_mode():
            found.append(base.content(mel))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run()
    assert all(torch.equal(one, found[-1]) for one in found[:-1])


@pytest.mark.parametrize("rate", SYNTHESIS_RATES)
def test_envelopes_are_interpolated_to_the_same(rate: int) -> None:
    torch.manual_seed(0)
    config = ModelConfig()
    gains = Gains(torch.randn(1, 7, config.decoder.harmonic_bands), torch.randn(1, 7, config.decoder.noise_bands))
    expected = responses(gains, rate, config, 7000.0)
    with torch.no_grad():
        found = responses(gains, rate, config, 7000.0)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)
