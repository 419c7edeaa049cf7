"""What the compatible APIs take, list and refuse, in the shapes that SDKs read."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from asgiref.testing import ApplicationCommunicator
from botocore.exceptions import EndpointConnectionError
from django.core.files.storage import default_storage
from django.test import Client

from apps.api import problems
from apps.api.compat import consents
from apps.api.compat.answers import No
from apps.api.compat.voices import shown
from apps.voices.models import Voice
from tests.holdings import fill
from voicecloud.limits import BodyLimit


@pytest.mark.parametrize("text", [None, "", "null", '"Ellipsis"', "[1]", "{", "{}"])
def test_labels_that_are_none_are_no_consent(text: str | None) -> None:
    assert consents.labels_of(text) == {}


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
