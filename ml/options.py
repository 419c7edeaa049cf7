"""What can be asked of the engine and what comes back, importable without torch: for forms and for tasks."""

from __future__ import annotations

from ml.converters.base import Checkpoint, ConvertOptions, ConvertResult, TrainOptions, TrainResult
from ml.converters.streaming import StreamOptions

__all__ = ["Checkpoint", "ConvertOptions", "ConvertResult", "StreamOptions", "TrainOptions", "TrainResult"]
