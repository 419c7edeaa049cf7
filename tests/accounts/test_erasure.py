"""A workspace that is erased leaves nothing but a report that adds up, also when its erasure is cut short anywhere."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.accounts import services
from apps.accounts.models import ErasureReport, Membership, Role, User, Workspace
from apps.errors import Refused
from apps.jobs.folders import folder_of
from apps.jobs.models import Job, Status
from apps.jobs.services import claim, hand_back
from apps.pages import erasure
from apps.voices.services.training import preflight_of
from tests.holdings import fill
from tests.kills import deaths, killed

ClientOf = Callable[[Any], Client]
LONG = 600.0  # seconds for one call


@pytest.fixture(autouse=True)
def _an_empty_storage(settings: Any, tmp_path: Path) -> None:
    backend = "django.core.files.storage.FileSystemStorage"
    options = {"location": tmp_path / "media"}
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": backend, "OPTIONS": options}}


@pytest.fixture
def held(acme: Any, alice: Any, charlies: Any, charlie: Any) -> dict[str, Any]:
    """One of everything in acme, and in a stranger's workspace beside it."""
    fill(charlies, charlie)
    held = fill(acme, alice)
    held["model"].takes.set([held["take"]])
    held["upload"].parts = [default_storage.save(f"{held['upload'].folder}/0", ContentFile(b"part"))]
    held["upload"].save()
    held["job"].checkpoint.save("work.zip", ContentFile(b"weights so far"))
    ErasureReport.objects.all().delete()  # holdings has one of somebody else
    mail.outbox.clear()
    return held


def stored(workspace: Any) -> dict[str, int]:
    """Return the workspace's files in the storage with their bytes."""
    root = Path(default_storage.path(workspace.file_prefix))
    return {str(path): path.stat().st_size for path in root.rglob("*") if path.is_file()}


def rows_of(workspace: Any) -> Counter[str]:
    """Count the rows of a workspace by model, itself too."""
    found = Counter[str]()
    for model, place in erasure.owned():
        found[model._meta.label] = model._base_manager.filter(**{place: workspace.pk}).count()
    found["accounts.Workspace"] = Workspace.objects.filter(pk=workspace.pk).count()
    return +found


def erase(workspace: Any, user: Any) -> ErasureReport:
    report = services.erase_workspace(workspace=workspace, user=user)
    assert erasure.erase_due(LONG) == 1
    report.refresh_from_db()
    return report


def test_everything_goes_and_the_report_says_so(held: dict[str, Any], acme: Any, alice: Any, charlies: Any) -> None:
    files, rows, theirs, other_files = stored(acme), rows_of(acme), rows_of(charlies), stored(charlies)
    assert len(files) == 8
    assert set(rows) == {model._meta.label for model, _ in erasure.owned()} | {"accounts.Workspace"}, "one of each"
    report = erase(acme, alice)
    assert stored(acme) == {} and rows_of(acme) == {}
    assert not Path(default_storage.path(acme.file_prefix)).exists()
    assert rows_of(charlies) == theirs and stored(charlies) == other_files
    assert (report.files, report.bytes) == (len(files), sum(files.values()))
    assert report.rows == dict(rows)
    assert report.verified and report.finished_at and report.at_once and report.pending == []
    assert User.objects.filter(pk=alice.pk).exists()


def test_every_model_that_belongs_to_a_workspace_is_known() -> None:
    from tests.pages.test_export import owned_models

    assert set(owned_models()) <= {model for model, _ in erasure.owned()}


def test_nothing_is_removed_before_what_points_to_it() -> None:
    order = [model for model, _ in erasure.owned()]
    for place, model in enumerate(order):
        for target in erasure._targets(model) & set(order):
            assert order.index(target) > place, (model, target)


@pytest.mark.django_db(transaction=True)
def test_killed_once_at_any_step_the_next_round_ends_it_with_a_true_report(
    acme: Any, alice: Any, charlie: Any, charlies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "FILES_AT_ONCE", 3)
    monkeypatch.setattr(erasure, "ROWS_AT_ONCE", 2)
    for number in range(1000):
        workspace = services.create_workspace(user=alice, name=f"Acme {number}")
        Membership.objects.create(workspace=workspace, user=charlie, role=Role.EDITOR)
        fill(workspace, alice)
        files, rows = stored(workspace), rows_of(workspace)
        report = services.erase_workspace(workspace=workspace, user=alice)
        moment = killed(lambda: erasure.erase_due(LONG), number // 2, before=number % 2 == 0)
        ErasureReport.objects.update(held_until=None)  # a minute has passed
        erasure.erase_due(LONG)
        report.refresh_from_db()
        assert stored(workspace) == {} and rows_of(workspace) == {}, moment
        assert report.rows == dict(rows), moment
        assert (report.files, report.bytes) == (len(files), sum(files.values())), moment
        assert report.verified, moment
        if moment is None:
            break
    assert number > 50


@pytest.mark.django_db(transaction=True)
def test_killed_again_and_again_it_goes_on_and_its_report_adds_up(
    held: dict[str, Any], acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "FILES_AT_ONCE", 3)
    monkeypatch.setattr(erasure, "ROWS_AT_ONCE", 2)
    files, rows = stored(acme), rows_of(acme)
    report = services.erase_workspace(workspace=acme, user=alice)
    seen = []

    def go_on() -> None:
        ErasureReport.objects.update(held_until=None)  # who held it is dead, and a minute has passed
        erasure.erase_due(LONG)

    for moment in every_death(go_on):
        seen.append(moment)
        report.refresh_from_db()
        assert not report.verified or not stored(acme), moment
    report.refresh_from_db()
    assert len(seen) > 40
    assert {"Storage.delete", "QuerySet.update", "QuerySet.delete"} <= {one.split(", ")[1] for one in seen}
    assert stored(acme) == {} and rows_of(acme) == {}
    assert report.rows == dict(rows), seen
    assert (report.files, report.bytes) == (len(files), sum(files.values())), seen
    assert report.verified


def every_death(work: Callable[[], None]) -> Iterator[str]:
    """Die at the first step, the second ... of what is left each time, until all is done.

    Work that goes on where it was cut short has fewer steps each time, so it is also killed at its first one again and
    again for a while: that must not stop it for ever.
    """
    for at in (2, 3, 4, 5, 6, 7, 9, 11, 13):
        yield from deaths(work, most=at, strict=False)
    yield from deaths(work, strict=False)


def test_a_round_ends_in_time_and_the_next_goes_on(
    held: dict[str, Any], acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(erasure, "FILES_AT_ONCE", 2)
    files, rows = len(stored(acme)), rows_of(acme)
    report = services.erase_workspace(workspace=acme, user=alice)
    rounds = 0
    while not erasure.erase_due(0.0):
        rounds += 1
        if rounds <= 4:
            assert len(stored(acme)) == files - 2 * rounds, "each does one batch, and no more"
        assert rounds < 100
    report.refresh_from_db()
    assert rounds == 4 + sum(rows.values()) - 1 and report.rows == dict(rows) and report.verified


def test_only_one_sweep_works_on_it(held: dict[str, Any], acme: Any, alice: Any) -> None:
    report = services.erase_workspace(workspace=acme, user=alice)
    assert erasure._hold(report)
    assert erasure.erase_due(LONG) == 0 and stored(acme)
    ErasureReport.objects.update(held_until=timezone.now() - timedelta(seconds=1))
    assert erasure.erase_due(LONG) == 1


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_count_nothing_twice(held: dict[str, Any], acme: Any, alice: Any) -> None:
    files, rows = stored(acme), rows_of(acme)
    report = services.erase_workspace(workspace=acme, user=alice)
    both, gone = threading.Barrier(2), []

    def round_() -> None:
        both.wait()
        gone.append(erasure.erase_due(LONG))
        connection.close()

    threads = [threading.Thread(target=round_) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.refresh_from_db()
    assert sorted(gone) == [0, 1]
    assert report.rows == dict(rows) and report.files == len(files)


def test_it_waits_for_a_running_job_and_cancels_what_is_queued(held: dict[str, Any], acme: Any, alice: Any) -> None:
    values = {"workspace": acme, "kind": "training", "title": "x", "task": "none", "queue": "gpu"}
    queued, running = (Job.objects.create(**values) for _ in range(2))
    claim(running.pk, worker="w")
    folder_of(running.code).mkdir(parents=True)
    report = services.erase_workspace(workspace=acme, user=alice)
    assert erasure.erase_due(LONG) == 0
    queued.refresh_from_db()
    running.refresh_from_db()
    assert queued.status == Status.CANCELLED and running.cancel_requested_at is not None
    assert stored(acme), "a job that runs may still write"
    hand_back(running, reason="its worker heard the cancel")
    folder_of(running.code).mkdir(parents=True, exist_ok=True)  # as on a machine whose worker died
    assert erasure.erase_due(LONG) == 1
    assert not folder_of(running.code).exists()
    report.refresh_from_db()
    assert report.verified and report.rows["jobs.Job"] == 4


def test_one_that_waits_does_not_hold_up_the_others(
    held: dict[str, Any], acme: Any, alice: Any, charlies: Any, charlie: Any
) -> None:
    job = Job.objects.create(workspace=acme, kind="training", title="x", task="none", queue="gpu")
    claim(job.pk, worker="w")
    services.erase_workspace(workspace=acme, user=alice)
    services.erase_workspace(workspace=charlies, user=charlie)
    assert erasure.erase_due(LONG) == 1
    assert not Workspace.objects.filter(pk=charlies.pk).exists() and Workspace.objects.filter(pk=acme.pk).exists()


def test_a_file_that_cannot_be_removed_is_tried_again_and_counted_once(
    held: dict[str, Any], acme: Any, alice: Any, charlies: Any, charlie: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = stored(acme)
    bad, real = held["take"].file.name, default_storage.delete

    def delete(name: str) -> None:
        if name == bad:
            raise PermissionError(name)
        real(name)

    report = services.erase_workspace(workspace=acme, user=alice)
    services.erase_workspace(workspace=charlies, user=charlie)
    with monkeypatch.context() as patch:
        patch.setattr(default_storage, "delete", delete)
        assert erasure.erase_due(LONG) == 1, "the other one"
    assert erasure.erase_due(LONG) == 1
    report.refresh_from_db()
    assert (report.files, report.bytes, report.verified) == (len(files), sum(files.values()), True)


def test_what_a_late_request_stores_goes_too(held: dict[str, Any], acme: Any, alice: Any, monkeypatch: Any) -> None:
    files, real = stored(acme), erasure._remove_rows

    def late(*args: Any) -> bool:
        done = real(*args)
        default_storage.save(f"{acme.file_prefix}/sources/late", ContentFile(b"late"))
        return done

    monkeypatch.setattr(erasure, "_remove_rows", late)
    report = erase(acme, alice)
    assert report.files == len(files) + 1 and report.verified and not stored(acme)


def test_what_the_cache_held_of_its_voices_goes(held: dict[str, Any], acme: Any, alice: Any) -> None:
    preflight_of(held["voice"])
    key = f"preflight-3-{held['voice'].pk}"
    assert cache.get(key) is not None
    erase(acme, alice)
    assert cache.get(key) is None


def test_the_owner_gets_the_report_and_is_then_forgotten(held: dict[str, Any], acme: Any, alice: Any) -> None:
    report = erase(acme, alice)
    assert report.email == alice.email
    assert [erasure.tell(), erasure.tell()] == [1, 0]
    (letter,) = mail.outbox
    assert letter.to == [alice.email] and letter.subject == "Acme is erased"
    for text in (letter.body, letter.alternatives[0].content):
        for words in ("Voice models", "Recordings", str(report.code), "listed no file", "as you asked"):
            assert words in text, words
    report.refresh_from_db()
    assert report.told_at and (report.name, report.email) == ("", "")
    assert "Acme" not in str(report.__dict__) and alice.email not in str(report.__dict__)


def test_a_letter_that_is_not_taken_is_tried_again_for_a_week(
    held: dict[str, Any], acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("gone")

    report = erase(acme, alice)
    with monkeypatch.context() as patch:
        patch.setattr("django.core.mail.EmailMultiAlternatives.send", refuse)
        assert erasure.tell() == 0
    assert erasure.tell() == 1
    ErasureReport.objects.update(
        told_at=None, email=alice.email, name="Acme", asked_at=timezone.now() - timedelta(days=8)
    )
    monkeypatch.setattr("django.core.mail.EmailMultiAlternatives.send", refuse)
    assert erasure.tell() == 0
    report.refresh_from_db()
    assert report.told_at and report.email == ""


def test_who_died_over_the_letter_leaves_no_address(held: dict[str, Any], acme: Any, alice: Any) -> None:
    report = erase(acme, alice)
    ErasureReport.objects.update(told_at=timezone.now() - timedelta(minutes=5))
    assert erasure.tell() == 0
    report.refresh_from_db()
    assert report.email == alice.email, "another sweep may be writing it now"
    ErasureReport.objects.update(told_at=timezone.now() - timedelta(hours=2))
    assert erasure.tell() == 0
    report.refresh_from_db()
    assert (report.name, report.email) == ("", "")


# --- by the pages ----------------------------------------------------------------------------------------------------


def test_the_owner_erases_at_once_by_typing_the_name(
    held: dict[str, Any], acme: Any, alice: Any, adam: Any, client_of: ClientOf
) -> None:
    client = client_of(alice)
    wrong = client.post("/w/acme/erase/", {"erase-name": "acme"})
    assert wrong.status_code == 422 and "This is not its name" in wrong.content.decode()
    assert not ErasureReport.objects.exists()
    page = client.post("/w/acme/erase/", {"erase-name": "Acme"}, follow=True)
    assert "is being erased" in page.content.decode() and "Restore" not in page.content.decode()
    assert client.get("/w/acme/").status_code == client_of(adam).get("/w/acme/").status_code == 404
    assert client.post(f"/workspaces/{acme.code}/restore/").status_code == 410
    assert erasure.erase_due(LONG) == 1
    assert "Acme" not in client.get("/settings/").content.decode()


def test_after_the_grace_period_everything_goes_and_nothing_else(
    held: dict[str, Any], acme: Any, alice: Any, charlies: Any, client_of: ClientOf, settings: Any
) -> None:
    services.delete_workspace(workspace=acme, user=alice)
    assert erasure.erase_due(LONG) == 0 and stored(acme)
    over = timezone.now() - timedelta(days=settings.WORKSPACE_GRACE_DAYS, seconds=1)
    Workspace.objects.filter(pk=acme.pk).update(deleted_at=over)
    assert client_of(alice).post(f"/workspaces/{acme.code}/restore/").status_code == 410
    assert erasure.erase_due(LONG) == 1
    assert not stored(acme) and stored(charlies)
    report = ErasureReport.objects.get()
    assert not report.at_once and report.verified
    assert erasure.tell() == 1
    assert "as its time to be restored is over" in mail.outbox[0].body


def test_it_is_asked_for_once(acme: Any, alice: Any) -> None:
    services.erase_workspace(workspace=acme, user=alice)
    with pytest.raises(Refused) as refused:
        services.erase_workspace(workspace=acme, user=alice)
    assert refused.value.status == 409


def test_the_sweep_does_all_of_it(held: dict[str, Any], acme: Any, alice: Any) -> None:
    from django.core.management import call_command

    services.erase_workspace(workspace=acme, user=alice)
    call_command("sweep")
    assert ErasureReport.objects.get().verified and len(mail.outbox) == 1


def test_nothing_due_costs_two_queries(acme: Any, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        assert erasure.erase_due() == 0
