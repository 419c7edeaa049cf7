"""A voice of acme's, with and without consent and recordings; jobs run at once, on the toy converter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from tests.sounds import speech, wav_bytes


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


@pytest.fixture(scope="session")
def seventy_seconds() -> bytes:
    """A WAV file of speech-like sound: enough to train on."""
    return wav_bytes(speech(72.0, rate=16000), 16000)


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
def recorded(add_wav: Any, voice: Any, seventy_seconds: bytes) -> Any:
    """The voice with one recording, long enough to train on and sliced."""
    recording = add_wav(seventy_seconds)
    assert recording.job.status == "done", recording.job.message
    # What the grading thinks of generated sound is not the point here.
    recording.takes.update(usable=True)
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
