"""What the compatible APIs do when work takes long, is gone or fails, and how a no reads to each SDK."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from apps.accounts import keys
from apps.api.compat import speech, waiting
from apps.api.compat.answers import No, no_to
from apps.api.compat.door import whole
from apps.billing.errors import QuotaExceeded
from apps.errors import Refused
from apps.jobs.models import Job, Status
from apps.jobs.services import end
from apps.studio import services
from apps.studio.models import Conversion, Source
from apps.voices.models import Voice, VoiceModel
from tests.holdings import fill
from tests.sounds import tone, wav_bytes

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


@pytest.mark.parametrize("value", ["0" * 19 + "5" + "0" * 30, "1" + "0" * 20, "-1", "101", "1e1", "٣", "5" * 5000])
def test_numbers_outside_their_range_are_refused(value: str) -> None:
    with pytest.raises(No) as refusal:
        whole(value, usual=10, least=1, most=100, field="query.page_size")
    assert refusal.value.status == 422


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
