"""Takes SwiftF0's weights out of the graph that its author publishes: `python -m ml.f0.swift_import`.

Needs the development requirements (`swift-f0`, `onnx`). The result, `ml/f0/weights/swift.safetensors`, ships; a test
compares what it hears with what the author's package does.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file
from torch import Tensor

from ml.f0 import bundled
from ml.f0.swift import WEIGHTS, SwiftF0Network

LICENCE = "MIT, Copyright (c) 2025-2026 Lars Nieradzik"


def main() -> None:
    """Writes the weights, as SwiftF0Network has them."""
    model = onnx.load(str(bundled("swift_f0", "model.onnx")))
    network = SwiftF0Network()
    network.load_state_dict(_weights(model, network))
    metadata = {"swift_f0": json.dumps({"version": version("swift-f0"), "licence": LICENCE})}
    WEIGHTS.parent.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, WEIGHTS, metadata)
    sys.stdout.write(f"{WEIGHTS.name}: {WEIGHTS.stat().st_size} bytes\n")


def _weights(model: onnx.ModelProto, network: SwiftF0Network) -> dict[str, Tensor]:
    """Convolutions by their order in the graph, which is that of the module; then the three filter banks."""
    tensors = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    scatters = [node for node in model.graph.node if node.op_type == "ScatterElements"]
    found: dict[str, Tensor] = {}
    for name, node in zip(network.layers(), convolutions, strict=True):
        found[f"{name}.weight"], found[f"{name}.bias"] = tensors[node.input[1]], tensors[node.input[2]]
    for index, node in enumerate(scatters):
        bank = torch.zeros_like(network.state_dict()[f"filters.{index}"])
        where, values = tensors[node.input[1]].flatten().long(), tensors[node.input[2]].flatten()
        found[f"filters.{index}"] = bank.flatten().scatter(0, where, values).view_as(bank)
    return found


if __name__ == "__main__":
    main()
