"""Real time: sound in at any cut, sound out in another voice, always the same and always equally late.

What is pushed is cut anew into hops of 50 ms by counting samples from the beginning, and everything that follows sees
only hops. So the result cannot depend on how the input was cut, to the bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ml import f0
from ml.audio import frame_levels
from ml.catalog import PRESETS
from ml.config import ANALYSIS_HOP, ANALYSIS_RATE, FRAME_RATE
from ml.converters.base import HIGHEST_OUTPUT_RATE, LOWEST_OUTPUT_RATE, Voice, VoiceTraits
from ml.converters.streaming import HOP_FRAMES, MARGIN_FRAMES, WINDOW_FRAMES, StreamOptions, Window
from ml.device import on_device, to_array
from ml.errors import AudioError, EngineError
from ml.rendering import gate, render_rate, rumble_filter
from ml.spectral import loudness_at
from ml.stream_resampling import StreamResampler

Samples = NDArray[np.float32]

SETTLED_FRAMES = 2
"""Frames after the hop's whose pitch is settled with it, since the excitation of the hop's windows reaches there."""
PAST_FRAMES = 14
"""Frames before the hop that the pitch detector and the gate hear."""
EDGE_SAMPLES = 200  # half a mel window after the last frame
HEARD_SAMPLES = (PAST_FRAMES + WINDOW_FRAMES - 1) * ANALYSIS_HOP + EDGE_SAMPLES
FIRST_FRAME = -HOP_FRAMES  # a hop before the sound begins, so that it begins with an excitation
HIGHEST_SHIFT = 24.0
_KNEE, _CEILING = 0.8, 0.97


class Stream:
    """One source on its way into one voice: `push` and again `push`, then `flush`.

    Mono float32 at `rate` hertz (16000 to 48000) goes in and comes out, sample for sample: what `push` and `flush`
    return, joined, is as long as what went in and not shifted against it. A sample comes out when the sample
    `delay_seconds` after it has gone in, at the latest. Levels beyond full scale are clipped; samples that are no
    numbers are refused before any of their push is taken, so that the stream can go on. Silence gives silence.

    For one thread at a time. Raises EngineError for options out of range.
    """

    def __init__(self, voice: Voice, rate: int, options: StreamOptions | None = None) -> None:
        chosen = options or StreamOptions()
        check(rate, chosen)
        self.rate = rate
        self._render_rate = render_rate(rate, voice.traits.bandwidth_hz)
        self._voice = voice.stream(self._render_rate, chosen)
        self._steering = _Steering(voice.traits, chosen.pitch)
        self._into, self._out = StreamResampler(rate, ANALYSIS_RATE), StreamResampler(self._render_rate, rate)
        self._pending = np.zeros(0, np.float32)
        self._heard = np.zeros(HEARD_SAMPLES, np.float32)
        self._track = np.zeros(WINDOW_FRAMES, np.float32)
        self._rumble = rumble_filter(voice.traits.f0_low_hz, self._render_rate)
        self._hops = self._taken = self._given = self._pushed = 0
        self._skip = HOP_FRAMES * self._step + self._voice.delay
        self._flushed = False

    @property
    def delay_seconds(self) -> float:
        """The longest that a sample waits: hop, look-ahead, half of each window, resampling."""
        analysis = WINDOW_FRAMES - 1 + EDGE_SAMPLES / ANALYSIS_HOP
        synthesis = (self._voice.delay + self._out.reach) / self._render_rate
        return analysis / FRAME_RATE + synthesis + (self._into.reach + 2) / self.rate

    def push(self, samples: Samples) -> Samples:
        """Takes the next `samples` (n,), n >= 0, and returns those of the result that are ready (m,).

        Raises AudioError when they are not one row of finite numbers, EngineError after `flush`.
        """
        if self._flushed:
            raise EngineError("This stream has ended; open another one.")
        given = np.asarray(samples)
        if given.ndim != 1 or given.dtype.kind != "f" or not np.isfinite(given).all():
            raise AudioError("A stream takes one channel of finite floating-point samples; convert yours to that.")
        self._pushed += len(given)
        return self._take(np.clip(given, -1.0, 1.0).astype(np.float32))

    def flush(self) -> Samples:
        """Ends the stream and returns the rest of the result. Raises EngineError when it has ended already."""
        if self._flushed:
            raise EngineError("This stream has ended; open another one.")
        missing, rest = self._pushed - self._given, [np.zeros(0, np.float32)]
        hop = np.zeros(HOP_FRAMES * self.rate // FRAME_RATE, np.float32)
        while sum(map(len, rest)) < missing:
            rest.append(self._take(hop))
        self._flushed = True
        return np.concatenate(rest)[:missing]

    @property
    def _step(self) -> int:
        return self._render_rate // FRAME_RATE

    def _take(self, samples: Samples) -> Samples:
        """Runs every hop that has all it hears, cutting the input by its place in the stream alone."""
        pending, start, made = np.concatenate([self._pending, samples]), 0, [np.zeros(0, np.float32)]
        hops: list[Samples] = []
        while True:
            frame = FIRST_FRAME + self._hops * HOP_FRAMES
            until = self._into.inputs_for((frame + WINDOW_FRAMES - 1) * ANALYSIS_HOP + EDGE_SAMPLES)
            end = start + until - self._taken
            ready = end <= len(pending)
            if ready:
                hops.append(pending[start:end])
                self._hops, self._taken, start = self._hops + 1, until, end
            if hops and (len(hops) == self._voice.most_windows or not ready):
                made.append(self._heard_out(hops))
                hops = []
            if not ready:
                break
        self._pending = pending[start:].copy()
        result = np.concatenate(made)
        self._given += len(result)
        return result

    def _heard_out(self, hops: list[Samples]) -> Samples:
        """Listens to the next samples, hop by hop, and returns what they complete of the result, at `rate`."""
        heard, windows, gains = [], [], []
        for samples in hops:
            self._heard = np.concatenate([self._heard, self._into(samples)])[-HEARD_SAMPLES:]
            heard.append(self._heard)
        for sound, track in zip(heard, f0.extract_all(heard), strict=True):
            windows.append(self._window(sound, track.f0))
            begin = PAST_FRAMES * self._step - self._voice.delay
            part = slice(begin, begin + HOP_FRAMES * self._step)
            gains.append(gate(frame_levels(sound, ANALYSIS_RATE), self._step, part))
        made = self._voice.render(windows) * np.concatenate(gains)
        ready = _soft(self._rumble(made).astype(np.float32))
        skipped = min(self._skip, len(ready))
        self._skip -= skipped
        return self._out(ready[skipped:])

    def _window(self, heard: Samples, track: Samples) -> Window:
        """What the voice hears of a hop, of what was `heard` by then and its pitch; what was settled of that stays."""
        near = heard[(PAST_FRAMES - MARGIN_FRAMES) * ANALYSIS_HOP :]
        loud = to_array(loudness_at(on_device(near), MARGIN_FRAMES * ANALYSIS_HOP, WINDOW_FRAMES))
        found = track[PAST_FRAMES : PAST_FRAMES + WINDOW_FRAMES]
        fresh = slice(SETTLED_FRAMES, SETTLED_FRAMES + HOP_FRAMES)
        self._steering.hear(found[fresh], loud[fresh])
        kept = self._track[HOP_FRAMES : HOP_FRAMES + SETTLED_FRAMES]
        self._track = np.concatenate([kept, self._steering.transpose(found[SETTLED_FRAMES:])])
        return Window(near, self._track, loud, self._steering.gain_db)


class _Steering:
    """Follows what the source is like: how far to shift its pitch and its loudness.

    Automatic pitch goes from the median pitch of the last half minute of voiced sound to the voice's, at once when
    the source is first heard and by at most 12 semitones a second from then on; loudness likewise, by 20 dB a second.
    """

    _VOICED_FRAMES = 3000
    _FASTEST = 12.0 * HOP_FRAMES / FRAME_RATE
    _FASTEST_DB = 20.0 * HOP_FRAMES / FRAME_RATE

    def __init__(self, traits: VoiceTraits, pitch: float | str) -> None:
        self._traits, self._automatic = traits, pitch == "auto"
        self._pitches = self._levels = np.zeros(0, np.float32)
        self.shift = 0.0 if isinstance(pitch, str) else pitch
        self.gain_db = 0.0

    def hear(self, track: Samples, loud: Samples) -> None:
        """Takes newly settled frames into account: f0 in Hz and loudness in dB, both (T,)."""
        first = not len(self._pitches)
        self._pitches = np.concatenate([self._pitches, track[track > 0]])[-self._VOICED_FRAMES :]
        self._levels = np.concatenate([self._levels, loud[track > 0]])[-self._VOICED_FRAMES :]
        if not len(self._pitches):
            return
        gain = self._traits.level_db - _median(self._levels)
        shift = 12 * math.log2(self._traits.f0_median_hz / _median(self._pitches))
        shift = min(max(shift, -HIGHEST_SHIFT), HIGHEST_SHIFT) if self._automatic else self.shift
        if first:
            self.shift, self.gain_db = shift, gain
        self.shift += min(max(shift - self.shift, -self._FASTEST), self._FASTEST)
        self.gain_db += min(max(gain - self.gain_db, -self._FASTEST_DB), self._FASTEST_DB)

    def transpose(self, track: Samples) -> Samples:
        """An f0 track (T,) in Hz, shifted."""
        moved = track * 2.0 ** (self.shift / 12)
        return np.asarray(np.where(moved > 0, np.clip(moved, 40.0, 1600.0), 0.0), np.float32)


def check(rate: int, options: StreamOptions) -> None:
    """Raises EngineError, with a sentence, when the rate or an option is outside its range."""
    if not LOWEST_OUTPUT_RATE <= rate <= HIGHEST_OUTPUT_RATE:
        raise EngineError("The sample rate of a stream must be from 16000 to 48000 Hz.")
    if options.pitch != "auto" and not -HIGHEST_SHIFT <= options.pitch <= HIGHEST_SHIFT:
        raise EngineError("The pitch must be from -24 to 24 semitones.")
    if not 0.0 <= options.retrieval <= 1.0:
        raise EngineError("The retrieval must be from 0 to 1.")
    if options.preset not in PRESETS:
        raise EngineError("The preset is unknown.")


def _median(values: Samples) -> float:
    """As numpy's, which asks first whether any is no number."""
    middle = len(values) // 2
    near = np.partition(values, (max(0, middle - 1), middle))
    return float(near[middle] if len(values) % 2 else (near[middle - 1] + near[middle]) / 2)


def _soft(samples: Samples) -> Samples:
    """Peaks bent to stay under the ceiling, sample by sample, so that nothing has to be waited for."""
    magnitude = np.abs(samples)
    room = np.float32(_CEILING - _KNEE)
    bent = _KNEE + room * np.tanh((magnitude - np.float32(_KNEE)) / room)
    return np.where(magnitude > _KNEE, np.copysign(bent, samples), samples).astype(np.float32)
