"""A voice of acme's, with and without consent and recordings; jobs run at once, on the toy converter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import soundfile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from tests.sounds import speech


@pytest.fixture(autouse=True)
def _inline_toy(settings: Any) -> None:
    settings.JOBS_INLINE = True
    settings.DEFAULT_CONVERTER = "toy"


@pytest.fixture
def at_once(django_capture_on_commit_callbacks: Any) -> Callable[[], AbstractContextManager[Any]]:
    """Return a context after which all that waits for the commit has happened: jobs run, files removed."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


@pytest.fixture
def voice(acme: Any, bob: Any) -> Any:
    """A voice of acme's, with nothing in it."""
    from apps.voices.services.voices import create_voice

    return create_voice(workspace=acme, user=bob, name="Anna")


@pytest.fixture
def terms() -> Any:
    """What somebody chose who agrees to speech and singing, without end."""
    from apps.voices.services.consents import Terms

    return Terms("Anna Example", is_own_voice=True, speech=True, singing=True, commercial=False, expires_on=None)


@pytest.fixture
def consent(voice: Any, bob: Any, terms: Any) -> Any:
    """A consent in force for the voice."""
    from apps.voices.services.consents import give_consent

    return give_consent(voice=voice, user=bob, terms=terms)


@pytest.fixture
def add_wav(voice: Any, bob: Any, tmp_path: Path, at_once: Any) -> Callable[..., Any]:
    """Return a function: WAV bytes -> a recording of the voice, sliced."""
    from apps.voices.services.recordings import add_recording

    def add(content: bytes, name: str = "first.wav") -> Any:
        path = tmp_path / "incoming"
        path.write_bytes(content)
        with at_once():
            recording = add_recording(voice=voice, user=bob, path=path, name=name)
        recording.refresh_from_db()
        return recording

    return add


@pytest.fixture
def recorded(voice: Any, tmp_path: Path) -> Any:
    """The voice with a recording in eight takes that claim nine seconds each: enough to train on.

    Their files are short, so that a training costs little: what is counted here are the rows.
    """
    from apps.voices.models import Recording, Take, recording_path, take_path
    from apps.voices.services.files import store

    recording = Recording(
        voice=voice,
        name="first.wav",
        size=1000,
        sha256="0" * 64,
        container="wav",
        codec="pcm_s16le",
        content_type="audio/wav",
        duration=72.0,
        sample_rate=16000,
        channels=1,
    )
    sound = speech(12.0, rate=16000)
    soundfile.write(tmp_path / "whole.wav", sound, 16000)
    recording.file.name = store(recording_path(recording, ""), tmp_path / "whole.wav")
    recording.save()
    grade = {"f0_low_hz": 110.0, "f0_median_hz": 140.0, "f0_high_hz": 180.0, "reverberation": 0.3, "voiced_share": 0.6}
    figures = {"snr_db": 40.0, "clipping": 0.0, "loudness_lufs": -23.0, "speech_share": 0.8, "usable": True}
    for number in range(8):
        start, end = 9.0 * number, 9.0 * number + 9.0
        take = Take(recording=recording, start=start, end=end, f0_median_hz=140.0, peaks=[0.1, 0.5], **figures)
        take.grade = {**grade, **figures, "start": start, "end": end, "speaker": [1.0, 0.0], "same_speaker": 0.5}
        soundfile.write(tmp_path / "take.flac", sound[24000 * number : 24000 * (number + 1)], 16000)
        take.file.name = store(take_path(take, ""), tmp_path / "take.flac")
        take.save()
    return voice


@pytest.fixture
def address(voice: Any) -> Callable[..., str]:
    """Return a function: the name of one of the voice's addresses and its codes -> that address."""

    def of(name: str, *codes: Any) -> str:
        return reverse(f"voices:{name}", args=["acme", voice.code, *codes])

    return of


def upload(content: bytes, name: str = "speech.wav") -> SimpleUploadedFile:
    """Return a file as a form sends it."""
    return SimpleUploadedFile(name, content, content_type="application/octet-stream")
