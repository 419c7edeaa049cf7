"""The archive of a workspace holds every row and every file, no secret and nothing of anybody else."""

from __future__ import annotations

import errno
import hashlib
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core import mail
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db.models import FileField
from django.test import Client
from django.utils import timezone

from apps.accounts.models import AuditEvent, Invitation, Workspace
from apps.jobs import expiry, services
from apps.jobs.models import Artifact, Job, Status
from apps.pages import archive as archives
from apps.pages.exports import start_export
from apps.pages.tasks import export_workspace
from ml.errors import Cancelled
from tests.holdings import fill

OURS = [config.label for config in apps.get_app_configs() if config.name.startswith("apps.")]
ClientOf = Callable[[Any], Client]


@pytest.fixture
def held(acme: Any, alice: Any, charlies: Any, charlie: Any) -> dict[str, Any]:
    """One of everything in acme, and in a stranger's workspace beside it."""
    fill(charlies, charlie)
    return fill(acme, alice)


@pytest.fixture
def exported(held: dict[str, Any], acme: Any, alice: Any, django_capture_on_commit_callbacks: Any) -> Artifact:
    """The archive of acme, made by its job."""
    with django_capture_on_commit_callbacks(execute=True):
        job = start_export(workspace=acme, user=alice)
    job.refresh_from_db()
    assert job.status == "done", job.message
    return job.artifacts.get()


def read(artifact: Artifact) -> zipfile.ZipFile:
    with artifact.file.open("rb") as handle:
        return zipfile.ZipFile(BytesIO(handle.read()))


def rows_of(archive: zipfile.ZipFile, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(archive.read(f"{name}.json"))
    return found


def owned_models() -> dict[type[Any], str]:
    """Every model of ours that belongs to a workspace, with the shortest look-up to it, found by looking."""
    found: dict[type[Any], str] = {}
    grown = True
    while grown:
        grown = False
        for model in [one for label in OURS for one in apps.get_app_config(label).get_models()]:
            for column in model._meta.concrete_fields:
                target = column.related_model
                if model in found or model is Workspace or target is None:
                    continue
                if target is Workspace or target in found:
                    found[model] = column.name if target is Workspace else f"{column.name}__{found[target]}"
                    grown = True
    return found


def test_every_kind_of_row_is_exported_or_left_out_for_a_reason() -> None:
    known = {document.model for document in archives.DOCUMENTS.values()}
    left = {apps.get_model(label) for label in archives.LEFT_OUT}
    assert set(owned_models()) - known - left == set()
    assert not known & left


def test_every_row_and_every_column_is_there(exported: Artifact, acme: Any) -> None:
    archive = read(exported)
    assert rows_of(archive, "workspace") == [
        {"code": str(acme.code), "name": "Acme", "slug": "acme", "personal": False,
         "created_at": acme.created_at.isoformat()[:23] + "Z", "retention_days": None}
    ]  # fmt: skip
    for name, document in archives.DOCUMENTS.items():
        wanted = document.model.objects.filter(**{owned_models()[document.model]: acme})
        if document.model is Artifact:
            wanted = wanted.exclude(pk=exported.pk)
        if document.model is AuditEvent:
            wanted = wanted.exclude(action="export.made")
        found = rows_of(archive, name)
        assert len(found) == wanted.count() > 0, name
        columns = {column.name for column in document.model._meta.concrete_fields} - {"id", "workspace"}
        assert columns - document.left_out <= set(found[0]), name
        if "code" in columns:
            assert {row["code"] for row in found} == {str(row.code) for row in wanted}


def test_what_counts_most_is_word_for_word(exported: Artifact, held: dict[str, Any], alice: Any) -> None:
    archive = read(exported)
    (consent,) = rows_of(archive, "consents")
    assert (consent["statement"], consent["full_name"], consent["given_by"]) == ("I agree.", "Ada", alice.email)
    assert consent["voice"] == str(held["voice"].code)
    (conversion,) = rows_of(archive, "conversions")
    assert conversion["options"] == held["conversion"].options
    assert conversion["source"] == str(held["source"].code)
    roles = {row["user"]: (row["role"], row["name"]) for row in rows_of(archive, "members")}
    assert roles[alice.email] == ("owner", "Alice") and len(roles) == 4
    assert {row["action"] for row in rows_of(archive, "audit")} >= {"export.started", "invitation.sent"}


def test_every_stored_file_is_there_as_it_was(exported: Artifact, acme: Any) -> None:
    archive = read(exported)
    inside = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    stored = set()
    for model, place in owned_models().items():
        for column in [one.name for one in model._meta.concrete_fields if isinstance(one, FileField)]:
            stored |= set(model.objects.filter(**{place: acme}).exclude(pk=exported.pk).values_list(column, flat=True))
    hashes = sorted(hashlib.sha256(default_storage.open(name).read()).hexdigest() for name in stored - {""})
    assert sorted(value for name, value in inside.items() if name.startswith("files/")) == hashes
    assert len(hashes) == 6
    named = [row["recording"] for row in rows_of(archive, "consents")]
    for name in ("recordings", "takes", "models", "sources", "outputs"):
        named += [row["file"] for row in rows_of(archive, name)]
    assert sorted(named) == sorted(name for name in inside if name.startswith("files/"))
    assert {archive.getinfo(name).compress_type for name in named} == {zipfile.ZIP_STORED}
    assert archive.testzip() is None


def test_the_manifest_holds_every_file_with_its_hash(exported: Artifact) -> None:
    archive = read(exported)
    manifest = json.loads(archive.read("manifest.json"))
    assert {one["path"] for one in manifest["files"]} == set(archive.namelist()) - {"manifest.json"}
    for one in manifest["files"]:
        content = archive.read(one["path"])
        assert (one["bytes"], one["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert manifest["missing"] == []
    assert exported.data["files"] == 6 and exported.data["rows"] == manifest["rows"]


def test_no_secret_and_nothing_of_a_stranger_is_in_it(exported: Artifact, charlies: Any) -> None:
    archive = read(exported)
    text = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".json")).decode()
    for invitation in Invitation.objects.all():
        assert invitation.token_hash not in text
    for document in archives.DOCUMENTS.values():
        for column in document.model._meta.concrete_fields:
            if any(word in column.name for word in ("token", "secret", "password", "hash")):
                assert column.name in document.left_out, column
    assert str(charlies.code) not in text and "charlie" not in text.lower()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/absolute/x.wav", "C:\\x\\..\\y.wav", "a\x01b\n.wav", "..", "CON", "ü" * 200]
)
def test_a_name_that_a_user_chose_is_no_path(
    held: dict[str, Any], acme: Any, tmp_path: Path, name: str
) -> None:  # fmt: skip
    for row in (held["recording"], held["source"], held["artifact"]):
        type(row).objects.filter(pk=row.pk).update(name=name)
    archives.write_archive(acme, tmp_path / "x.zip", lambda part, stage: None)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        archive.extractall(tmp_path / "out")
        for inside in archive.namelist():
            assert ".." not in inside.split("/") and "\\" not in inside and ":" not in inside
            assert len(inside.split("/")[-1].encode()) <= 255
    assert not (tmp_path / "etc").exists() and len(list(tmp_path.iterdir())) == 2


def test_a_file_that_goes_meanwhile_is_told_of(held: dict[str, Any], acme: Any, tmp_path: Path) -> None:
    held["take"].file.storage.delete(held["take"].file.name)
    contents = archives.write_archive(acme, tmp_path / "x.zip", lambda part, stage: None)
    assert contents.missing == [f"files/takes/{held['take'].code}.flac"]
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert json.loads(archive.read("manifest.json"))["missing"] == contents.missing
        assert contents.missing[0] not in archive.namelist()


def test_a_large_file_is_never_in_memory_whole(held: dict[str, Any], acme: Any, tmp_path: Path) -> None:
    size = 64 * 2**20
    path = Path(held["artifact"].file.path)
    with path.open("wb") as handle:
        handle.truncate(size)
    tracemalloc.start()
    contents = archives.write_archive(acme, tmp_path / "x.zip", lambda part, stage: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert contents.summary["bytes"] > size and peak < size / 8


def test_who_stops_it_is_heard_between_blocks(held: dict[str, Any], acme: Any, tmp_path: Path) -> None:
    def report(part: float, stage: str) -> None:
        if stage.startswith("Packing"):
            raise Cancelled

    with pytest.raises(Cancelled):
        archives.write_archive(acme, tmp_path / "x.zip", report)


def test_progress_goes_up_to_the_end(held: dict[str, Any], acme: Any, tmp_path: Path) -> None:
    parts: list[float] = []
    archives.write_archive(acme, tmp_path / "x.zip", lambda part, stage: parts.append(part))
    assert parts == sorted(parts) and 0.5 < parts[-1] <= 1.0


def test_a_full_disk_is_tried_again_and_leaves_nothing(
    held: dict[str, Any],
    acme: Any,
    alice: Any,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = set(Artifact.objects.values_list("pk", flat=True))
    with monkeypatch.context() as patch:
        patch.setattr(archives._Counted, "write", full)
        with django_capture_on_commit_callbacks(execute=True):
            job = start_export(workspace=acme, user=alice)
    job.refresh_from_db()
    assert job.status == Status.QUEUED and job.not_before is not None and "Room on a disk" in job.message
    assert set(Artifact.objects.values_list("pk", flat=True)) == before
    Job.objects.filter(pk=job.pk).update(not_before=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        export_workspace(job.pk)
    job.refresh_from_db()
    assert job.status == Status.DONE and job.artifacts.count() == 1


def test_there_is_one_at_a_time(held: dict[str, Any], acme: Any, adam: Any, client_of: ClientOf) -> None:
    client = client_of(adam)
    assert client.post("/w/acme/export/").status_code == 302
    answer = client.post("/w/acme/export/")
    assert answer.status_code == 409 and "being written already" in answer.content.decode()
    job = Job.objects.get(kind="export")
    page = client.get("/w/acme/export/").content.decode()
    assert f'id="job-{job.code}"' in page and "Make an archive" not in page
    services.cancel(job)
    assert client.post("/w/acme/export/").status_code == 302


def test_only_admins_get_it_and_it_is_written_down(
    exported: Artifact, alice: Any, adam: Any, bob: Any, victor: Any, charlie: Any, client_of: ClientOf
) -> None:
    address = f"/w/acme/artifacts/{exported.code}/"
    for who, status in ((alice, 200), (adam, 200), (bob, 403), (victor, 403), (charlie, 404)):
        assert client_of(who).get(address).status_code == status, who
    answer = client_of(adam).get(address)
    assert answer["Content-Type"] == "application/zip"
    assert answer["Content-Disposition"].startswith('attachment; filename="acme ')
    job_page = f"/w/acme/jobs/{exported.job.code}/"
    assert address in client_of(adam).get(job_page).content.decode()
    assert address not in client_of(bob).get(job_page).content.decode()
    made = AuditEvent.objects.get(action="export.made")
    assert made.user == alice and made.data["files"] == 6
    assert address in client_of(adam).get("/w/acme/export/").content.decode()


def test_the_newest_takes_the_place_of_the_one_before(
    exported: Artifact, acme: Any, alice: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        job = start_export(workspace=acme, user=alice)
    expiry.expire()
    exported.refresh_from_db()
    newest = job.artifacts.get()
    assert not exported.file and newest.is_stored
    assert not any("export" in str(row["kind"]) for row in rows_of(read(newest), "outputs"))


def test_it_goes_after_a_week(exported: Artifact, adam: Any, client_of: ClientOf) -> None:
    assert exported.expires_at is not None
    assert abs(exported.expires_at - timezone.now() - timedelta(days=7)) < timedelta(minutes=1)
    name = str(exported.file)
    Artifact.objects.filter(pk=exported.pk).update(expires_at=timezone.now())
    expiry.expire()
    assert not default_storage.exists(name)
    assert client_of(adam).get(f"/w/acme/artifacts/{exported.code}/").status_code == 410
    assert "There is no archive now" in client_of(adam).get("/w/acme/export/").content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_long_one_is_told_by_letter(held: dict[str, Any], acme: Any, alice: Any, settings: Any) -> None:
    settings.JOBS_INLINE = False
    job = start_export(workspace=acme, user=alice)
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(minutes=3))
    mail.outbox.clear()
    export_workspace(job.pk)
    (letter,) = mail.outbox
    assert letter.to == [alice.email] and f"{settings.SITE_URL}/w/acme/export/" in letter.body


def test_an_empty_workspace_gives_an_archive_too(charlies: Any, tmp_path: Path) -> None:
    archives.write_archive(charlies, tmp_path / "x.zip", lambda part, stage: None)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert json.loads(archive.read("voices.json")) == []
        assert len(json.loads(archive.read("members.json"))) == 1


def test_zip64_is_used_for_every_entry(held: dict[str, Any], acme: Any, tmp_path: Path) -> None:
    """A file's length is not known when its entry begins, so each must be able to pass 4 GB."""
    archives.write_archive(acme, tmp_path / "x.zip", lambda part, stage: None)
    data = (tmp_path / "x.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        for entry in archive.infolist():
            version = int.from_bytes(data[entry.header_offset + 4 : entry.header_offset + 6], "little")
            assert version == zipfile.ZIP64_VERSION


def test_results_that_have_expired_are_history_in_it(held: dict[str, Any], acme: Any, tmp_path: Path) -> None:
    Artifact.objects.filter(pk=held["artifact"].pk).update(expires_at=timezone.now() - timedelta(days=1))
    expiry.expire()
    archives.write_archive(acme, tmp_path / "x.zip", lambda part, stage: None)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        (row,) = rows_of(archive, "outputs")
        assert row["file"] is None and row["expired_at"] and row["sha256"]
        assert not any(name.startswith("files/outputs") for name in archive.namelist())


def test_many_rows_take_few_queries(
    held: dict[str, Any], acme: Any, tmp_path: Path, django_assert_max_num_queries: Any
) -> None:
    job = held["job"]
    for number in range(50):
        artifact = Artifact(workspace=acme, job=job, kind="sample", name=f"{number}.wav", size=1)
        artifact.file.save("x.wav", ContentFile(b"x"))
    with django_assert_max_num_queries(25):
        archives.write_archive(acme, tmp_path / "x.zip", lambda part, stage: None)
