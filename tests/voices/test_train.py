"""From takes to a model: what must be there before, what is kept on the way, which model is used."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import DatabaseError, IntegrityError, connection, transaction

from apps.accounts.models import AuditEvent
from apps.errors import Refused
from apps.jobs.models import Artifact, Job, Status
from apps.voices.models import Take, VoiceModel
from apps.voices.services import training
from apps.voices.tasks import train_voice

FAST = {"preset": "fast", "steps": 30}


@pytest.fixture
def trained(recorded: Any, consent: Any, bob: Any, at_once: Any) -> Any:
    """A model of the voice that was trained by the toy converter."""
    with at_once():
        model = training.train(voice=recorded, user=bob, options=FAST)
    model.refresh_from_db()
    assert model.job.status == "done", model.job.message
    return model


def test_a_training_ends_in_a_model_with_metrics_curve_and_samples(trained: Any) -> None:
    assert trained.version == 1
    assert (trained.kind, trained.engine, trained.preset, trained.steps) == ("trained", "toy", "fast", 30)
    assert trained.seconds_of_audio == pytest.approx(72.0)
    assert trained.takes.count() == 8
    assert [point["step"] for point in trained.curve] == sorted({point["step"] for point in trained.curve})
    assert trained.curve[-1]["held_out"] < trained.curve[0]["held_out"]
    assert trained.metrics["held_out"] > 0
    assert default_storage.size(trained.file.name) == trained.size
    samples = Artifact.objects.filter(job=trained.job, kind=Artifact.Kind.SAMPLE)
    assert samples.count() == len(trained.curve)
    for sample in samples:
        assert sample.data["seconds"] > 1
        assert len(sample.data["peaks"]) == 200


def test_the_first_model_becomes_active_by_itself_and_the_second_does_not(
    trained: Any, recorded: Any, bob: Any, at_once: Any
) -> None:
    with at_once():
        second = training.make_instant(voice=recorded, user=bob)
    second.refresh_from_db()
    assert second.job.status == "done", second.job.message
    assert (second.version, second.kind, second.active) == (2, "instant", False)
    assert recorded.active_model == trained


def test_a_training_that_was_cut_off_goes_on_and_makes_one_model(
    recorded: Any, consent: Any, bob: Any, at_once: Any, monkeypatch: Any
) -> None:
    from ml.converters.toy import _ToyLesson

    real = _ToyLesson.step
    steps: list[int] = []

    def dies_once(self: Any, index: int) -> float:
        steps.append(index)
        if index == 20 and steps.count(20) == 1:
            raise SystemExit  # as a killed worker: nothing of ours runs on
        return real(self, index)

    monkeypatch.setattr(_ToyLesson, "step", dies_once)
    model = training.train(voice=recorded, user=bob, options=FAST)
    with pytest.raises(SystemExit):
        train_voice(model.job.pk)
    Job.objects.filter(pk=model.job.pk).update(status=Status.QUEUED)
    with at_once():
        train_voice(model.job.pk)
    model.refresh_from_db()
    assert model.job.status == "done", model.job.message
    assert steps.count(0) == 1  # it was not begun again
    assert steps[-1] == 29
    assert VoiceModel.objects.exclude(file="").count() == 1
    assert Artifact.objects.filter(job=model.job).count() == len(model.curve)


@pytest.mark.parametrize(
    ("kept", "start", "sentence"),
    [
        (6, lambda voice, user: training.train(voice=voice, user=user, options=FAST), "needs 60 s of usable takes"),
        (1, lambda voice, user: training.make_instant(voice=voice, user=user), "needs 10 s of usable takes"),
    ],
)
def test_too_little_sound_is_refused_before_anything_starts(
    recorded: Any, consent: Any, bob: Any, kept: int, start: Any, sentence: str
) -> None:
    Take.objects.filter(pk__in=[take.pk for take in Take.objects.all()[kept:]]).update(dropped=True)
    with pytest.raises(Refused, match=sentence) as refused:
        start(recorded, bob)
    assert refused.value.status == 409
    assert not Job.objects.filter(queue="gpu").exists()


def test_the_form_trains_with_its_options(client_of: Any, bob: Any, recorded: Any, consent: Any, address: Any) -> None:
    form = {
        "preset": "fast",
        "steps": "40",
        "batch": "4",
        "precision": "fp32",
        "denoise": "0",
        "learning_rate": "0.0002",
        "f0_method": "pm",
        "seed": "7",
        "save_seconds": "5",
        "patience": "0",
    }
    answer = client_of(bob).post(address("train"), form, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert answer["HX-Redirect"] == address("detail") + "#models"
    model = recorded.models.get()
    assert model.options == {
        "preset": "fast",
        "steps": 40,
        "batch": 4,
        "learning_rate": 0.0002,
        "precision": "fp32",
        "denoise": 0.0,
        "f0_method": "pm",
        "seed": 7,
        "save_seconds": 5.0,
        "patience": 0,
    }
    assert (model.job.kind, model.job.queue, model.job.title) == ("training", "gpu", "Training of Anna, version 1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "none"},
        {"steps": "0"},
        {"learning_rate": "7"},
        {"learning_rate": "nan"},
        {"f0_method": "guess"},
        {"seed": "-1"},
        {"save_seconds": "900"},
        {"patience": "25"},
    ],
)
def test_options_out_of_range_are_refused_beside_their_field(
    client_of: Any, bob: Any, recorded: Any, consent: Any, address: Any, wrong: dict[str, str]
) -> None:
    answer = client_of(bob).post(address("train"), {"preset": "fast", **wrong}, headers={"HX-Request": "true"})
    assert answer.status_code == 422
    assert 'class="error"' in answer.content.decode()
    assert not recorded.models.exists()


def test_an_older_version_can_be_made_active_again(
    trained: Any, recorded: Any, bob: Any, client_of: Any, address: Any, at_once: Any
) -> None:
    with at_once():
        second = training.make_instant(voice=recorded, user=bob)
    assert client_of(bob).post(address("model-activate", second.code)).status_code == 302
    assert recorded.active_model == second
    training.activate(model=trained, user=bob)
    assert recorded.active_model == trained
    assert AuditEvent.objects.filter(action="model.activated").count() == 2


def test_an_unfinished_model_cannot_be_activated_and_the_active_one_stays(
    trained: Any, recorded: Any, bob: Any
) -> None:
    waiting = training.train(voice=recorded, user=bob, options=FAST)
    with pytest.raises(Refused, match="not finished"):
        training.activate(model=waiting, user=bob)
    assert recorded.active_model == trained


def test_two_active_models_cannot_be_written(trained: Any, recorded: Any, bob: Any) -> None:
    second = training.train(voice=recorded, user=bob, options=FAST)
    with pytest.raises(IntegrityError), transaction.atomic():
        VoiceModel.objects.filter(pk=second.pk).update(active=True, file="x")


@pytest.mark.django_db(transaction=True)
def test_of_many_who_activate_at_once_exactly_one_model_stays_active(recorded: Any, consent: Any, bob: Any) -> None:
    models = [training.train(voice=recorded, user=bob, options=FAST) for _ in range(4)]
    for model in models:
        model.refresh_from_db()
        assert model.file, model.job.message
    start = threading.Barrier(4)
    failures: list[Exception] = []

    def activate(model: VoiceModel) -> None:
        start.wait()
        try:
            training.activate(model=model, user=bob)
        except (Refused, DatabaseError) as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=activate, args=[model]) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert recorded.models.filter(active=True).count() == 1


def test_deleting_a_model_removes_its_file_and_samples(trained: Any, bob: Any, at_once: Any) -> None:
    files = [trained.file.name, *Artifact.objects.filter(job=trained.job).values_list("file", flat=True)]
    assert len(files) > 2
    with at_once():
        training.delete_model(model=trained, user=bob)
    assert not VoiceModel.objects.exists()
    assert not any(default_storage.exists(name) for name in files)


def test_deleting_a_training_that_waits_cancels_it(recorded: Any, consent: Any, bob: Any) -> None:
    model = training.train(voice=recorded, user=bob, options=FAST)
    training.delete_model(model=model, user=bob)
    assert Job.objects.get(pk=model.job.pk).status == "cancelled"


def test_a_recording_in_training_cannot_be_deleted(
    client_of: Any, recorded: Any, consent: Any, bob: Any, address: Any
) -> None:
    training.train(voice=recorded, user=bob, options=FAST)
    recording = recorded.recordings.get()
    assert client_of(bob).post(address("recording-delete", recording.code)).status_code == 409
    assert recorded.recordings.count() == 1
