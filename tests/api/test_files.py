"""Files whole and in ranges, and answers that a program has already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from apps.jobs.models import Artifact
from tests.api.conftest import Program, error_of

FILES = {
    "/recordings/{recording}/audio": "recording",
    "/takes/{take}/audio": "take",
    "/consents/{consent}/audio": "consent",
    "/sources/{source}/audio": "source",
    "/conversions/{conversion}/result": "artifact",
    "/conversions/{conversion}/original": "source",
    "/artifacts/{artifact}/download": "artifact",
    "/artifacts/{artifact}/stream": "artifact",
}


def place(path: str, held: dict[str, Any]) -> str:
    word = path.split("{")[1].split("}")[0]
    return path.replace(f"{{{word}}}", str(held[word].code))


def stored(row: Any) -> bytes:
    with (row.recording if hasattr(row, "recording_type") else row.file).open("rb") as file:
        return bytes(file.read())


def sent(answer: Any) -> bytes:
    return b"".join(answer) if answer.streaming else bytes(answer.content)


@pytest.mark.parametrize("path", FILES)
def test_a_file_comes_whole_in_parts_and_not_again(
    path: str, held: dict[str, Any], program: Callable[..., Program]
) -> None:
    reader = program("read")
    address, content = place(path, held), stored(held[FILES[path]])
    whole = reader.get(address)
    assert (whole.status_code, sent(whole)) == (200, content)
    assert whole["X-Content-Type-Options"] == "nosniff"
    part = reader.get(address, Range="bytes=10-19")
    assert (part.status_code, sent(part)) == (206, content[10:20])
    assert part["Content-Range"] == f"bytes 10-19/{len(content)}"
    tail = reader.get(address, Range="bytes=-5", If_Range=whole["ETag"])
    assert (tail.status_code, sent(tail)) == (206, content[-5:])
    changed = reader.get(address, Range="bytes=-5", If_Range='"another"')
    assert (changed.status_code, sent(changed)) == (200, content)
    assert reader.get(address, Range=f"bytes={len(content)}-").status_code == 416
    head = reader.send("HEAD", address)
    assert (head.status_code, head["Content-Length"], sent(head)) == (200, str(len(content)), b"")
    assert reader.get(address, If_None_Match=whole["ETag"]).status_code == 304


def test_downloads_are_saved_and_streams_are_played(api: Program, held: dict[str, Any]) -> None:
    code = held["artifact"].code
    assert api.get(f"/artifacts/{code}/download")["Content-Disposition"].startswith("attachment")
    assert api.get(f"/artifacts/{code}/stream")["Content-Disposition"].startswith("inline")


def test_what_has_expired_is_gone(api: Program, held: dict[str, Any]) -> None:
    for row in (held["artifact"], held["source"]):
        type(row).objects.filter(pk=row.pk).update(expired_at=timezone.now())
    for path in ("/artifacts/{artifact}/download", "/sources/{source}/audio", "/conversions/{conversion}/result"):
        assert error_of(api.get(place(path, held)), 410)["type"] == "gone"
    assert api.get(place("/conversions/{conversion}", held)).json()["result"] is None
    assert api.get(place("/artifacts/{artifact}", held)).json()["expired"] is True


def test_an_export_is_for_admins(program: Callable[..., Program], held: dict[str, Any]) -> None:
    Artifact.objects.filter(pk=held["artifact"].pk).update(kind=Artifact.Kind.EXPORT)
    for path in ("/artifacts/{artifact}", "/artifacts/{artifact}/download"):
        error_of(program("create").get(place(path, held)), 404)
        assert program("admin").get(place(path, held)).status_code == 200
    listing = place("/jobs/{job}/artifacts", held)
    assert (program("read").get(listing).json(), len(program("admin").get(listing).json())) == ([], 1)


@pytest.mark.parametrize("path", ["/voices/{voice}", "/jobs/{job}", "/conversions/{conversion}", "/voices"])
def test_json_is_not_sent_twice(path: str, api: Program, held: dict[str, Any]) -> None:
    address = place(path, held) if "{" in path else path
    first = api.get(address)
    again = api.get(address, If_None_Match=f'"other", W/{first["ETag"]}')
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]
    assert first["Cache-Control"] == "private, no-cache"


def test_a_change_has_another_tag(api: Program, held: dict[str, Any]) -> None:
    address = place("/voices/{voice}", held)
    before = api.get(address)["ETag"]
    api.patch(address, {"description": "Warm."})
    answer = api.get(address, If_None_Match=before)
    assert (answer.status_code, answer.json()["description"]) == (200, "Warm.")


def test_health_and_info_can_be_kept_by_anybody(db: None) -> None:
    nobody = Program(None)
    assert nobody.get("/health").json() == {"ok": True}
    info = nobody.get("/info")
    assert {choice["name"] for choice in info.json()["formats"]} >= {"wav16", "mp3"}
    assert nobody.get("/info", If_None_Match=info["ETag"]).status_code == 304


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "address", ["/api/v1/sources/{source}/audio", "/v1/history/{conversion}/audio", "/w/acme/artifacts/{artifact}/"]
)
def test_while_a_file_is_sent_the_database_connection_is_free(
    address: str, held: dict[str, Any], api: Program, client_of: Callable[..., Any], alice: Any
) -> None:
    client = client_of(alice) if address.startswith("/w/") else api.client
    word = address.split("{")[1].split("}")[0]
    answer = client.get(address.replace(f"{{{word}}}", str(held[word].code)), headers=api.headers)
    assert (answer.status_code, answer.streaming) == (200, True)
    assert connection.connection is None
    assert sent(answer) == stored(held["source"])
