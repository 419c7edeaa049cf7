"""Retention, export and erasure once more with the files in a bucket: listings, missing objects, no folders."""

from __future__ import annotations

import hashlib
import json
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts import services
from apps.accounts.models import ErasureReport
from apps.jobs import expiry
from apps.jobs.models import Artifact
from apps.pages import archive as archives
from apps.pages import erasure
from apps.studio import retention
from apps.studio.models import Source
from tests.holdings import fill

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def stored(bucket: Any, workspace: Any) -> dict[str, int]:
    """Return the workspace's objects as the store itself lists them, with their bytes."""
    listed = bucket.client().list_objects_v2(Bucket=bucket.bucket, Prefix=f"{workspace.file_prefix}/")
    return {one["Key"]: one["Size"] for one in listed.get("Contents", ())}


def test_what_has_expired_leaves_the_bucket(bucket: Any, storage: Any, acme: Any, alice: Any) -> None:
    held = fill(acme, alice)
    before = stored(bucket, acme)
    names = {str(held["artifact"].file), str(held["source"].file)}
    past = timezone.now() - timedelta(days=1)
    Artifact.objects.filter(pk=held["artifact"].pk).update(expires_at=past)
    Source.objects.filter(pk=held["source"].pk).update(expires_at=past)
    assert (expiry.expire(), retention.expire_sources()) == (1, 1)
    assert set(before) - set(stored(bucket, acme)) == names


def test_an_archive_of_what_lies_in_a_bucket(bucket: Any, storage: Any, acme: Any, alice: Any, tmp_path: Path) -> None:
    held = fill(acme, alice)
    storage.delete(str(held["take"].file))
    contents = archives.write_archive(acme, tmp_path / "x.zip", lambda part, stage: None)
    assert contents.missing == [f"files/takes/{held['take'].code}.flac"]
    assert contents.summary["files"] == len(stored(bucket, acme)) == 5
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        for one in json.loads(archive.read("manifest.json"))["files"]:
            assert hashlib.sha256(archive.read(one["path"])).hexdigest() == one["sha256"]


def test_an_erased_workspace_leaves_nothing_in_the_bucket(
    bucket: Any, storage: Any, acme: Any, alice: Any, charlies: Any, charlie: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "FILES_AT_ONCE", 2)
    fill(acme, alice)
    fill(charlies, charlie)
    ErasureReport.objects.all().delete()
    mine, theirs = stored(bucket, acme), stored(bucket, charlies)
    report = services.erase_workspace(workspace=acme, user=alice)
    rounds = 1
    while not erasure.erase_due(0.0):
        rounds += 1
        assert rounds < 100
    report.refresh_from_db()
    assert stored(bucket, acme) == {} and stored(bucket, charlies) == theirs
    assert (report.files, report.bytes, report.verified) == (len(mine), sum(mine.values()), True)
    assert rounds > 3
