"""A recording becomes takes, once, however often its job is tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage

from apps.jobs.models import Job, Status
from apps.voices.models import Take
from apps.voices.services.recordings import delete_recording, toggle_take
from apps.voices.services.training import preflight_of, usable_seconds
from apps.voices.tasks import slice_recording
from tests.received import received
from tests.sounds import speech, tone, wav_bytes


@pytest.fixture
def sliced(add_wav: Any) -> Any:
    """A recording of 25 s that was sliced by its own job."""
    return add_wav(wav_bytes(speech(25.0, rate=16000), 16000))


def test_a_recording_is_cut_into_graded_takes_by_its_job(sliced: Any) -> None:
    assert (sliced.job.kind, sliced.job.queue, sliced.job.status) == ("slicing", "default", "done")
    takes = list(sliced.takes.all())
    assert len(takes) >= 2
    for take in takes:
        assert 0 <= take.start < take.end <= 25.0
        assert take.seconds <= 12.0
        assert take.usable or take.reasons
        assert default_storage.size(take.file.name) > 1000
        assert len(take.grade["speaker"]) > 10
        assert "path" not in take.grade
    assert all(after.start >= before.end for before, after in zip(takes, takes[1:], strict=False))


def test_slicing_again_replaces_the_takes_and_leaves_no_file_behind(sliced: Any, at_once: Any) -> None:
    before = {(take.start, take.end) for take in sliced.takes.all()}
    files = [take.file.name for take in sliced.takes.all()]
    # As when a worker died after writing and its job was handed to the next.
    Job.objects.filter(pk=sliced.job.pk).update(status=Status.QUEUED, ended_at=None)
    with at_once():
        slice_recording(sliced.job.pk)
    assert {(take.start, take.end) for take in sliced.takes.all()} == before
    assert not any(default_storage.exists(name) for name in files)
    assert all(default_storage.exists(take.file.name) for take in sliced.takes.all())


def test_a_recording_without_a_voice_fails_with_its_sentence(add_wav: Any) -> None:
    recording = add_wav(wav_bytes(tone(5.0, hz=3000.0)))
    assert recording.job.status == "failed"
    assert "No voice can be heard" in recording.job.message
    assert not recording.takes.exists()


def test_dropping_a_take_takes_it_out_of_what_is_trained_on(
    client_of: Any, bob: Any, recorded: Any, address: Any
) -> None:
    take = Take.objects.first()
    assert take is not None
    answer = client_of(bob).post(address("take-drop", take.code), headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "takes-changed" in answer["HX-Trigger"]
    assert "Take back in" in answer.content.decode()
    assert usable_seconds(recorded) == pytest.approx(63.0)
    assert preflight_of(recorded).takes == 7
    toggle_take(Take.objects.get(pk=take.pk))
    assert usable_seconds(recorded) == pytest.approx(72.0)


def test_the_preflight_names_takes_of_somebody_else(client_of: Any, victor: Any, recorded: Any, address: Any) -> None:
    stranger = Take.objects.all()[3]
    stranger.grade = {**stranger.grade, "speaker": [0.0, 1.0]}
    stranger.save()
    assert preflight_of(recorded).strangers == [stranger]
    page = client_of(victor).get(address("preflight"), headers={"HX-Request": "true"}).content.decode()
    assert "Perhaps somebody else" in page
    assert "72 s</strong> usable in 8 takes" in page


def test_takes_can_be_heard_by_every_member(client_of: Any, victor: Any, recorded: Any, address: Any) -> None:
    take = Take.objects.first()
    assert take is not None
    heard = received(client_of(victor).get(address("take-audio", take.code), headers={"Range": "bytes=0-3"}))
    assert heard.status == 206
    assert heard.body == b"fLaC"


def test_a_recordings_page_shows_its_takes_with_grades(
    client_of: Any, victor: Any, recorded: Any, address: Any
) -> None:
    recording = recorded.recordings.get()
    page = client_of(victor).get(address("recording", recording.code)).content.decode()
    assert page.count("Over the noise") == 8
    assert "140 Hz (110–180 Hz)" in page
    assert "Drop" not in page.split("<main")[1].replace("dropped", "")  # a viewer cannot


def test_deleting_a_recording_removes_takes_and_files(recorded: Any, bob: Any, at_once: Any) -> None:
    recording = recorded.recordings.get()
    files = [recording.file.name, *recording.takes.values_list("file", flat=True)]
    with at_once():
        delete_recording(recording=recording, user=bob)
    assert not Take.objects.exists()
    assert not any(default_storage.exists(name) for name in files)


def test_a_worker_that_was_given_up_writes_nothing(add_wav: Any, monkeypatch: Any, at_once: Any) -> None:
    from ml.engine import Engine

    real = Engine.slice

    def overtaken(self: Engine, source: Path, out_dir: Path, **more: Any) -> Any:
        Job.objects.update(attempt=99)
        return real(self, source, out_dir, **more)

    monkeypatch.setattr(Engine, "slice", overtaken)
    recording = add_wav(wav_bytes(speech(8.0, rate=16000), 16000))
    assert recording.job.status == "running"  # another attempt has it
    assert not recording.takes.exists()
