"""Where tensors live: on the processor, or for the whole process on one CUDA GPU.

The device is torch's default device: what is made anew (`torch.zeros`, networks, constants) is made there, `on_device`
brings arrays there and `to_array` brings them back. It is chosen once, before anything is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml import memory
from ml.catalog import DEVICES
from ml.errors import EngineError


def choose(wish: str) -> torch.device:
    """Makes `wish` this process's device and returns it; "auto" takes a GPU when there is one.

    Raises EngineError for "cuda" without a GPU that can be used, KeyError for what is none of `DEVICES`.
    """
    if wish not in DEVICES:
        raise KeyError(wish)
    there = torch.cuda.is_available()
    if wish == "cuda" and not there:
        raise EngineError("There is no CUDA GPU that torch can use here; choose the device “auto” or “cpu”.")
    chosen = torch.device("cuda" if there and wish != "cpu" else "cpu")
    if chosen.type == "cuda":
        # TensorFloat-32 keeps float32's range and is several times as quick; sizes repeat, so cuDNN may try out.
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        torch.set_default_device(chosen)
    elif torch.get_default_device().type == "cuda":
        torch.set_default_device("cpu")
    return chosen


def kind() -> str:
    """ "cuda" or "cpu": what autocast is asked for."""
    return "cuda" if torch.get_default_device().type == "cuda" else "cpu"


def available_bytes() -> int:
    """Memory that a training may still take on this process's device. Raises as `ml.memory.available_bytes` does."""
    return torch.cuda.mem_get_info()[0] if kind() == "cuda" else memory.available_bytes()


def on_device(values: NDArray[Any] | Tensor) -> Tensor:
    """An array, or a tensor that was read from a file, as a tensor on this process's device, of the same type."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    return tensor.to(torch.get_default_device())


def to_array(values: Tensor) -> NDArray[np.float32]:
    """A tensor as a float32 array in main memory."""
    return np.asarray(values.detach().cpu(), np.float32)
