"""Conversions by programs: by a source, by a file, again, many at once."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from apps.jobs.models import Job
from apps.studio.models import Batch, Conversion, Source
from apps.voices.models import Consent, Voice
from tests.api.conftest import Program, error_of
from tests.sounds import tone, wav_bytes


def new(held: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"voice": str(held["voice"].code), "source": str(held["source"].code), "options": options}


def file(sound: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("song.wav", sound, "audio/wav")


def test_a_source_is_taken_in_once(api: Program, acme: Any) -> None:
    sound = wav_bytes(tone(1.0))
    first, second = api.form("/sources", file=file(sound)), api.form("/sources", file=file(sound))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert Source.objects.count() == 1


def test_what_is_left_out_is_as_usual(api: Program, held: dict[str, Any]) -> None:
    answer = api.post("/conversions", new(held, pitch=-3, format="mp3", loudness=-14, high_pass=False))
    assert answer.status_code == 201, answer.content
    made = answer.json()
    options = made["options"]
    assert (options["pitch"], options["format"], options["loudness"], options["high_pass"]) == (-3, "mp3", -14, False)
    assert (options["preset"], options["retrieval"], made["model_version"]) == ("balanced", 0.7, 1)
    assert api.get(f"/jobs/{made['job']}").json()["status"] == "queued"


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"pitch": 25}, "options.pitch"),
        ({"pitch": "up"}, "options.pitch"),
        ({"retrieval": 2}, "options.retrieval"),
        ({"preset": "best"}, "options.preset"),
        ({"scale": "H major"}, "options.scale"),
        ({"sample_rate": 8000}, "options.sample_rate"),
        ({"high_pass": 1}, "options.high_pass"),
        ({"tags": {}}, "options.tags"),
    ],
)
def test_options_hold_to_the_rules_of_the_page(
    api: Program, held: dict[str, Any], options: dict[str, Any], param: str
) -> None:
    assert str(error_of(api.post("/conversions", new(held, **options)), 422)["param"]).startswith(param)


def test_a_voice_needs_a_model_and_consent(api: Program, held: dict[str, Any], acme: Any) -> None:
    bare = Voice.objects.create(workspace=acme, name="Bare")
    error_of(api.post("/conversions", {**new(held), "voice": str(bare.code)}), 409)
    Consent.objects.update(withdrawn_at=timezone.now())
    error_of(api.post("/conversions", new(held)), 403)
    Source.objects.update(expired_at=timezone.now())
    error_of(api.post("/conversions", new(held)), 410)


def test_again_changes_only_what_is_said(api: Program, held: dict[str, Any]) -> None:
    first = api.post("/conversions", new(held, pitch=2, seed=5)).json()
    second = api.post(f"/conversions/{first['id']}/again", {"options": {"format": "ogg"}}).json()
    assert (second["options"]["pitch"], second["options"]["format"], second["seed"]) == (2, "ogg", 5)
    assert second["parent"] == first["id"]


def test_a_conversion_that_is_made_cannot_be_deleted(api: Program, held: dict[str, Any]) -> None:
    made = api.post("/conversions", new(held)).json()
    error_of(api.delete(f"/conversions/{made['id']}"), 409)
    api.post(f"/jobs/{made['job']}/cancel")
    assert api.delete(f"/conversions/{made['id']}").status_code == 204
    assert not Conversion.objects.filter(code=made["id"]).exists()


def test_a_conversion_is_kept_and_let_go_again(api: Program, held: dict[str, Any]) -> None:
    address = f"/conversions/{held['conversion'].code}"
    assert api.patch(address, {"kept": True}).json()["kept"] is True
    assert api.get(address).json()["kept"] is True
    assert api.patch(address, {"kept": False}).json()["kept"] is False
    made = api.post("/conversions", new(held)).json()
    error_of(api.patch(f"/conversions/{made['id']}", {"kept": True}), 409)


def test_a_bad_item_of_a_batch_fails_alone(api: Program, held: dict[str, Any], acme: Any) -> None:
    bare = Voice.objects.create(workspace=acme, name="Bare")
    body = {
        "name": "Chapters 1 to 3",
        "sources": [str(held["source"].code)],
        "voices": [str(held["voice"].code), str(bare.code)],
        "options": {"format": "mp3"},
    }
    answer = api.post("/batches", body)
    assert answer.status_code == 201, answer.content
    batch = answer.json()
    assert [item["options"]["format"] for item in batch["items"]] == ["mp3"]
    assert batch["counts"] == {"queued": 1, "running": 0, "done": 0, "failed": 0, "cancelled": 0, "refused": 1}
    assert (batch["refused"][0]["voice"], batch["refused"][0]["status"]) == (str(bare.code), 403)
    listed = next(row for row in api.get("/batches").json()["items"] if row["id"] == batch["id"])
    assert listed["counts"] == batch["counts"]
    stopped = api.send("POST", f"/batches/{batch['id']}/cancel").json()
    assert stopped["counts"]["cancelled"] == 1
    assert stopped["items"][0]["status"] == "cancelled"


def test_a_batch_has_a_limit_and_a_voice_that_can_be_used(api: Program, held: dict[str, Any], acme: Any) -> None:
    codes = [str(held["source"].code)] * 51
    many = {"name": "B", "sources": codes, "voices": [str(held["voice"].code)] * 2}
    assert error_of(api.post("/batches", many), 422)["type"] == "validation"
    bare = Voice.objects.create(workspace=acme, name="Bare")
    error_of(api.post("/batches", {"name": "B", "sources": codes[:1], "voices": [str(bare.code)]}), 409)
    error_of(api.post("/batches", {"name": "B", "sources": [], "voices": [str(bare.code)]}), 422)
    assert Batch.objects.exclude(pk=held["batch"].pk).count() == 0
    assert Job.objects.filter(status="queued").count() == 0
