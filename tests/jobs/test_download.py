from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.http import StreamingHttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from apps.errors import Refused
from apps.jobs import downloads
from apps.jobs.models import Artifact, Job

BYTES = bytes(range(256)) * 2400  # 614,400: more than two blocks


@pytest.fixture
def artifact(acme: Any) -> Artifact:
    job = Job.objects.create(workspace=acme, kind="test", title="A test", task="none", queue="default")
    row = Artifact(workspace=acme, job=job, kind="audio", name="song.wav", content_type="audio/wav")
    row.size, row.sha256 = len(BYTES), "0" * 64
    row.file.save("song.wav", ContentFile(BYTES))
    return row


def answer(artifact: Artifact, *, method: str = "get", **headers: str) -> Any:
    request = getattr(RequestFactory(), method)("/", headers=headers)
    return downloads.serve(
        request, artifact.file, content_type=artifact.content_type, name=artifact.name, attachment=False
    )


def body(response: Any) -> bytes:
    return b"".join(response) if response.streaming else response.content


def test_a_file_is_sent_whole_with_its_length_and_headers(artifact: Artifact) -> None:
    response = answer(artifact)
    assert response.status_code == 200
    assert body(response) == BYTES
    assert response["Content-Length"] == str(len(BYTES))
    assert response["Content-Type"] == "audio/wav"
    assert response["Accept-Ranges"] == "bytes"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=300000-", 300_000, 614_399),
        ("bytes=-100", 614_300, 614_399),
        ("bytes=-9999999", 0, 614_399),
        ("bytes=614399-99999999", 614_399, 614_399),
        ("bytes=200000-500000", 200_000, 500_000),
    ],
)
def test_a_range_is_sent_alone(artifact: Artifact, wanted: str, first: int, last: int) -> None:
    response = answer(artifact, Range=wanted)
    assert body(response) == BYTES[first : last + 1]
    assert response["Content-Length"] == str(last + 1 - first)
    if last + 1 - first < len(BYTES):
        assert response.status_code == 206
        assert response["Content-Range"] == f"bytes {first}-{last}/{len(BYTES)}"
    else:
        assert response.status_code == 200


@pytest.mark.parametrize("wanted", ["bytes=614400-", "bytes=9999999-9999999", "bytes=-0"])
def test_a_range_outside_the_file_is_416_and_says_the_size(artifact: Artifact, wanted: str) -> None:
    response = answer(artifact, Range=wanted)
    assert response.status_code == 416
    assert response["Content-Range"] == f"bytes */{len(BYTES)}"
    assert body(response) == b""


@pytest.mark.parametrize("wanted", ["bytes=5-2", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=٣-٤"])
def test_a_malformed_range_is_passed_over(artifact: Artifact, wanted: str) -> None:
    response = downloads.serve(
        RequestFactory().get("/", HTTP_RANGE=wanted),
        artifact.file,
        content_type="audio/wav",
        name="song.wav",
        attachment=False,
    )
    assert response.status_code == 200
    assert response["Content-Length"] == str(len(BYTES))
    response.close()


def test_what_the_browser_has_already_is_not_sent_again(artifact: Artifact) -> None:
    first = answer(artifact)
    first.close()
    again = answer(artifact, If_None_Match=first["ETag"])
    assert again.status_code == 304
    assert body(again) == b""


def test_a_range_of_an_older_file_gets_the_new_file_whole(artifact: Artifact) -> None:
    etag = answer(artifact, method="head")["ETag"]
    assert answer(artifact, Range="bytes=0-9", If_Range=etag).status_code == 206
    assert answer(artifact, Range="bytes=0-9", If_Range='"another"').status_code == 200


def test_head_says_all_and_sends_nothing(artifact: Artifact) -> None:
    response = answer(artifact, method="head")
    assert response["Content-Length"] == str(len(BYTES))
    assert body(response) == b""


def test_only_audio_is_shown_inline(artifact: Artifact) -> None:
    request = RequestFactory().get("/")
    as_page = downloads.serve(request, artifact.file, content_type="text/html", name="x.html", attachment=False)
    as_audio = downloads.serve(request, artifact.file, content_type="audio/wav", name="x.wav", attachment=False)
    assert as_page["Content-Disposition"].startswith("attachment")
    assert as_audio["Content-Disposition"].startswith("inline")
    as_page.close()
    as_audio.close()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("take one - Mia.wav", "take one - Mia.wav"),
        ("../../etc/passwd", "etc-passwd"),
        ("a\r\nSet-Cookie: x.wav", "a-Set-Cookie- x.wav"),
        ("Köln – ñandú.mp3", "Köln – ñandú.mp3"),
        ("x" * 300 + ".flac", "x" * 145 + ".flac"),
        ("...", "file"),
        ("", "file"),
        ("CON<>|?*.wav", "CON-.wav"),
    ],
)
def test_a_name_is_safe_everywhere(artifact: Artifact, name: str, safe: str) -> None:
    assert downloads.safe_name(name) == safe
    artifact.name = name
    header = answer(artifact, method="head")["Content-Disposition"]
    assert "\n" not in header
    assert "/" not in header.split("filename", 1)[1].replace("%2F", "/").replace("''", "")


def test_a_missing_file_is_refused_with_a_sentence(artifact: Artifact) -> None:
    artifact.file.storage.delete(artifact.file.name)
    with pytest.raises(Refused, match="no longer stored") as refused:
        answer(artifact)
    assert refused.value.status == 410


def test_under_asgi_the_file_leaves_in_blocks(artifact: Artifact) -> None:
    request = AsyncRequestFactory().get("/", headers={"Range": "bytes=1-600000"})
    response = downloads.serve(request, artifact.file, content_type="audio/wav", name="song.wav", attachment=True)
    assert isinstance(response, StreamingHttpResponse)
    assert response.is_async

    async def blocks() -> list[bytes]:
        return [block async for block in response]

    sent = asyncio.run(blocks())
    assert b"".join(sent) == BYTES[1:600_001]
    assert max(map(len, sent)) <= downloads.BLOCK_BYTES
    response.close()


def test_files_in_an_object_store_are_answered_by_a_signed_address() -> None:
    from django.db.models.fields.files import FieldFile

    from apps.jobs.s3 import BucketStorage

    storage = BucketStorage(
        bucket_name="voices",
        endpoint_url="http://127.0.0.1:9",
        access_key="key",
        secret_key="secret",
        region_name="us-east-1",
        addressing_style="path",
    )
    field = Artifact._meta.get_field("file")
    file = FieldFile(Artifact(), field, "w/1/artifacts/2.wav")
    file.storage = storage
    response = downloads.serve(
        RequestFactory().get("/"), file, content_type="audio/wav", name="Mia.wav", attachment=False
    )
    assert response.status_code == 302
    assert response["Location"].startswith("http://127.0.0.1:9/voices/w/1/artifacts/2.wav?")
    assert "X-Amz-Signature=" in response["Location"]
    assert "response-content-disposition=inline" in response["Location"]
