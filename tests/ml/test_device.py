"""Everything that a network takes part in lives on the process's device; a GPU is not needed to see that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ml import device
from ml.errors import EngineError

# torch's "meta" device holds shapes and no values, and refuses to mix with the processor's tensors as a GPU does. What
# asks for values (where pulses fall, whether windows add up) cannot run there and is replaced.
ON_META = """
import torch
from ml import decoder, enhancement
from tests.sounds import speech

torch.set_default_device("meta")
import numpy as np
from ml.converters.base import VoiceTraits
from ml.device import on_device
from ml.rehearsal import Rehearsal
from ml.weights import load_base
from ml.losses import adversarial_loss, feature_loss, spectral_loss
from ml.f0.swift import SwiftF0Network
from ml.spectral import loudness

base = load_base()
samples = on_device(speech(2.0, rate=16_000))
assert samples.device.type == "meta"

def pulses(f0, rate, length, phase=None):
    return torch.zeros(f0.shape[0], length), phase

def istft(spectrum, size, *others, length, **more):
    return torch.fft.irfft(spectrum.transpose(1, 2), n=size).flatten(1)[:, :length]

decoder.pulses, torch.istft = pulses, istft
content = base.content.encode(samples[None])
assert content.shape[1:] == (201, 64) and content.device.type == "meta"
heard = base.hearing.encode(samples[None])
assert heard.shape[1:] == (201, 64) and heard.device.type == "meta"
assert base.speaker.embed(samples).shape == (192,)
f0 = torch.full((1, 201), 150.0)
speaker = torch.zeros(1, 192)
base.decoder.requires_grad_(True)
gains = base.decoder(content, f0, loudness(samples[None]), speaker)
sharp = decoder.sharpened(gains, base.config, 8000.0)
moved = decoder.shift_formants(sharp, 3.0, base.config, 8000.0)
made = decoder.synthesise(moved, f0, 24_000, 48_000, base.config, 8000.0, phase=torch.zeros(1))
target = torch.zeros(1, 48_000)
loss = spectral_loss(made, target, 24_000, torch.full((1,), 8000.0))
_, real = base.discriminators(target, 24_000)
scores, features = base.discriminators(made, 24_000)
(loss + adversarial_loss(scores) + feature_loss(real, features)).backward()
assert all(one.grad is not None and one.grad.device.type == "meta" for one in base.decoder.parameters())
gains = base.enhancer(enhancement.power(samples[None], 512, 512), torch.tensor([0.1]))
assert enhancement.masked(torch.zeros(1, 48_000), gains, 24_000).device.type == "meta"
scores, confidence = SwiftF0Network()(samples[None])
assert scores.shape == (1, 125, 95) and confidence.shape == (1, 125)
assert {one.content.device.type for one in base.lenders} == {"meta"}
traits = VoiceTraits(150.0, 100.0, 200.0, -30.0, 8000.0, 1.0, [0.0] * 192)
rehearsal = Rehearsal(base, traits, 1)
forgotten = rehearsal.distance(base.decoder, rehearsal.drawn(np.random.default_rng(0)))
assert forgotten.device.type == "meta"
print("all on one device")
"""


def test_networks_losses_and_synthesis_stay_on_the_devices_side() -> None:
    command = [sys.executable, "-c", ON_META]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)
    assert done.stdout.strip() == "all on one device", done.stderr[-2000:]


def test_arrays_come_back_as_they_went() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(device.to_array(device.on_device(values)), values)
    assert device.on_device(np.array([True, False])).dtype == torch.bool


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused_with_a_sentence_and_auto_does_without() -> None:
    with pytest.raises(EngineError, match="no CUDA GPU"):
        device.choose("cuda")
    assert device.choose("auto") == torch.device("cpu") and device.kind() == "cpu"
    with pytest.raises(KeyError):
        device.choose("tpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_a_voice_is_trained_and_converts_on_a_gpu(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
import soundfile, torch
from ml.engine import Engine, TrainOptions
from tests.sounds import speech
folder = Path(sys.argv[1])
soundfile.write(folder / "take.wav", speech(8.0, rate=24_000), 24_000)
engine = Engine(device="cuda")
options = TrainOptions(preset="fast", steps=4)
engine.train([folder / "take.wav"], folder / "made.voice", options=options, workdir=folder / "work")
engine.convert(folder / "made.voice", folder / "take.wav", folder / "out.wav")
assert torch.cuda.max_memory_allocated() > 0
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out.wav").stat().st_size > 300_000
