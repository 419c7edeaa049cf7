"""How long a training will take: told from trainings here, scaled, with the range of past errors, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from apps.jobs.models import Job
from apps.voices.estimates import Estimate, expected
from apps.voices.models import VoiceModel
from apps.voices.services import training
from apps.voices.tasks import train_voice
from ml.catalog import PRESETS

STEPS = PRESETS["fast"].load().steps


def past(
    voice: Any,
    *,
    preparing: float = 10.0,
    learning: float = 85.0,
    rest: float = 5.0,
    steps: int = STEPS,
    audio: float = 60.0,
    machine: str = "here",
    **more: Any,
) -> VoiceModel:
    """Write a training that is done, with its record."""
    version = voice.models.count() + 1
    job = Job.objects.create(workspace=voice.workspace, kind="training", title="t", task="t", queue="gpu")
    record = {
        "machines": [{"name": machine, "gpu": None}],
        "attempts": [{"started_at": "2026-01-01T00:00:00+00:00", "seconds": 1.0}],
        "seconds": preparing + learning + rest,
        "stages": {"preparing": preparing, "training": learning, "checking": rest},
        "figures": {},
        "samples": {"interval_seconds": 1.0, "seconds": []},
    }
    given = {"engine": "toy", "preset": "fast", "options": {"batch": None}, "resources": record, "file": "x", **more}
    return VoiceModel.objects.create(
        voice=voice, job=job, version=version, kind="trained", steps=steps, seconds_of_audio=audio, **given
    )


def told(audio: float = 60.0, steps: int | None = None) -> Estimate | None:
    return expected(engine="toy", preset="fast", audio_seconds=audio, steps=steps)


def test_without_a_past_nothing_is_told(voice: Any) -> None:
    assert told() is None
    past(voice, file="")
    past(voice, engine="native")
    past(voice, preset="quality")
    past(voice, options={"batch": 64})
    past(voice, resources={})
    assert told() is None


def test_one_past_training_is_scaled_by_sound_and_by_steps(voice: Any) -> None:
    past(voice)
    assert told() == Estimate(100.0, 100.0, 100.0, 1)
    assert told(audio=120.0) == Estimate(110.0, 110.0, 110.0, 1)
    assert told(steps=2 * STEPS) == Estimate(185.0, 185.0, 185.0, 1)
    assert not Estimate(100.0, 100.0, 100.0, 1).is_range


def test_a_training_of_other_steps_says_something_too(voice: Any) -> None:
    past(voice, steps=2 * STEPS, learning=170.0, audio=120.0, preparing=20.0)
    assert told() == Estimate(100.0, 100.0, 100.0, 1)


def test_the_range_is_how_far_past_ones_were_off(voice: Any) -> None:
    for learning in (85.0, 85.0, 85.0, 185.0):
        past(voice, learning=learning)
    found = told()
    assert found is not None and found.runs == 4
    assert (found.seconds, found.low, found.high) == pytest.approx((100.0, 100.0, 200.0))
    assert found.is_range


def test_machines_of_two_kinds_span_the_range_and_the_newest_comes_first(voice: Any) -> None:
    past(voice, machine="slow", learning=385.0)
    past(voice, machine="quick")
    found = told()
    assert found is not None and (found.seconds, found.low, found.high) == (100.0, 100.0, 400.0)


def test_a_training_across_two_machines_says_nothing(voice: Any) -> None:
    row = past(voice)
    row.resources["machines"].append({"name": "there", "gpu": None})
    row.save()
    assert told() is None


def test_the_page_names_the_time_or_says_that_there_is_none(
    client_of: Any, bob: Any, recorded: Any, consent: Any, address: Any
) -> None:
    for learning in (85.0, 185.0):
        past(recorded, learning=learning)
    page = client_of(bob).get(address("train")).content.decode()
    # 72 s of takes: preparing takes 12 s; from either training the other would have been told wrong by half or double.
    assert "1 min 16 s to 5 min 4 s on this machine" in page
    assert page.count("not yet timed here") == 2


def test_a_training_shows_what_the_past_says_until_it_knows_its_own_pace(
    recorded: Any, consent: Any, bob: Any, at_once: Any, monkeypatch: Any
) -> None:
    from ml.converters.toy import _ToyLesson

    past(recorded, learning=1000.0)
    left: list[float | None] = []
    real = _ToyLesson.step

    def step(self: Any, index: int) -> float:
        left.append(Job.objects.get(kind="training", status="running").seconds_left())
        return real(self, index)

    monkeypatch.setattr(_ToyLesson, "step", step)
    monkeypatch.setattr("ml.training._REPORT_SECONDS", 0.0)
    monkeypatch.setattr("apps.jobs.run.REPORTS_PER_SECOND", 1e9)
    settings.JOBS_INLINE = False
    monkeypatch.setattr("apps.jobs.services.enqueue", lambda job, first=False: None)
    model = training.train(voice=recorded, user=bob, options={"preset": "fast", "steps": STEPS})
    with at_once():
        train_voice(model.job.pk)
    assert left[0] is not None and left[0] > 900
    assert left[-1] is None or left[-1] < 30
