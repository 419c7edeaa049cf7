"""From nothing to a voice that can be used, by a program alone."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.accounts.models import AuditEvent
from apps.voices.models import Recording, Upload, Voice
from tests.api.conftest import API, Program, error_of
from tests.received import received
from tests.sounds import speech, tone, wav_bytes

OCTETS = "application/octet-stream"


def file(sound: bytes, name: str = "one.wav") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, sound, "audio/wav")


def test_a_voice_is_made_found_renamed_and_deleted(api: Program, acme: Any) -> None:
    made = api.post("/voices", {"name": " Ada ", "description": "Alto."})
    assert made.status_code == 201
    voice = made.json()
    assert (voice["name"], voice["has_consent"], voice["active_model"], voice["recordings"]) == ("Ada", False, None, 0)
    address = f"/voices/{voice['id']}"
    assert api.get(address).json() == voice
    assert [row["id"] for row in api.get("/voices").json()["items"]] == [voice["id"]]
    changed = api.patch(address, {"name": "Ada L."}).json()
    assert (changed["name"], changed["description"]) == ("Ada L.", "Alto.")
    assert api.delete(address).status_code == 204
    error_of(api.get(address), 404)
    assert not Voice.objects.exists()


def test_a_recording_is_sent_whole(api: Program, held: dict[str, Any], acme: Any) -> None:
    address = f"/voices/{held['voice'].code}/recordings"
    sound = wav_bytes(tone(2.0))
    answer = api.form(address, file=file(sound, "../Take 1.wav"), script="Hello there.")
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert (made["name"], made["script"], made["duration"]) == ("Take 1.wav", "Hello there.", 2.0)
    assert api.get(f"/jobs/{made['job']}").json()["kind"] == "slicing"
    assert error_of(api.form(address, file=file(sound)), 409)["type"] == "conflict"
    assert api.delete(f"/recordings/{made['id']}").status_code == 204
    assert Recording.objects.filter(voice=held["voice"]).count() == 1


def put(api: Program, path: str, content: bytes) -> Any:
    return api.client.put(f"{API}{path}", content, OCTETS, headers=api.headers)


def test_a_recording_is_sent_in_parts(api: Program, held: dict[str, Any]) -> None:
    sound = wav_bytes(tone(2.0))
    begun = api.post(f"/voices/{held['voice'].code}/uploads", {"name": "long.wav", "size": len(sound)})
    assert begun.status_code == 201
    address = f"/uploads/{begun.json()['id']}"
    assert put(api, f"{address}/parts/0", sound[:1000]).json()["offset"] == 1000
    assert error_of(put(api, f"{address}/parts/0", sound[:1000]), 409)["type"] == "conflict"
    error_of(api.send("POST", f"{address}/finish"), 409)
    assert api.get(address).json()["offset"] == 1000
    assert put(api, f"{address}/parts/1000", sound[1000:]).json()["offset"] == len(sound)
    made = api.send("POST", f"{address}/finish")
    assert made.status_code == 201, made.content
    assert (made.json()["name"], made.json()["size"]) == ("long.wav", len(sound))
    error_of(api.get(address), 404)


def test_parts_are_bytes_and_no_more_than_were_announced(api: Program, held: dict[str, Any]) -> None:
    begun = api.post(f"/voices/{held['voice'].code}/uploads", {"name": "a.wav", "size": 3}).json()
    address = f"/uploads/{begun['id']}"
    error_of(api.send("PUT", f"{address}/parts/0", {}), 415)
    error_of(put(api, f"{address}/parts/0", b"1234"), 413)
    assert api.delete(address).status_code == 204
    assert not Upload.objects.filter(code=begun["id"]).exists()


def test_a_take_is_dropped_and_taken_back_in(api: Program, held: dict[str, Any]) -> None:
    address = f"/takes/{held['take'].code}"
    for wanted in (True, True, False):
        assert api.patch(address, {"dropped": wanted}).json()["dropped"] is wanted
        assert api.get(address).json()["dropped"] is wanted


@pytest.fixture
def voice(api: Program) -> str:
    """A voice without consent."""
    return str(api.post("/voices", {"name": "Ada"}).json()["id"])


def test_consent_is_given_in_exactly_the_words_that_were_read(api: Program, voice: str) -> None:
    terms = {"full_name": "Ada Lovelace", "singing": False, "expires_on": "2099-12-31"}
    words = api.post(f"/voices/{voice}/consents/statement", terms).json()["statement"]
    assert "Ada Lovelace" in words and "31 December 2099" in words
    given = {"full_name": "Ada Lovelace", "singing": "false", "expires_on": "2099-12-31"}
    other = api.form(f"/voices/{voice}/consents", **given, agreed="true", statement=words + " Really.")
    assert error_of(other, 422)["param"] == "agreed"
    unread = api.form(f"/voices/{voice}/consents", **given, agreed="false", statement=words)
    assert error_of(unread, 422)["param"] == "agreed"
    kept = api.form(f"/voices/{voice}/consents", **given, agreed="true", statement=words)
    assert kept.status_code == 201, kept.content
    consent = kept.json()
    assert (consent["statement"], consent["singing"], consent["has_recording"]) == (words, False, False)
    assert api.get(f"/voices/{voice}").json()["has_consent"] is True
    error_of(api.get(f"/consents/{consent['id']}/audio"), 404)
    assert api.post(f"/consents/{consent['id']}/withdraw").json()["withdrawn_at"]
    assert api.get(f"/voices/{voice}").json()["has_consent"] is False
    error_of(api.post(f"/consents/{consent['id']}/withdraw"), 409)
    assert AuditEvent.objects.filter(action__startswith="consent.").count() == 2


def test_a_spoken_statement_is_kept(api: Program, voice: str) -> None:
    words = api.post(f"/voices/{voice}/consents/statement", {"full_name": "Ada"}).json()["statement"]
    sound = wav_bytes(tone(1.0))
    kept = api.form(
        f"/voices/{voice}/consents", full_name="Ada", agreed="true", statement=words, spoken=file(sound)
    ).json()
    assert received(api.get(f"/consents/{kept['id']}/audio")).body == sound
    broken = api.form(
        f"/voices/{voice}/consents", full_name="Ada", agreed="true", statement=words, spoken=file(b"no sound")
    )
    error_of(broken, 422)


def test_terms_without_a_use_make_no_statement(api: Program, voice: str) -> None:
    none = {"full_name": "Ada", "speech": False, "singing": False}
    assert error_of(api.post(f"/voices/{voice}/consents/statement", none), 422)["param"] == "speech"
    over = {"full_name": "Ada", "expires_on": "2020-01-01"}
    assert error_of(api.post(f"/voices/{voice}/consents/statement", over), 422)["param"] == "expires_on"


def test_nothing_is_trained_without_consent_or_takes(api: Program, voice: str, held: dict[str, Any]) -> None:
    error_of(api.post(f"/voices/{voice}/models", {}), 403)
    error_of(api.send("POST", f"/voices/{voice}/models/instant"), 403)
    error_of(api.post(f"/voices/{held['voice'].code}/models", {}), 409)
    assert error_of(api.post(f"/voices/{voice}/models", {"preset": "best"}), 422)["param"] == "preset"
    assert error_of(api.post(f"/voices/{voice}/models", {"steps": 1}), 422)["param"] == "steps"


def test_models_are_activated_and_deleted(api: Program, held: dict[str, Any]) -> None:
    model = held["model"]
    model.active = False
    model.save()
    address = f"/models/{model.code}"
    assert api.send("POST", f"{address}/activate").json()["active"] is True
    assert api.get(f"/voices/{held['voice'].code}").json()["active_model"] == str(model.code)
    assert isinstance(api.get(f"{address}/resources").json(), dict)
    assert api.delete(address).status_code == 204
    error_of(api.get(address), 404)


@pytest.mark.slow
def test_from_a_recording_to_a_converted_sentence(
    api: Program, voice: str, django_capture_on_commit_callbacks: Any
) -> None:
    """With the toy converter, jobs inline: what a program does from beginning to end."""
    words = api.post(f"/voices/{voice}/consents/statement", {"full_name": "Ada"}).json()["statement"]
    api.form(f"/voices/{voice}/consents", full_name="Ada", agreed="true", statement=words)
    with django_capture_on_commit_callbacks(execute=True):
        api.form(f"/voices/{voice}/recordings", file=file(wav_bytes(speech(30.0))))
    report = api.get(f"/voices/{voice}/preflight").json()
    assert report["seconds"] > 10
    assert len(api.get(f"/voices/{voice}/takes").json()["items"]) == report["takes"]
    with django_capture_on_commit_callbacks(execute=True):
        model = api.send("POST", f"/voices/{voice}/models/instant").json()
    model = api.get(f"/models/{model['id']}").json()
    assert model["status"] == "done", api.get(f"/jobs/{model['job']}").json()
    if not model["active"]:
        api.send("POST", f"/models/{model['id']}/activate")
    with django_capture_on_commit_callbacks(execute=True):
        made = api.form("/conversions/upload", file=file(wav_bytes(speech(2.0))), voice=voice, format="flac", seed="7")
    assert made.status_code == 201, made.content
    done = api.get(f"/conversions/{made.json()['id']}").json()
    assert (done["status"], done["seed"], done["options"]["format"]) == ("done", 7, "flac")
    result = api.get(f"/conversions/{done['id']}/result")
    assert (result["Content-Type"], b"".join(result)[:4]) == ("audio/flac", b"fLaC")
