"""What the graphics card in use is doing, by NVIDIA's management library (NVML); nothing where there is none."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import Any

import pynvml

log = logging.getLogger(__name__)


def threads() -> int:
    """Processor threads that networks are computed with: torch's, where it is loaded, else the cores there are."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else len(os.sched_getaffinity(0))


def card() -> str | None:
    """The name of the CUDA card that this process computes on; None on the processor."""
    torch = _in_use()
    return None if torch is None else str(torch.cuda.get_device_name())


def handle() -> Any:
    """NVML's handle of the card that this thread computes on; None on the processor, or where NVML does not answer."""
    torch = _in_use()
    if torch is None:
        return None
    try:
        pynvml.nvmlInit()
        # CUDA may number the visible cards in another order, so the card is found by its own name.
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
    except pynvml.NVMLError:
        log.warning("NVML does not answer: the record has no figures of the graphics card", exc_info=True)
        return None


def reading(handle: Any) -> dict[str, float]:
    """`gpu_percent`, `gpu_memory_bytes` (of all processes) and `gpu_celsius`, as far as the card tells them."""
    found: dict[str, float] = {}
    if handle is None:
        return found
    # A card that is cut into parts (MIG) tells some of them only.
    with contextlib.suppress(pynvml.NVMLError):
        found["gpu_percent"] = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    with contextlib.suppress(pynvml.NVMLError):
        found["gpu_memory_bytes"] = float(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    with contextlib.suppress(pynvml.NVMLError):
        found["gpu_celsius"] = float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    return found


def _in_use() -> Any:
    """The torch module, if it computes on a CUDA card in this thread: torch's default device is a thread's own."""
    torch = sys.modules.get("torch")
    if torch is None or torch.get_default_device().type != "cuda" or not torch.cuda.is_initialized():
        return None
    return torch
