"""Files in a bucket, on a real OpenStack Swift: what the product asks of an object store, and what it must refuse."""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.test import RequestFactory
from django.utils import timezone

from apps.errors import Refused
from apps.jobs import downloads, faults, orphans
from apps.jobs.models import Artifact, Job
from apps.jobs.s3 import BucketStorage
from apps.jobs.storage import Changed, ObjectStore
from apps.pages import erasure, health
from apps.voices.services.files import store
from tests import swift
from tests.stack import ROOT, free_port

BYTES = bytes(range(256)) * 2400  # 614,400
pytestmark = pytest.mark.slow


@pytest.fixture
def artifact(acme: Any, storage: BucketStorage) -> Artifact:
    job = Job.objects.create(workspace=acme, kind="test", title="A test", task="none", queue="default")
    row = Artifact(workspace=acme, job=job, kind="audio", name="Köln “1”.wav", content_type="audio/wav")
    row.size, row.sha256 = len(BYTES), "0" * 64
    row.file.save("song.wav", ContentFile(BYTES))
    row.save()
    return row


def asked(url: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    """Ask the store itself, as a browser would; return status, headers and body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        request = urllib.request.Request(url, body, named, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, refused.read()


def code_of(body: bytes) -> str:
    """Return S3's own word for what was wrong."""
    found = re.search(rb"<Code>(\w+)</Code>", body)
    return found.group(1).decode() if found else ""


def served(artifact: Artifact, *, method: str = "get", attachment: bool = False) -> Any:
    request = getattr(RequestFactory(), method)("/")
    return downloads.serve(
        request, artifact.file, content_type=artifact.content_type, name=artifact.name, attachment=attachment
    )


# --- what Django asks of a storage -----------------------------------------------------------------------------------


def test_a_file_is_kept_as_it_was_and_a_second_of_its_name_beside_it(storage: BucketStorage, tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(BYTES)
    name = store(f"w/{uuid4()}/recordings/{uuid4()}", path)
    assert storage.exists(name) and storage.size(name) == len(BYTES)
    with storage.open(name) as kept:
        assert kept.read() == BYTES
    assert abs(storage.get_modified_time(name) - timezone.now()) < timedelta(minutes=1)
    path.write_bytes(b"other")
    second = store(name, path)
    assert second != name
    with storage.open(name) as kept:
        assert kept.read(5) == BYTES[:5]


def test_a_large_file_goes_in_parts_and_comes_back_whole_without_filling_memory(
    storage: BucketStorage, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(BYTES * 20)  # 12.3 MB: more than one part of 8 MiB
    name = store(f"w/{uuid4()}/models/{uuid4()}.voice", path)
    assert storage.size(name) == 20 * len(BYTES)
    with storage.open(name) as kept:
        assert kept.read(10) == BYTES[:10]
        assert kept.file._rolled, "in a temporary file"
        kept.seek(0)
        assert kept.read() == BYTES * 20
    assert storage.size_and_etag(name)[0] == 20 * len(BYTES)


def test_folders_are_listed_one_level_at_a_time(storage: BucketStorage) -> None:
    top = f"w/{uuid4()}"
    for name in ("a.wav", "takes/b.flac", "takes/c.flac", "models/d/e.voice"):
        storage.save(f"{top}/{name}", ContentFile(b"x"))
    folders, files = storage.listdir(top)
    assert (sorted(folders), files) == (["models", "takes"], ["a.wav"])
    assert sorted(storage.listdir(f"{top}/takes")[1]) == ["b.flac", "c.flac"]
    assert storage.listdir(f"{top}/nothing") == ([], [])


def test_more_files_than_one_answer_lists_are_all_listed(storage: BucketStorage, bucket: swift.Server) -> None:
    top, client = f"w/{uuid4()}", bucket.client()
    for number in range(7):
        client.put_object(Bucket=bucket.bucket, Key=f"{top}/{number}", Body=b"")
    pages = client.get_paginator("list_objects").paginate(
        Bucket=bucket.bucket, Prefix=f"{top}/", Delimiter="/", PaginationConfig={"PageSize": 3}
    )
    assert len(list(pages)) == 3, "the server does answer in pages"
    assert sorted(storage.listdir(top)[1]) == [str(number) for number in range(7)]


def test_what_is_gone_is_said_to_be_gone(storage: BucketStorage, tmp_path: Path) -> None:
    name = storage.save(f"w/{uuid4()}/x", ContentFile(b"x"))
    storage.delete(name)
    storage.delete(name)  # twice is no fault
    assert not storage.exists(name)
    for ask in (storage.get_modified_time, storage.size, storage.size_and_etag, storage.open):
        with pytest.raises(FileNotFoundError):
            ask(name)
    with pytest.raises(Changed):
        storage.fetch(name, tmp_path / "x", etag='"0"')


def test_threads_share_one_pool_and_a_forked_process_has_its_own(storage: BucketStorage) -> None:
    seen: list[Any] = []
    threads = [threading.Thread(target=lambda: seen.append(storage.connection)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(found) for found in seen} == {id(storage.connection)}
    mine = storage._shared
    assert mine is not None
    storage._shared = mine[0] - 1, mine[1]  # as a child finds it
    assert storage.connection is not mine[1]
    assert storage.exists("w/nothing") is False


# --- signed addresses ------------------------------------------------------------------------------------------------


def test_a_download_is_a_redirect_to_the_store_which_sends_ranges_under_a_name(artifact: Artifact) -> None:
    answer = served(artifact)
    assert (answer.status_code, answer["Cache-Control"]) == (302, "private, no-store")
    status, headers, body = asked(answer["Location"])
    assert (status, body) == (200, BYTES)
    assert headers["Content-Type"] == "audio/wav"
    assert headers["Content-Disposition"] == "inline; filename*=utf-8''K%C3%B6ln%20%E2%80%9C1%E2%80%9D.wav"
    status, headers, body = asked(answer["Location"], Range="bytes=300000-300009")
    assert (status, body) == (206, BYTES[300_000:300_010])
    assert headers["Content-Range"] == f"bytes 300000-300009/{len(BYTES)}"
    assert asked(answer["Location"], Range=f"bytes={len(BYTES)}-")[0] == 416


def test_a_head_is_redirected_to_what_is_signed_for_a_head(artifact: Artifact) -> None:
    location = served(artifact, method="head")["Location"]
    status, headers, body = asked(location, method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(BYTES)))
    assert asked(location)[0] == 403, "and for nothing else"


def test_a_forged_and_an_expired_address_are_refused(artifact: Artifact, storage: BucketStorage) -> None:
    good = served(artifact)["Location"]
    assert asked(good)[0] == 200
    other = storage.save(f"w/{uuid4()}/secret", ContentFile(b"secret"))
    assert code_of(asked(good.replace(artifact.file.name, other))[2]) == "SignatureDoesNotMatch"
    assert asked(re.sub(r"(X-Amz-Signature=)....", r"\g<1>0000", good))[0] == 403
    assert asked(good.replace("inline", "attachment"))[0] == 403
    status, _, body = asked(good.split("?")[0])
    assert status in (400, 401, 403) and BYTES[:100] not in body
    brief = storage.url(artifact.file.name, expire=4)
    assert asked(brief)[0] == 200
    time.sleep(5.1)
    assert asked(brief)[0] == 403


def test_addresses_live_as_briefly_as_their_use_allows(artifact: Artifact) -> None:
    assert "X-Amz-Expires=3600&" in served(artifact)["Location"]
    assert "X-Amz-Expires=300&" in served(artifact, attachment=True)["Location"]


def test_an_attachment_that_is_gone_is_told_in_our_words(
    artifact: Artifact, storage: BucketStorage, caplog: pytest.LogCaptureFixture
) -> None:
    assert served(artifact, attachment=True).status_code == 302
    storage.delete(artifact.file.name)
    with pytest.raises(Refused) as refused:
        served(artifact, attachment=True)
    assert refused.value.status == 410 and artifact.file.name in caplog.text


# --- uploads that bypass the site ------------------------------------------------------------------------------------


def test_a_signed_upload_takes_these_bytes_this_type_and_no_others(storage: BucketStorage) -> None:
    assert isinstance(storage, ObjectStore)
    name = f"w/{uuid4()}/uploads/{uuid4()}/whole"
    # Short: the store answers before it has read a body that it refuses, and what is still being sent then breaks.
    content = BYTES[:1000]
    signed = storage.sign_upload(name, size=len(content))
    typed = {name.replace("-", "_"): value for name, value in signed.headers.items()}
    for body in (content + b"x", content[:-1], b""):
        assert asked(signed.url, method="PUT", body=body, **typed)[0] == 403, len(body)
    assert asked(signed.url, method="PUT", body=content, Content_Type="text/html")[0] == 403
    assert asked(signed.url.replace("/whole", "/other"), method="PUT", body=content, **typed)[0] == 403
    assert not storage.exists(name)
    assert asked(signed.url, method="PUT", body=content, **typed)[0] == 200
    assert storage.size_and_etag(name)[0] == len(content)
    assert asked(signed.url)[0] == 403, "not for reading"


def test_what_was_changed_meanwhile_is_neither_fetched_nor_copied(storage: BucketStorage, tmp_path: Path) -> None:
    source, target = f"w/{uuid4()}/uploads/{uuid4()}/whole", f"w/{uuid4()}/recordings/{uuid4()}"
    storage.save(source, ContentFile(BYTES))
    size, etag = storage.size_and_etag(source)
    storage.fetch(source, tmp_path / "fetched", etag=etag)
    assert (tmp_path / "fetched").read_bytes() == BYTES and size == len(BYTES)
    storage._client.put_object(Bucket=storage.bucket_name, Key=source, Body=b"other")
    with pytest.raises(Changed):
        storage.fetch(source, tmp_path / "fetched", etag=etag)
    with pytest.raises(Changed):
        storage.copy(source, target, etag=etag)
    assert not storage.exists(target)
    storage.copy(source, target, etag=storage.size_and_etag(source)[1])
    with storage.open(target) as kept:
        assert kept.read() == b"other"


def test_a_page_of_ours_may_send_and_read(storage: BucketStorage) -> None:
    """As a browser asks first (CORS): what docs/operations.md tells to set for the bucket."""
    name = f"w/{uuid4()}/uploads/{uuid4()}/whole"
    signed = storage.sign_upload(name, size=3)
    ask = {"Origin": "https://voice.example.com", "Access_Control_Request_Method": "PUT"}
    status, headers, _ = asked(
        signed.url, method="OPTIONS", body=None, Access_Control_Request_Headers="content-type", **ask
    )
    assert status == 200
    assert headers["Access-Control-Allow-Origin"] in ("*", "https://voice.example.com")
    assert "PUT" in headers["Access-Control-Allow-Methods"]
    typed = {name.replace("-", "_"): value for name, value in signed.headers.items()}
    status, headers, _ = asked(signed.url, method="PUT", body=b"abc", Origin="https://voice.example.com", **typed)
    assert (status, bool(headers["Access-Control-Allow-Origin"])) == (200, True)
    status, headers, _ = asked(storage.url(name), Origin="https://voice.example.com")
    assert (status, bool(headers["Access-Control-Allow-Origin"])) == (200, True)


# --- sweeping --------------------------------------------------------------------------------------------------------


def test_orphans_are_swept(artifact: Artifact, storage: BucketStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = artifact.workspace.file_prefix
    orphan = storage.save(f"{prefix}/artifacts/{uuid4()}.wav", ContentFile(b"x"))
    assert orphans._compare(prefix) == (0, 0), "too young"
    monkeypatch.setattr(orphans, "GRACE", timedelta(seconds=-60))
    assert orphans._compare(prefix) == (1, 0)
    assert not storage.exists(orphan) and storage.exists(artifact.file.name)
    storage.delete(artifact.file.name)
    assert orphans._compare(prefix) == (0, 1)
    assert orphans.remove_old(f"{prefix}/removed-meanwhile") is False


def test_a_closed_workspace_leaves_nothing(artifact: Artifact, storage: BucketStorage) -> None:
    workspace = artifact.workspace
    storage.save(f"{workspace.file_prefix}/uploads/{uuid4()}/whole", ContentFile(b"x"))
    workspace.deleted_at = timezone.now() - timedelta(days=400)
    workspace.save()
    assert erasure.erase_due() == 1
    assert storage.listdir(workspace.file_prefix) == ([], [])


# --- when the store is not there -------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"secret_key": "wrong"}, {"access_key": "nobody"}, {"bucket_name": "missing"}])
def test_readiness_asks_for_the_bucket_with_our_key(
    bucket: swift.Server, settings: Any, changes: dict[str, str]
) -> None:
    swift.use(settings, bucket)
    health.CHECKS["storage"]()
    swift.use(settings, bucket, **changes)
    with pytest.raises(ClientError):
        health.CHECKS["storage"]()


def test_readiness_does_not_wait_for_a_store_that_is_silent(bucket: swift.Server, settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        swift.use(settings, bucket, endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        storages["default"]._quick  # noqa: B018 - its making is no question
        begun = time.monotonic()
        with pytest.raises(Exception, match="(?i)timeout|timed out") as raised:
            health.CHECKS["storage"]()
        assert time.monotonic() - begun < health.LIMIT_SECONDS
    assert faults.passing(raised.value) == "The storage"


def test_a_store_that_is_away_is_a_fault_that_may_pass(bucket: swift.Server, settings: Any) -> None:
    swift.use(settings, bucket, endpoint_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Exception, match="Could not connect") as raised:
        storages["default"].exists("w/x")
    assert faults.passing(raised.value) == "The storage"


def test_the_sweep_lives_through_a_store_that_is_away(
    bucket: swift.Server, settings: Any, db: None, caplog: pytest.LogCaptureFixture
) -> None:
    from voicecloud.management.commands import sweep

    swift.use(settings, bucket, endpoint_url=f"http://127.0.0.1:{free_port()}")
    with caplog.at_level(logging.ERROR):
        done: list[int] = []
        sweep.do_round((orphans.sweep_orphans, lambda: 1 / 0, lambda: done.append(1)))
    assert "sweep_orphans failed" in caplog.text and "ZeroDivisionError" in caplog.text
    assert done == [1], "what fails keeps no other from its turn"


def test_who_asks_for_a_file_of_a_store_that_is_away_is_told_to_try_again(
    artifact: Artifact, bucket: swift.Server, settings: Any, client_of: Any, bob: Any, caplog: pytest.LogCaptureFixture
) -> None:
    address, client = f"/w/acme/artifacts/{artifact.code}/", client_of(bob)
    assert client.get(address).status_code == 302
    swift.use(settings, bucket, endpoint_url=f"http://127.0.0.1:{free_port()}")
    answer = client.get(address)
    assert (answer.status_code, "try again in a minute" in answer.content.decode()) == (503, True)
    assert "the storage is away" in caplog.text and answer["X-Request-ID"]
    swift.use(settings, bucket, secret_key="wrong")  # a fault of ours, which does not pass
    client.raise_request_exception = False
    assert client.get(address).status_code == 500


# --- settings --------------------------------------------------------------------------------------------------------

POLICY = """
import json, django
django.setup()
from django.conf import settings
print(json.dumps(settings.CONTENT_SECURITY_POLICY["DIRECTIVES"], default=str))
"""


def test_the_policy_of_pages_lets_them_reach_the_store(tmp_path: Path) -> None:
    own = {"S3_BUCKET": "voices", "S3_ENDPOINT_URL": "https://s3.example.com:9000/base/"}
    own |= {"DJANGO_SETTINGS_MODULE": "voicecloud.settings", "VOICECLOUD_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", POLICY], cwd=ROOT, env=own, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    policy = json.loads(done.stdout)
    assert policy["connect-src"] == policy["media-src"] == ["'self'", "blob:", "https://s3.example.com:9000"]
    assert policy["script-src"] == ["'self'"]


@pytest.mark.parametrize("style", ["path", "virtual"])
@pytest.mark.parametrize(
    ("endpoint", "region"),
    [(None, "us-east-1"), (None, "eu-west-1"), ("https://s3.example.com:9000/base/", "us-east-1")],
)
def test_signed_addresses_lead_to_the_origin_that_the_policy_names(
    monkeypatch: pytest.MonkeyPatch, style: str, endpoint: str | None, region: str
) -> None:
    from voicecloud import settings as given

    own = {"endpoint_url": endpoint, "region_name": region, "addressing_style": style}
    signing = BucketStorage(bucket_name="voices", access_key="a", secret_key="b", **own)
    parts = urlsplit(signing.url("w/x"))
    monkeypatch.setattr(given, "S3_BUCKET", "voices")
    assert given._storage_origin(own) == f"{parts.scheme}://{parts.netloc}"
    parts = urlsplit(signing.sign_upload("w/x", size=1).url)
    assert given._storage_origin(own) == f"{parts.scheme}://{parts.netloc}"
