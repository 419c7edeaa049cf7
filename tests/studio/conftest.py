from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile
from django.core.files import File
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.sounds import speech, wav_bytes


@pytest.fixture(scope="session")
def voice_file(tmp_path_factory: Any) -> Path:
    """A real voice of the toy converter, made from 12 s of generated speech."""
    from ml.engine import Engine

    folder = tmp_path_factory.mktemp("voice")
    takes = []
    for index in range(3):
        takes.append(folder / f"take-{index}.flac")
        soundfile.write(takes[-1], speech(4.0, seed=index), 48000)
    out = folder / "mia.voice"
    Engine(converter="toy").instant(takes, out)
    return out


@pytest.fixture
def make_voice(voice_file: Path) -> Any:
    """Return a function: workspace, name -> a voice with consent and an active model."""

    def make(workspace: Any, name: str = "Mia") -> Any:
        from apps.jobs.models import Job
        from apps.voices.models import Consent, Voice, VoiceModel

        voice = Voice.objects.create(workspace=workspace, name=name)
        Consent.objects.create(voice=voice, statement="I agree.", full_name=name, is_own_voice=True)
        job = Job.objects.create(workspace=workspace, kind="training", title="Training", task="none", queue="gpu")
        model = VoiceModel(voice=voice, job=job, version=1, kind="instant", engine="toy", seconds_of_audio=12.0)
        with voice_file.open("rb") as handle:
            model.file.save("x", File(handle), save=False)
        model.active = True
        model.save()
        return voice

    return make


@pytest.fixture
def mia(acme: Any, make_voice: Any) -> Any:
    """A voice of acme, ready to convert into."""
    return make_voice(acme)


@pytest.fixture
def song() -> Any:
    """Two seconds of generated speech as an uploaded WAV file."""
    return SimpleUploadedFile("my song.wav", wav_bytes(speech(2.0, f0=200.0, seed=9)), content_type="audio/wav")


@pytest.fixture
def form(mia: Any, song: Any) -> dict[str, Any]:
    """What a browser sends to convert the song into Mia with nothing changed."""
    from apps.studio.forms import initial_of
    from apps.studio.options import defaults

    usual = {name: "" if value is None else value for name, value in initial_of(defaults()).items()}
    return {**usual, "voice": str(mia.code), "upload": song}


@pytest.fixture
def converted(bob: Any, acme: Any, form: Any, client_of: Any, django_capture_on_commit_callbacks: Any) -> Any:
    """A finished conversion of the song into Mia, made through the page."""
    with django_capture_on_commit_callbacks(execute=True):
        answer = client_of(bob).post("/w/acme/convert/", form)
    assert answer.status_code == 302, answer.content.decode()
    row = acme.conversions.get()
    assert row.job.status == "done", row.job.message
    return row
