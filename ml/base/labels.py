"""Phone labels at 100 frames per second, by forced alignment of the true transcript with PocketSphinx."""

from __future__ import annotations

import re

import numpy as np
import soxr
from numpy.typing import NDArray
from pocketsphinx import Decoder

# fmt: off
PHONES = (
    "SIL", "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY",
    "F", "G", "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P",
    "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
)
# fmt: on
UNLABELLED = -1
ALIGNER_RATE = 16_000
# The aligner's frame t covers t*10 ms .. t*10 + 25.6 ms, ours is centred at t*10 ms: its frame t is our t + 1.
FRAME_OFFSET = 1


class Aligner:
    """Forced alignment of English text; the American English model comes with PocketSphinx."""

    def __init__(self) -> None:
        self._decoder = Decoder(lm=None, loglevel="FATAL")
        self._index = {phone: index for index, phone in enumerate(PHONES)}

    def align(self, samples: NDArray[np.float32], rate: int, transcript: str) -> NDArray[np.int8] | None:
        """Phone index of each frame, shape (1 + samples // hop,); None when the text cannot be aligned.

        Frames outside the aligned words are silence. A word that is not in the dictionary, or speech that does
        not fit the text, gives None: the utterance then trains without labels.
        """
        words = re.sub(r"[^a-z' ]", " ", transcript.lower()).split()
        if not words or any(self._decoder.lookup_word(word) is None for word in words):
            return None
        frames = 1 + len(samples) * 100 // rate
        if rate != ALIGNER_RATE:
            samples = soxr.resample(samples, rate, ALIGNER_RATE)
        pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        try:
            self._decoder.set_align_text(" ".join(words))
            self._pass(pcm)
            if self._decoder.hyp() is None:
                return None
            self._decoder.set_alignment()
            self._pass(pcm)
            alignment = self._decoder.get_alignment()
        except RuntimeError:  # PocketSphinx reports "no path through the text" so
            return None
        labels = np.zeros(frames, dtype=np.int8)
        for word in alignment:
            for phone in word:
                start = phone.start + FRAME_OFFSET
                labels[start : start + phone.duration] = self._index.get(phone.name, 0)
        return labels

    def _pass(self, pcm: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
