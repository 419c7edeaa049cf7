"""Takes Moonshine's encoder out of the package of its authors, `moonshine-voice` (a development requirement)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ml.errors import EngineError

_TYPES = {1: np.float32, 2: np.uint8, 3: np.int8}
_PRODUCTS = (b"MatMulIntegerToFloat", b"DynamicQuantizeMatMul")
Integers = tuple[Tensor, Tensor, Tensor]


def bundled() -> Path:
    """Where the package has the encoder's weights. Raises EngineError where it is not installed."""
    spec = find_spec("moonshine_voice")
    for place in spec.submodule_search_locations or [] if spec else []:
        path = Path(place) / "assets" / "tiny-en" / "encoder_model.ort"
        if path.is_file():
            return path
    raise EngineError("The recogniser is in the package moonshine-voice 0.0.65; install the development requirements.")


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Integers]]:
    """An encoder in onnxruntime's own format: its numbers and its integers, as `ml.recogniser.Recogniser` names them.

    Its authors stored the matrices as integers with one scale and one zero each.
    """
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    graph = InferenceSession.GetRootAsInferenceSession(path.read_bytes(), 0).Model().Graph()
    tensors, integers = _tensors(graph), {}
    found = {name.replace("_add_tensor", ""): tensors[name] for name in tensors if name.startswith(("conv", "layer"))}
    for index in range(graph.NodesLength()):
        node = graph.Nodes(index)
        name = node.Name().decode()
        inputs = [node.Inputs(at).decode() for at in range(node.InputsLength())]
        if node.OpType() in _PRODUCTS:
            stem = next(one for one in inputs if one.endswith("_quantized") and one in tensors).removesuffix(
                "_quantized"
            )
            values, scale, zero = (tensors[stem + part] for part in ("_quantized", "_scale", "_zero_point"))
            layer = name.strip("/").removesuffix("/MatMul_quant").replace("/", ".")
            integers[f"{layer}.weight"] = values.T.contiguous(), scale.reshape(1), zero.reshape(1)
        elif name in ("/groupnorm/Mul", "/groupnorm/Add"):
            part = "weight" if name.endswith("Mul") else "bias"
            found[f"groupnorm.{part}"] = next(tensors[one] for one in inputs if one in tensors).flatten()
    return found, integers


def _tensors(graph: Any) -> dict[str, Tensor]:
    found = {}
    for index in range(graph.InitializersLength()):
        one = graph.Initializers(index)
        if one.DataType() in _TYPES and one.RawDataLength():
            shape = [one.Dims(at) for at in range(one.DimsLength())]
            values = np.array(one.RawDataAsNumpy().view(_TYPES[one.DataType()]).reshape(shape))
            found[one.Name().decode()] = torch.from_numpy(values)
    return found
