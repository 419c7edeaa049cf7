"""Where somebody speaks or sings: Silero's detector (MIT), run directly as its ONNX graph; and where nobody does."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import EngineError

RATE = 16_000
HOP = 512
_CONTEXT = 64
_PAUSE_ABOVE_DB, _PAUSE_BELOW_DB = 6.0, 10.0  # pauses lie this near to the quietest frames and below the loud ones


def pauses(f0: NDArray[np.float32], level: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which frames (T,) hold neither pitch nor speech, by pitch in Hz (0: none) and level in dB."""
    quietest, loud = np.percentile(level, (5, 90))
    return np.asarray((f0 <= 0) & (level < min(quietest + _PAUSE_ABOVE_DB, loud - _PAUSE_BELOW_DB)))


def speech_probability(blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Probability of voice (K,) for each whole stretch of 32 ms of a signal at 16 kHz, given in successive blocks."""
    session = _session()
    hidden, cell = np.zeros((1, 1, 128), np.float32), np.zeros((1, 1, 128), np.float32)
    context, rest = np.zeros(_CONTEXT, np.float32), np.zeros(0, np.float32)
    found: list[NDArray[np.float32]] = []
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = len(rest) // HOP
        if not whole:
            continue
        frames = rest[: whole * HOP].reshape(whole, HOP)
        before = np.concatenate([context[None], frames[:-1, -_CONTEXT:]])
        inputs = {"input": np.concatenate([before, frames], axis=1), "h": hidden, "c": cell}
        values, hidden, cell = session.run(["speech_probs", "hn", "cn"], inputs)
        context, rest = frames[-1, -_CONTEXT:], rest[whole * HOP :]
        found.append(np.asarray(values, np.float32).reshape(-1))
    return np.concatenate(found) if found else np.zeros(0, np.float32)


@lru_cache(maxsize=1)
def _session() -> Any:
    import onnxruntime

    # The package's own loader imports torch and more; the graph beside it is all that is needed.
    spec = find_spec("silero_vad")
    if spec is None or spec.origin is None:
        raise EngineError("The package silero-vad is not installed.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = Path(spec.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
