"""Files without rows go, rows without files are told of, and nothing that is in use or on its way is touched."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from apps.jobs import orphans
from apps.jobs.models import Artifact, Job

Make = Callable[..., Job]
DAY = 24 * 3600


@pytest.fixture(autouse=True)
def _an_empty_storage(settings: Any, tmp_path: Path) -> None:
    backend = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": backend, "OPTIONS": {"location": tmp_path}}}
    cache.delete(orphans._CURSOR)


def stored(name: str, hours_ago: float = 0.0) -> str:
    kept = default_storage.save(name, ContentFile(b"sound"))
    then = time.time() - 3600 * hours_ago
    os.utime(default_storage.path(kept), (then, then))
    return kept


def kept(job: Job, hours_ago: float = 0.0) -> Artifact:
    artifact = Artifact(workspace=job.workspace, job=job, kind="audio", name=uuid4().hex, size=5, sha256="0" * 64)
    artifact.file.save("x.wav", ContentFile(b"sound"), save=False)
    artifact.save()
    then = time.time() - 3600 * hours_ago
    os.utime(artifact.file.path, (then, then))
    return artifact


@pytest.mark.django_db
def test_an_old_file_that_no_row_names_is_removed_and_all_others_stay(queued: Make) -> None:
    job = queued()
    prefix = job.workspace.file_prefix
    old, young = stored(f"{prefix}/artifacts/{uuid4()}.wav", 25), stored(f"{prefix}/artifacts/{uuid4()}.wav", 23)
    upload = stored(f"{prefix}/uploads/{uuid4()}/0", 48)
    artifact = kept(job, 48)
    assert orphans.sweep_orphans() == {"orphans": 1, "missing": 0}
    assert not default_storage.exists(old)
    assert all(default_storage.exists(name) for name in (young, upload, artifact.file.name))


@pytest.mark.django_db
def test_the_files_of_a_workspace_that_is_gone_are_removed() -> None:
    name = stored(f"w/{uuid4()}/takes/{uuid4()}.flac", 25)
    assert orphans.sweep_orphans()["orphans"] == 1
    assert not default_storage.exists(name)


@pytest.mark.django_db
def test_a_row_whose_file_is_gone_is_told_of_and_kept(queued: Make, caplog: pytest.LogCaptureFixture) -> None:
    artifact = kept(queued())
    default_storage.delete(artifact.file.name)
    with caplog.at_level(logging.ERROR):
        assert orphans.sweep_orphans() == {"orphans": 0, "missing": 1}
    assert f"jobs.Artifact {artifact.pk}" in caplog.text and artifact.file.name in caplog.text
    assert Artifact.objects.filter(pk=artifact.pk).exists()


@pytest.mark.django_db
def test_every_folder_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "FOLDERS_AT_ONCE", 2)
    names = [stored(f"w/{uuid4()}/takes/a.flac", 25) for _ in range(5)]
    left = []
    for _ in range(3):
        orphans.sweep_orphans()
        left.append(sum(default_storage.exists(name) for name in names))
    assert left == [3, 1, 0]


@pytest.mark.django_db
def test_every_file_field_of_the_product_is_known() -> None:
    from django.apps import apps

    fields = {f"{model._meta.label}.{name}" for model in apps.get_models() for name in orphans._file_fields(model)}
    assert fields == {
        "jobs.Job.checkpoint",
        "jobs.Artifact.file",
        "studio.Source.file",
        "voices.Consent.recording",
        "voices.Recording.file",
        "voices.Take.file",
        "voices.VoiceModel.file",
    }


@pytest.mark.django_db
def test_nothing_stored_is_no_fault() -> None:
    assert orphans.sweep_orphans() == {"orphans": 0, "missing": 0}


@pytest.mark.django_db(transaction=True)
def test_a_result_whose_row_never_came_is_removed_a_day_later(queued: Make) -> None:
    """What a hard kill leaves: the file is stored, the row was not committed."""
    job = queued()
    artifact = Artifact(workspace=job.workspace, job=job, kind="audio", name="a.wav", size=5, sha256="0" * 64)
    artifact.file.save("a.wav", ContentFile(b"sound"), save=False)
    assert orphans.sweep_orphans()["orphans"] == 0
    then = time.time() - DAY - 60
    os.utime(artifact.file.path, (then, then))
    assert orphans.sweep_orphans()["orphans"] == 1
    assert not default_storage.exists(artifact.file.name)
