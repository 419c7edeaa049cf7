"""What can be chosen: converters, pitch methods and presets, as tables of dotted paths.

Light on purpose: forms and the command line read it, so nothing here imports torch. `load` is called only by
the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One choice: what the user reads and where the code is (`"module:attribute"`)."""

    label: str
    description: str
    path: str

    def load(self) -> Any:
        """Imports and returns what `path` names."""
        module, _, attribute = self.path.partition(":")
        return getattr(import_module(module), attribute)


CONVERTERS: dict[str, Entry] = {
    "native": Entry(
        "Native",
        "voicecloud's own source-filter network, adapted to each voice.",
        "ml.converters.native:NativeConverter",
    ),
    "toy": Entry(
        "Toy",
        "One trained gain curve over pulses at the source's pitch: quick, plain, for tests.",
        "ml.converters.toy:ToyConverter",
    ),
}

F0_METHODS: dict[str, Entry] = {
    "swift": Entry("SwiftF0", "A small neural network: fast and steady, the default.", "ml.f0.swift:swift"),
    "fcpe": Entry("FCPE", "A larger network: the most exact of the networks, hears soft voices.", "ml.f0.fcpe:fcpe"),
    "crepe-tiny": Entry("CREPE tiny", "CREPE's small network: robust, coarser, slower.", "ml.f0.crepe:crepe_tiny"),
    "crepe": Entry("CREPE", "CREPE's full network: robust, about as slow as real time.", "ml.f0.crepe:crepe_full"),
    "pm": Entry(
        "Autocorrelation", "Boersma's, as in Praat: exact on low voices; octave errors on high.", "ml.f0.pm:pm"
    ),
    "dio": Entry("DIO", "WORLD's quick method: exact on clean voices, drifts in noise.", "ml.f0.world:dio"),
    "harvest": Entry("Harvest", "WORLD's careful method: the most exact on clean voices, slow.", "ml.f0.world:harvest"),
    "pyin": Entry("pYIN", "Probabilistic YIN: smooth on singing, slow.", "ml.f0.pyin:pyin"),
}

DEVICES = ("auto", "cpu", "cuda")

PRECISIONS: dict[str, Entry] = {
    "auto": Entry(
        "Automatic", "bfloat16 where it is quicker on this processor, else float32.", "ml.convnext:fast_precision"
    ),
    "bf16": Entry("bfloat16", "Half the bytes with float32's range.", "ml.convnext:bfloat16_precision"),
    "fp32": Entry("float32", "Full precision: slower, for comparison.", "ml.convnext:float32_precision"),
}

PRESETS: dict[str, Entry] = {
    "fast": Entry("Fast", "Ready soonest; a little less like the voice.", "ml.converters.base:FAST"),
    "balanced": Entry("Balanced", "The default: natural and alike within minutes.", "ml.converters.base:BALANCED"),
    "quality": Entry("Quality", "Learns three times as long, for a little more.", "ml.converters.base:QUALITY"),
}

_KEYS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_MODES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
SCALES: dict[str, tuple[int, ...]] = {
    "chromatic": tuple(range(12)),
    **{
        f"{key} {mode}": tuple(sorted((root + step) % 12 for step in steps))
        for mode, steps in _MODES.items()
        for root, key in enumerate(_KEYS)
    },
}
"""Notes that pitch can be tuned to, in semitones above C; minor is the natural minor scale."""
