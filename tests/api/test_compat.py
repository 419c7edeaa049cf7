"""What the compatible APIs do when work takes long, is gone or fails, and how a no reads to each SDK."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from botocore.exceptions import EndpointConnectionError
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from apps.accounts import keys
from apps.api import problems
from apps.api.compat import consents, speech, waiting
from apps.api.compat.answers import No, no_to
from apps.api.compat.voices import shown
from apps.billing.errors import QuotaExceeded
from apps.errors import Refused
from apps.jobs.models import Job, Status
from apps.jobs.services import end
from apps.studio import services
from apps.studio.models import Conversion, Source
from apps.voices.models import Voice, VoiceModel
from tests.holdings import fill
from tests.sounds import tone, wav_bytes
from voicecloud.limits import BodyLimit

QUOTA = QuotaExceeded("This takes 5 s, and 2 s are left.", meter="convert_seconds", wanted=5, left=2)


def answered(refused: Refused, path: str = "/v1/voices", **headers: str) -> tuple[int, Any]:
    request = RequestFactory().get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = no_to(request, refused)
    return answer.status_code, json.loads(answer.content)


@pytest.mark.parametrize(
    ("refused", "status", "word"),
    [
        (QUOTA, 401, "quota_exceeded"),
        (Refused("There is one already.", status=409), 400, "conflict"),
        (Refused("Too large.", status=413), 413, "file_too_large"),
        (Refused("Slower.", status=429), 429, "too_many_requests"),
        (Refused("Full.", status=503), 503, "service_unavailable"),
        (Refused("Odd.", status=418), 418, "refused"),
        (No("Wait.", status=409, word="voice_not_ready"), 409, "voice_not_ready"),
    ],
)
def test_a_no_reads_as_elevenlabs_says_it(refused: Refused, status: int, word: str) -> None:
    said = {"detail": {"status": word, "message": refused.message}}
    assert answered(refused, xi_api_key="vc_1") == (status, said) == answered(refused)


@pytest.mark.parametrize(
    ("refused", "status", "kind", "code"),
    [
        (QUOTA, 429, "insufficient_quota", "insufficient_quota"),
        (Refused("Slower.", status=429), 429, "rate_limit_exceeded", "rate_limit_exceeded"),
        (Refused("No.", status=403), 403, "invalid_request_error", None),
        (Refused("Full.", status=503), 503, "server_error", None),
    ],
)
def test_a_no_reads_as_openai_says_it(refused: Refused, status: int, kind: str, code: str | None) -> None:
    said = {"error": {"message": refused.message, "type": kind, "param": None, "code": code}}
    assert answered(refused, Authorization="Bearer vc_1") == (status, said)
    assert answered(refused, path="/v1/audio/speech", xi_api_key="vc_1") == (status, said)
    assert answered(refused, X_Stainless_Lang="python") == (status, said)
    assert answered(refused, Authorization="Bearer vc_1", xi_api_key="vc_1")[1].keys() == {"detail"}


def test_what_waits_in_the_answer_of_a_no_is_sent() -> None:
    request = RequestFactory().get("/v1/voices")
    assert no_to(request, No("Wait.", status=409, headers={"Retry-After": "5"}))["Retry-After"] == "5"
    bearer = RequestFactory().get("/v1/models", headers={"Authorization": "Bearer vc_1"})
    assert no_to(bearer, QUOTA)["x-should-retry"] == "false"


@pytest.mark.parametrize("text", [None, "", "null", '"Ellipsis"', "[1]", "{", "{}"])
def test_labels_that_are_none_are_no_consent(text: str | None) -> None:
    assert consents.labels_of(text) == {}


@pytest.fixture
def token(acme: Any, bob: Any) -> str:
    """A key of Bob's."""
    return keys.issue(membership=acme.memberships.get(user=bob), name="CI", scope="create")[1]


SOUND = wav_bytes(tone(1.5))


def convert(voice: Voice, token: str, query: str = "") -> Any:
    file = SimpleUploadedFile("a.wav", SOUND, "audio/wav")
    return Client().post(f"/v1/voice-changer/{voice.code}{query}", {"audio": file}, headers={"xi-api-key": token})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """A site without workers whose requests wait for half a second."""
    settings.JOBS_INLINE = False
    monkeypatch.setattr(waiting, "CALL_SECONDS", 0.5)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("impatient")
def test_a_conversion_that_takes_too_long_goes_on_and_is_in_the_history(acme: Any, alice: Any, token: str) -> None:
    voice = fill(acme, alice)["voice"]
    answer = convert(voice, token)
    assert (answer.status_code, answer.json()["detail"]["status"]) == (400, "still_converting")
    item = answer["history-item-id"]
    assert Conversion.objects.get(code=item).job.status == "queued"
    address, headers = f"/v1/history/{item}", {"xi-api-key": token}
    assert Client().get(address, headers=headers).json()["state"] == "processing"
    waits = Client().get(f"{address}/audio", headers=headers)
    assert (waits.status_code, waits["Retry-After"]) == (409, "5")


@pytest.mark.django_db(transaction=True)
def test_a_conversion_that_fails_says_why(acme: Any, alice: Any, token: str) -> None:
    held = fill(acme, alice)
    answer = convert(held["voice"], token)  # by weights that are none
    job = Conversion.objects.get(code=answer["history-item-id"]).job
    assert job.status == "failed"
    said = {"status": "conversion_failed", "message": job.message}
    assert (answer.status_code, answer.json()["detail"]) == (500 if job.error_id else 400, said)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("impatient")
def test_a_voice_that_is_still_being_made_is_told_to_be_asked_again(acme: Any, alice: Any, token: str) -> None:
    voice = fill(acme, alice)["voice"]
    Job.objects.filter(voice_model__voice=voice).update(status="queued", ended_at=None)
    VoiceModel.objects.filter(voice=voice).update(active=False, file="")
    for _ in range(2):
        answer = convert(voice, token)
        assert (answer.status_code, answer["Retry-After"]) == (409, "5")
        assert answer.json()["detail"]["status"] == "voice_not_ready"
    assert voice.models.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_voice_whose_model_failed_says_why_and_makes_no_other(acme: Any, alice: Any, token: str, status: str) -> None:
    voice = fill(acme, alice)["voice"]
    Job.objects.filter(voice_model__voice=voice).update(status=status, message="It hummed.", ended_at=timezone.now())
    VoiceModel.objects.filter(voice=voice).update(active=False, file="")
    answer = convert(voice, token)
    assert answer.status_code == 400 and "It hummed." in answer.json()["detail"]["message"]
    assert voice.models.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_voice_without_an_active_model_is_not_given_one(acme: Any, alice: Any, token: str) -> None:
    voice = fill(acme, alice)["voice"]
    VoiceModel.objects.filter(voice=voice).update(active=False)
    assert "activate one" in convert(voice, token).json()["detail"]["message"]
    assert voice.models.count() == 1


@pytest.mark.django_db(transaction=True)
async def test_a_wait_ends_with_the_job_also_when_nobody_says_so(
    acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOOK_EVERY_SECONDS", 0.1)
    job = await Job.objects.acreate(workspace=acme, kind="conversion", title="x", task="none", queue="gpu")
    waits = asyncio.create_task(waiting.until_ended(job, waiting.Patience(10.0)))
    await asyncio.sleep(0.3)
    assert not waits.done()
    await Job.objects.filter(pk=job.pk).aupdate(status="done", ended_at=timezone.now())
    ended = await waits
    assert ended is not None and ended.status == "done"


@pytest.mark.django_db(transaction=True)
async def test_a_wait_ends_at_once_when_the_job_is_said_to_have_changed(
    acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LOOK_EVERY_SECONDS", 60.0)
    job = await Job.objects.acreate(workspace=acme, kind="conversion", title="x", task="none", queue="gpu")
    other = await Job.objects.acreate(workspace=acme, kind="conversion", title="y", task="none", queue="gpu")
    waits = asyncio.create_task(waiting.until_ended(job, waiting.Patience(50.0)))
    await asyncio.sleep(0.5)
    assert await sync_to_async(end)(other.pk, status=Status.CANCELLED)
    await asyncio.sleep(0.2)
    assert not waits.done()
    assert await sync_to_async(end)(job.pk, status=Status.CANCELLED)
    ended = await asyncio.wait_for(waits, 5.0)
    assert ended is not None and ended.status == "cancelled"


@pytest.mark.django_db(transaction=True)
async def test_a_wait_works_while_redis_is_away(acme: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    away = {"hosts": ["unix:///nowhere/redis.sock"], "prefix": "voicecloud"}
    settings.CHANNEL_LAYERS = {"default": {**settings.CHANNEL_LAYERS["default"], "CONFIG": away}}
    monkeypatch.setattr(waiting, "LOOK_EVERY_SECONDS", 0.1)
    job = await Job.objects.acreate(workspace=acme, kind="conversion", title="x", task="none", queue="gpu")
    assert await waiting.until_ended(job, waiting.Patience(0.3)) is None
    assert await sync_to_async(lambda: connection.connection)() is None  # whoever waits holds no connection
    await Job.objects.filter(pk=job.pk).adelete()
    with pytest.raises(No, match="deleted"):
        await waiting.until_ended(job, waiting.Patience(0.3))


def test_an_expired_result_is_gone_and_its_item_says_so(acme: Any, alice: Any, token: str) -> None:
    held = fill(acme, alice)
    held["artifact"].expired_at = timezone.now()
    held["artifact"].save()
    address, headers = f"/v1/history/{held['conversion'].code}", {"xi-api-key": token}
    assert Client().get(address, headers=headers).json()["state"] == "deleted"
    assert Client().get(f"{address}/audio", headers=headers).status_code == 410


def test_a_file_that_is_gone_from_the_storage_is_told_so(acme: Any, alice: Any, token: str) -> None:
    held = fill(acme, alice)
    held["artifact"].file.storage.delete(held["artifact"].file.name)
    answer = Client().get(f"/v1/history/{held['conversion'].code}/audio", headers={"xi-api-key": token})
    assert answer.status_code == 410


def test_a_trained_voice_is_a_professional_one(acme: Any, alice: Any, token: str) -> None:
    voice = fill(acme, alice)["voice"]
    assert shown(voice)["category"] == "professional"
    for category, count in (("professional", 1), ("cloned", 0), ("premade", 0)):
        answer = Client().get(f"/v2/voices?category={category}", headers={"xi-api-key": token})
        assert answer.json()["total_count"] == count == len(answer.json()["voices"])


@pytest.mark.parametrize("query", ["page_size=0", "page_size=x", "page_size=1000", "sort=age", "next_page_token=x"])
def test_a_page_that_cannot_be_is_refused_with_its_field(acme: Any, token: str, query: str) -> None:
    answer = Client().get(f"/v2/voices?{query}", headers={"xi-api-key": token})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.split("=")[0]]


def test_a_list_asks_as_many_questions_for_many_voices_as_for_few(
    acme: Any, alice: Any, token: str, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    fill(acme, alice)
    for number in range(20):
        Voice.objects.create(workspace=acme, name=f"Voice {number:02}")
    with django_assert_max_num_queries(10):
        answer = Client().get("/v1/voices", headers={"xi-api-key": token})
    assert len(answer.json()["voices"]) == 21


def test_what_no_answer_shows_is_not_read(
    acme: Any, alice: Any, token: str, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    held = fill(acme, alice)
    long = ('."curve"', '."resources"', '."card"', '."curves"', '."metrics"', '."script"', '"jobs_artifact"."data"')
    voice, item = held["voice"].code, held["conversion"].code
    for path in ("/v1/voices", f"/v1/voices/{voice}", "/v2/voices", "/v1/history", f"/v1/history/{item}"):
        with django_assert_max_num_queries(12) as asked:
            answer = Client().get(path, headers={"xi-api-key": token})
        assert answer.status_code == 200
        read = [query["sql"] for query in asked.captured_queries]
        assert [sql for sql in read if any(column in sql for column in long)] == []


def test_a_list_of_voices_has_an_end(acme: Any, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.api.compat.voices.MOST_VOICES", 2)
    for name in ("One", "Two", "Three"):
        Voice.objects.create(workspace=acme, name=name)
    found = Client().get("/v1/voices", headers={"xi-api-key": token}).json()["voices"]
    assert len(found) == 2


@pytest.mark.parametrize(("sort", "direction"), [("name", "asc"), ("name", "desc"), ("created_at_unix", "desc")])
def test_a_page_goes_on_where_the_last_one_ended_also_when_its_voice_is_gone(
    acme: Any, token: str, sort: str, direction: str
) -> None:
    for name in ("A", "B", "C", "D"):
        Voice.objects.create(workspace=acme, name=name)
    query = {"page_size": 2, "sort": sort, "sort_direction": direction}
    headers = {"xi-api-key": token}
    first = Client().get("/v2/voices", query, headers=headers).json()
    kept, last = (voice["name"] for voice in first["voices"])
    acme.voices.get(name=last).delete()
    acme.voices.filter(name=kept).update(name="Z" if direction == "asc" else "0")
    query["next_page_token"] = first["next_page_token"]
    following = Client().get("/v2/voices", query, headers=headers).json()["voices"]
    assert [voice["name"] for voice in following][:2] == (["C", "D"] if direction == "asc" else ["B", "A"])
    for order in ({"sort_direction": "asc" if direction == "desc" else "desc"}, {"next_page_token": "x"}):
        assert Client().get("/v2/voices", {**query, **order}, headers=headers).status_code == 422


def test_a_page_after_an_item_that_is_gone_says_how_to_go_on(acme: Any, alice: Any, token: str) -> None:
    code = fill(acme, alice)["conversion"].code
    headers = {"xi-api-key": token}
    query = {"start_after_history_item_id": str(code)}
    assert Client().get("/v1/history", query, headers=headers).status_code == 200
    acme.conversions.all().delete()
    answer = Client().get("/v1/history", query, headers=headers)
    assert (answer.status_code, answer.json()["detail"]["status"]) == (404, "history_item_not_found")
    assert "date_before_unix" in answer.json()["detail"]["message"]


def test_sounds_are_packed_with_few_questions(
    acme: Any, alice: Any, token: str, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    code = str(fill(acme, alice)["conversion"].code)
    for codes, status in (([code], 200), ([code, code.upper()], 200), ([code, "none"], 404), ([{}, code], 404)):
        sent = json.dumps({"history_item_ids": codes})
        answer = Client().post("/v1/history/download", sent, "application/json", headers={"xi-api-key": token})
        assert answer.status_code == status
    many = json.dumps({"history_item_ids": [str(uuid4()) for _ in range(100)]})
    with django_assert_max_num_queries(12):
        Client().post("/v1/history/download", many, "application/json", headers={"xi-api-key": token})


def test_too_large_a_body_is_refused_before_it_is_read(stack: Any) -> None:
    wire = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=30)
    wire.putrequest("POST", "/v1/voices/add")
    wire.putheader("Content-Length", str(10**10))
    wire.endheaders()
    answer = wire.getresponse()
    assert answer.status == 413 and b"Send fewer or smaller files." in answer.read()


@pytest.mark.parametrize(
    ("path", "header", "shape"),
    [
        ("/v1/voices/add", (b"xi-api-key", b"vc_1"), "detail"),
        ("/v1/voices/add", (b"x-any", b""), "detail"),
        ("/v2/voices", (b"authorization", b"Bearer vc_1"), "error"),
        ("/v1/audio/speech", (b"x-any", b""), "error"),
    ],
)
async def test_too_large_a_body_is_refused_as_the_sdk_reads_it(
    path: str, header: tuple[bytes, bytes], shape: str
) -> None:
    limited = BodyLimit(None, workspace=10, other=5)  # type: ignore[arg-type]  # it never gets that far
    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-length", b"11"), header]}
    wire = ApplicationCommunicator(limited, scope)
    start, body = await wire.receive_output(), await wire.receive_output()
    assert (start["status"], dict(start["headers"])[b"content-type"]) == (413, b"application/json")
    assert json.loads(body["body"])[shape]["message"].endswith("Send fewer or smaller files.")


def test_what_does_not_fit_into_memory_is_too_large(acme: Any, alice: Any, token: str) -> None:
    voice = fill(acme, alice)["voice"]
    for address, sent, kind in (
        ("/v1/history/download", b"x" * 3_000_000, "application/json"),
        (f"/v1/voices/{voice.code}/edit", b"name=" + b"x" * 3_000_000, "application/x-www-form-urlencoded"),
        ("/v1/voices/add", b"name=" + b"x" * 3_000_000, "application/x-www-form-urlencoded"),
    ):
        answer = Client().post(address, sent, kind, headers={"xi-api-key": token})
        assert (answer.status_code, answer.json()["detail"]["status"]) == (413, "file_too_large")


def test_a_form_that_is_broken_is_refused_as_the_sdk_reads_it(acme: Any, alice: Any, token: str) -> None:
    voice = fill(acme, alice)["voice"]
    headers = {"xi-api-key": token}
    address = f"/v1/voices/{voice.code}/edit"
    answer = Client().post(address, b"--x", "multipart/form-data", headers=headers)  # without a boundary
    said = {"status": "bad_request", "message": problems.UNREADABLE}
    assert (answer.status_code, answer.json()) == (400, {"detail": said})


def test_a_storage_that_is_away_is_told_as_the_sdk_reads_it(
    acme: Any, alice: Any, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = fill(acme, alice)

    def away(*names: Any) -> None:
        raise EndpointConnectionError(endpoint_url="http://store.example")

    monkeypatch.setattr(default_storage, "open", away)
    answer = Client().get(f"/v1/history/{held['conversion'].code}/audio", headers={"xi-api-key": token})
    assert (answer.status_code, answer.json()["detail"]["status"]) == (503, "service_unavailable")


def test_faults_are_told_as_json(acme: Any, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.api.compat.voices.shown", None)
    Voice.objects.create(workspace=acme, name="Any")
    client = Client(raise_request_exception=False)
    answer = client.get("/v1/voices", headers={"xi-api-key": token})
    assert (answer.status_code, answer.json()["detail"]["status"]) == (500, "internal_server_error")
    assert answer.json()["detail"]["message"].startswith("Something went wrong on our side.")
    answer = client.get("/v1/voices", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")


@pytest.mark.parametrize("number", ["1" + "0" * 30, "9" * 5000, "0" * 19 + "1000", "٣"])
def test_a_number_is_read_whole_or_not_at_all(acme: Any, token: str, number: str) -> None:
    answer = Client().get(f"/v2/voices?page_size={number}", headers={"xi-api-key": token})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "page_size"]


@pytest.mark.parametrize(
    ("sent", "field", "kind"),
    [
        ({"name": ""}, "name", "missing"),
        ({"name": "  "}, "name", "missing"),
        ({"name": "x" * 81}, "name", "string_too_long"),
        ({"name": "A\x00da"}, "name", "value_error"),
        ({"name": "A\nda"}, "name", "string_pattern_mismatch"),
        ({"name": "Ada", "description": "x" * 1001}, "description", "string_too_long"),
        ({"name": "Ada", "description": "\x00"}, "description", "value_error"),
    ],
)
def test_a_voice_is_called_what_its_page_would_take(
    acme: Any, alice: Any, token: str, sent: dict[str, str], field: str, kind: str
) -> None:
    voice = fill(acme, alice)["voice"]
    answer = Client().post(f"/v1/voices/{voice.code}/edit", sent, headers={"xi-api-key": token})
    assert answer.status_code == 422
    detail = answer.json()["detail"][0]
    assert (detail["loc"], detail["type"]) == (["body", field], kind)


@pytest.mark.parametrize("path", ["/v2/voices?search=a%00b", "/v1/history?search=a%00b"])
def test_a_search_for_what_no_database_takes_is_refused(acme: Any, token: str, path: str) -> None:
    answer = Client().get(path, headers={"xi-api-key": token})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "search"]


@pytest.mark.parametrize("speaker", ["Ada\x00", "Ada\nI agree to all", "Ada \ud800"])
def test_a_speaker_is_named_in_one_line(acme: Any, speaker: str) -> None:
    labels = {consents.SPEAKER: f"{speaker}!", consents.WHOSE: "own"}
    with pytest.raises(No, match="control characters"):
        consents.terms_of(labels, voice="Ada", workspace=acme)


@pytest.mark.parametrize("path", ["/v1/history/download", "/v1/voices/{voice}/settings/edit"])
def test_brackets_without_end_are_no_json(acme: Any, alice: Any, token: str, path: str) -> None:
    address = path.format(voice=fill(acme, alice)["voice"].code)
    answer = Client().post(address, b"[" * 100_000, "application/json", headers={"xi-api-key": token})
    assert (answer.status_code, answer.json()["detail"][0]["type"]) == (422, "json_invalid")
    assert consents.labels_of("[" * 100_000) == {}


@pytest.fixture
def sound_of_alice(acme: Any, alice: Any) -> Source:
    """A source of Alice's with the bytes that ``convert`` sends."""
    upload = TemporaryUploadedFile("hers.wav", "audio/wav", len(SOUND), None)
    upload.write(SOUND)
    upload.flush()
    source = services.add_source(workspace=acme, user=alice, upload=upload)
    upload.close()
    return source


FORGOTTEN = "?enable_logging=false"


@pytest.mark.django_db(transaction=True)
def test_a_failed_conversion_that_is_not_to_be_kept_is_deleted(acme: Any, alice: Any, token: str) -> None:
    held = fill(acme, alice)
    answer = convert(held["voice"], token, FORGOTTEN)  # by weights that are none
    assert answer.json()["detail"]["status"] == "conversion_failed"
    assert "history-item-id" not in answer
    assert (acme.conversions.get(), acme.sources.get()) == (held["conversion"], held["source"])


@pytest.mark.django_db(transaction=True)
def test_what_a_colleague_has_brought_is_not_deleted(acme: Any, alice: Any, token: str, sound_of_alice: Source) -> None:
    held = fill(acme, alice)
    convert(held["voice"], token, FORGOTTEN)
    assert acme.conversions.get() == held["conversion"]
    assert sound_of_alice.file.storage.exists(acme.sources.get(pk=sound_of_alice.pk).file.name)


@pytest.mark.django_db(transaction=True)
def test_a_sound_that_is_not_to_be_kept_is_deleted_when_nothing_is_made_of_it(
    acme: Any, alice: Any, token: str
) -> None:
    held = fill(acme, alice)
    held["voice"].consents.all().delete()
    assert convert(held["voice"], token, FORGOTTEN).status_code == 403
    assert acme.sources.get() == held["source"]


@pytest.mark.django_db(transaction=True)
def test_a_deletion_that_fails_is_logged(
    acme: Any, alice: Any, token: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = fill(acme, alice)
    monkeypatch.setattr("apps.studio.services.delete_conversion", None)
    assert convert(held["voice"], token, FORGOTTEN).json()["detail"]["status"] == "conversion_failed"
    assert "not to be kept" in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_who_hangs_up_leaves_nothing_that_is_not_to_be_kept(acme: Any, alice: Any, token: str) -> None:
    held = await sync_to_async(fill)(acme, alice)
    await Job.objects.filter(conversion=held["conversion"]).aupdate(status="queued", ended_at=None)
    conversion = await Conversion.objects.select_related("job", "source", "workspace").aget(pk=held["conversion"].pk)
    request: Any = RequestFactory().post("/v1/voice-changer/x")
    request.caller = await sync_to_async(keys.caller_of)(token)
    wish: Any = SimpleNamespace(is_kept=False)
    await speech._give_up(request, wish, speech.Made(conversion, has_brought_source=False))
    assert not await Conversion.objects.filter(pk=conversion.pk).aexists()
    assert await acme.sources.aexists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("impatient")
def test_only_so_many_requests_of_a_workspace_wait_at_once(
    acme: Any, alice: Any, charlies: Any, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WAITS_MAX", 1)
    voice = fill(acme, alice)["voice"]

    async def meanwhile(workspace: Any) -> Any:
        async with waiting.seat_in(workspace):
            return await sync_to_async(convert)(voice, token)

    full = asyncio.run(meanwhile(acme))
    assert (full.status_code, full["Retry-After"]) == (429, "5")
    assert full.json()["detail"] == {"status": "too_many_requests", "message": waiting.FULL}
    assert acme.conversions.count() == 1  # nothing was begun
    for answer in (asyncio.run(meanwhile(charlies)), convert(voice, token)):
        assert answer.json()["detail"]["status"] == "still_converting"
    add = Client().post("/v1/voices/add", {"name": "Eve"}, headers={"xi-api-key": token})
    assert add.status_code == 422


@pytest.mark.django_db(transaction=True)
async def test_a_seat_is_given_back_and_is_none_while_redis_is_away(
    acme: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WAITS_MAX", 1)
    for _ in range(2):
        with pytest.raises(No, match="broken off"):
            async with waiting.seat_in(acme):
                raise No("broken off", status=400)
    async with waiting.seat_in(acme):
        with pytest.raises(No, match="wait for their jobs already"):
            async with waiting.seat_in(acme):
                pytest.fail("there was no seat")
        settings.REDIS_URL = "unix:///nowhere/redis.sock"
        async with waiting.seat_in(acme):
            pass
