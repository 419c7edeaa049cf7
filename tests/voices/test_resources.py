"""What a training took is kept with its model: shown, drawn and handed out as JSON; so is what happened on the way."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from apps.voices.cards import resources_of
from apps.voices.services import training
from apps.voices.views.models import resource_plots

FAST = {"preset": "fast", "steps": 30}


@pytest.fixture
def trained(recorded: Any, consent: Any, bob: Any, at_once: Any, monkeypatch: Any) -> Any:
    """A model of the voice that was trained by the toy converter, sampled often."""
    monkeypatch.setattr("ml.resources.Recorder.__init__.__kwdefaults__", {"interval": 0.02})
    with at_once():
        model = training.train(voice=recorded, user=bob, options=FAST)
    model.refresh_from_db()
    assert model.job.status == "done", model.job.message
    return model


def test_a_trained_model_has_the_record_of_its_training(trained: Any) -> None:
    record = trained.resources
    assert {"preparing", "training", "checking", "saving", "sampling", "keeping", "finishing"} == set(record["stages"])
    assert 0 < sum(record["stages"].values()) <= record["seconds"] + 0.1
    assert record["figures"]["memory_bytes"]["peak"] > 50_000_000
    assert record["figures"]["cpu_percent"]["peak"] > 0
    assert len(record["attempts"]) == len(record["machines"]) == 1
    assert trained.notes == []


def test_its_page_names_and_draws_it_and_the_record_can_be_downloaded(
    trained: Any, client_of: Any, bob: Any, address: Any
) -> None:
    page = client_of(bob).get(address("model", trained.code)).content.decode()
    assert "What the training took" in page and "Graphics card</dt><dd>None was used" in page
    assert f'data-plot="use-{trained.code}"' in page and f'data-plot="memory-{trained.code}"' in page
    assert f'data-plot="heat-{trained.code}"' not in page
    answer = client_of(bob).get(address("model-resources", trained.code))
    assert answer.json() == trained.resources
    assert answer["Content-Disposition"] == 'attachment; filename="resources-version-1.json"'


def test_a_model_without_a_record_shows_none(trained: Any, client_of: Any, bob: Any, address: Any) -> None:
    type(trained).objects.update(resources={})
    page = client_of(bob).get(address("model", trained.code)).content.decode()
    assert "What the training took" not in page
    assert client_of(bob).get(address("model-resources", trained.code)).json() == {}


def test_the_figures_of_a_graphics_card_are_named_and_drawn() -> None:
    figures = {"gpu_percent": 80.0, "gpu_memory_bytes": 4e9, "gpu_celsius": 61.0, "cpu_percent": 99.0}
    record = {
        "machines": [{"name": "NVIDIA H100", "gpu": "NVIDIA H100"}],
        "attempts": [{"seconds": 1.0}, {"seconds": 2.0}],
        "seconds": 75.0,
        "stages": {"training": 2.0, "preparing": 1.0},
        "figures": {name: {"mean": value / 2, "peak": value, "count": 2} for name, value in figures.items()},
        "samples": {"interval_seconds": 1.0, "seconds": [1.0, 2.0]}
        | {name: [None, value] for name, value in figures.items()},
    }
    facts = {fact.label: fact for fact in resources_of(record)}
    assert facts["Graphics card"].value == "40 % on average, 80 % at most"
    assert facts["Its temperature"].value == "30 °C on average, 61 °C at most"
    assert facts["Time"].value == "1 min 15 s" and "2 attempts" in facts["Time"].meaning
    assert facts["Of that"].value == "training 2.0 s, preparing 1.0 s"
    plots = resource_plots(record)
    assert [series["name"] for series in plots["use"]["series"]] == ["Processor", "Graphics card"]
    assert plots["memory"]["series"][0]["y"] == [None, pytest.approx(4e9 / 2**20)]
    assert plots["heat"]["series"][0]["y"] == [None, 61.0]


def test_what_happened_on_the_way_is_shown_and_a_training_that_fits_nowhere_fails_with_its_sentence(
    recorded: Any, consent: Any, bob: Any, at_once: Any, monkeypatch: Any, client_of: Any, address: Any
) -> None:
    from ml.converters.toy import _ToyLesson

    real, most = _ToyLesson.step, 100

    def step(self: Any, index: int) -> float:
        if self.batch > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, index)

    monkeypatch.setattr(_ToyLesson, "step", step)
    with at_once():
        model = training.train(voice=recorded, user=bob, options=FAST)
    model.refresh_from_db()
    assert model.job.status == "done", model.job.message
    assert model.notes[-1] == "Memory ran out at step 0; going on from step 0 with 64 frames a step."
    assert model.notes[-1] in client_of(bob).get(address("model", model.code)).content.decode()

    most = 0
    with at_once():
        model = training.train(voice=recorded, user=bob, options=FAST)
    model.refresh_from_db()
    assert model.job.status == "failed" and model.job.error_id == ""
    assert model.job.message.startswith("There is too little memory here to train even with 1 frames at a time.")
