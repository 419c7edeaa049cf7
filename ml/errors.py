"""What the engine raises on purpose. Anything else that leaves the engine is a bug."""

from __future__ import annotations


class EngineError(Exception):
    """The root of all errors that the engine raises knowingly."""


class AudioError(EngineError):
    """The user's file cannot be used; `str(error)` is one clear sentence that says what to do."""


class WeightsError(EngineError):
    """A file of weights or a voice is damaged, of an unknown format, or made by another converter."""


class Cancelled(EngineError):
    """Raised by a `report` callback when the user asked to stop; the engine lets it through."""


class MemoryShortage(EngineError):
    """A training does not fit this machine's memory, however small its steps; `str(error)` is a clear sentence."""
