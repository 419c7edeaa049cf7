"""What a take is worth: noise, clipping, loudness, reverberation, pitch range. Figures, then sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml import f0, loudness
from ml.audio import Samples, frame_levels, resample
from ml.config import ANALYSIS_RATE

Array = NDArray[np.float32]

LOWEST_SNR_DB = 12.0
MOST_CLIPPING = 0.002
LOWEST_LOUDNESS = -48.0
LONGEST_DECAY = 0.9
LEAST_SPEECH = 0.35
LEAST_VOICED = 0.08


@dataclass(frozen=True)
class Grade:
    """The figures of one take.

    `snr_db`: level of the voice over that of the recording's quietest tenth, 0..80. `clipping`: share of samples in
    flat runs at the take's highest magnitude, 0..1. `loudness_lufs` by ITU-R BS.1770. `reverberation`: seconds that
    the sound takes to fall by 60 dB where the voice stops (small and dry rooms: under 0.4). `f0_*_hz`: 5th, 50th and
    95th percentile of the voiced frames, 0 without any. `speech_share` and `voiced_share`: 0..1 of the frames.
    """

    snr_db: float
    clipping: float
    loudness_lufs: float
    reverberation: float
    f0_low_hz: float
    f0_median_hz: float
    f0_high_hz: float
    speech_share: float
    voiced_share: float


def grade(samples: Samples, sample_rate: int, speech: NDArray[np.bool_], noise_db: float, f0_method: str) -> Grade:
    """Grades one take: samples (n,) at its own rate, `speech` (T,) per 10 ms, `noise_db` of the recording around it."""
    analysed = resample(samples, sample_rate, ANALYSIS_RATE)
    level = frame_levels(analysed, ANALYSIS_RATE)
    track = f0.extract(analysed, ANALYSIS_RATE, f0_method).f0
    pitch = track[track > 0]
    low, middle, high = np.percentile(pitch, (5, 50, 95)) if len(pitch) else (0.0, 0.0, 0.0)
    speech = np.resize(speech, len(level)) if len(speech) else np.zeros(len(level), bool)
    voice = 10 * np.log10(np.mean(10 ** (level[speech] / 10))) if speech.any() else noise_db
    return Grade(
        snr_db=round(float(np.clip(voice - noise_db, 0.0, 80.0)), 1),
        clipping=round(clipping(samples), 5),
        loudness_lufs=round(max(-70.0, loudness.integrated([samples], sample_rate)), 1),
        reverberation=round(decay_seconds(level), 2),
        f0_low_hz=round(float(low), 1),
        f0_median_hz=round(float(middle), 1),
        f0_high_hz=round(float(high), 1),
        speech_share=round(float(speech.mean()), 3),
        voiced_share=round(float((track > 0).mean()), 3),
    )


def clipping(samples: Samples) -> float:
    """Share of samples (n,) in runs of three or more within 0.1 % of the highest magnitude, if that is over 0.5."""
    magnitude = np.abs(samples)
    top = float(magnitude.max(initial=0.0))
    if top < 0.5:
        return 0.0
    flat = magnitude >= 0.999 * top
    inner = flat[:-2] & flat[1:-1] & flat[2:]
    if not inner.any():
        return 0.0
    runs = np.zeros(len(flat), bool)
    runs[:-2] |= inner
    runs[1:-1] |= inner
    runs[2:] |= inner
    return float(runs.mean())


def decay_seconds(level: Array) -> float:
    """Seconds for a fall of 60 dB, from levels (T,) in dB per 10 ms where the sound falls freely.

    A blind estimate in the manner of Ratnam et al. (2003): a room cannot let sound fall faster than its own decay,
    so the fastest quarter of all falls over 120 ms and at least 4 dB tells of the room and not of the voice. Returns 0
    when nothing falls so far.
    """
    span = 12
    if len(level) <= span:
        return 0.0
    smooth = np.convolve(np.pad(level, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    falls = smooth[:-span] - smooth[span:]
    windows = np.lib.stride_tricks.sliding_window_view(np.diff(smooth), span)
    free = (windows <= 0.3).all(axis=1) & (falls[: len(windows)] >= 4.0)
    if not free.any():
        return 0.0
    steepest = float(np.percentile(falls[: len(windows)][free], 75))
    return 60.0 / steepest * span / 100.0


def reasons(figures: Grade, seconds: float) -> list[str]:
    """Sentences for the user on why a take with these figures had better not be trained on; none: it is usable."""
    found: list[str] = []
    if figures.speech_share < LEAST_SPEECH or figures.voiced_share < LEAST_VOICED:
        found.append("There is hardly any voice in this take; it is left out.")
    if figures.snr_db < LOWEST_SNR_DB:
        found.append(f"The voice is only {figures.snr_db:.0f} dB above the noise; record in a quieter room.")
    if figures.clipping > MOST_CLIPPING:
        found.append(f"{figures.clipping:.1%} of the samples are clipped; lower the recording level.")
    if figures.loudness_lufs < LOWEST_LOUDNESS:
        found.append(f"The take is very quiet ({figures.loudness_lufs:.0f} LUFS); move closer to the microphone.")
    if figures.reverberation > LONGEST_DECAY:
        found.append(f"The room rings for {figures.reverberation:.1f} s; record closer or in a smaller, softer room.")
    if seconds < 1.0:
        found.append("The take is shorter than one second; it is left out.")
    return found
