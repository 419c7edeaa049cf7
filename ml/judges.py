"""Independent judges of conversions; their packages come with the development extra.

Speaker similarity by Resemblyzer (GE2E), phone errors by PocketSphinx, pitch by FCPE, naturalness by DNSMOS. None of
them has a part in a conversion, unless FCPE was chosen as its pitch method. Signals are mono float32 at 16 kHz in
-1..1.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import EngineError

RATE = 16_000
Samples = NDArray[np.float32]

_PACKAGES = ("resemblyzer", "pocketsphinx", "speechmos")
_DNSMOS_SECONDS = 9
_DNSMOS_PEAK = 0.7


class Judges:
    """All judges, each loaded at its first use. Raises EngineError when one is not installed."""

    def __init__(self) -> None:
        missing = [name for name in _PACKAGES if find_spec(name) is None]
        if missing:
            raise EngineError(
                f"Judging needs {', '.join(missing)}; install the development extra (requirements-dev.txt)."
            )

    @cached_property
    def _verifier(self) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            from resemblyzer import VoiceEncoder

            return VoiceEncoder("cpu", verbose=False)

    def speaker(self, samples: Samples) -> NDArray[np.float32]:
        """Resemblyzer's unit vector (256,) of a signal, its pauses removed."""
        from resemblyzer import preprocess_wav

        trimmed = preprocess_wav(samples.copy(), source_sr=RATE)
        vector = self._verifier.embed_utterance(trimmed if len(trimmed) > RATE // 2 else samples)
        return np.asarray(vector, np.float32)

    @cached_property
    def _recogniser(self) -> Any:
        from pocketsphinx import Decoder

        return Decoder(samprate=RATE, loglevel="FATAL")

    def phones_of(self, transcript: str) -> list[str]:
        """The phones of a text by the recogniser's dictionary; words that it does not know are left out."""
        words = "".join(c if c.isalpha() or c in "' " else " " for c in transcript.lower()).split()
        found = [self._recogniser.lookup_word(word) for word in words]
        return [phone for phones in found if phones for phone in phones.split()]

    def heard_phones(self, samples: Samples) -> list[str]:
        """The phones of what the recogniser hears in a signal."""
        pcm = (np.clip(samples / max(float(np.abs(samples).max()), 1e-6) * 0.7, -1, 1) * 32767).astype(np.int16)
        decoder = self._recogniser
        decoder.start_utt()
        decoder.process_raw(pcm.tobytes(), full_utt=True)
        decoder.end_utt()
        words = [segment.word for segment in decoder.seg() or [] if segment.word[0] not in "<["]
        found = [decoder.lookup_word(word) for word in words]
        return [phone for phones in found if phones for phone in phones.split()]

    def f0(self, samples: Samples) -> NDArray[np.float32]:
        """FCPE's pitch (T,) in Hz per 10 ms, 0 where unvoiced: its authors' voicing, not that of the pitch method."""
        from ml.f0.fcpe import listen

        return listen(samples, 50.0, 1100.0).f0

    def naturalness(self, samples: Samples) -> dict[str, float]:
        """DNSMOS of a signal scaled to a peak of 0.7 and repeated to 9 s: "overall" (OVRL) and "p808", both 1..5."""
        from speechmos import dnsmos

        scaled = samples / max(float(np.abs(samples).max()), 1e-6) * _DNSMOS_PEAK
        times = -(-_DNSMOS_SECONDS * RATE // len(scaled))
        found = dnsmos.run(np.tile(scaled, times)[: max(len(scaled), _DNSMOS_SECONDS * RATE)], RATE, return_df=False)
        return {"overall": float(found["ovrl_mos"]), "p808": float(found["p808_mos"])}


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Levenshtein distance: insertions, deletions and substitutions that make one sequence the other."""
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, 1):
        previous, row[0] = row[0], i
        for j, two in enumerate(second, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (one != two))
    return row[-1]
