"""The staff's own pages: what they tell, whom they tell it, and that what staff do is written down."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import django_rq
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import AuditEvent, Membership, User
from apps.jobs import orphans, presence, services, tracebacks
from apps.jobs.models import Fault, Job, Status
from apps.pages import usage
from tests.holdings import fill
from tests.jobs import bodies

pytestmark = pytest.mark.django_db
PAGES = ["staff:queues", "staff:workspaces", "staff:workspace", "staff:storage"]


@pytest.fixture
def held(acme: Any, alice: Any) -> dict[str, Any]:
    return fill(acme, alice)


@pytest.fixture
def boss(db: None) -> User:
    return User.objects.create_superuser("staff@example.org", "x", name="Steffi")


@pytest.fixture
def staff(boss: User, client_of: Callable[[Any], Client]) -> Client:
    return client_of(boss)


@pytest.fixture
def make(acme: Any, alice: Any) -> Callable[..., Job]:
    def insert(body: Callable[[int], None] = bodies.succeed, **given: Any) -> Job:
        task = f"{body.__module__}.{body.__qualname__}"
        plain = {"workspace": acme, "created_by": alice, "kind": "conversion", "title": "Hello as Ada", "queue": "gpu"}
        return Job.objects.create(**{**plain, "task": task, **given})

    return insert


def address(name: str, workspace: Any) -> str:
    return reverse(name, args=[workspace.code] if name == "staff:workspace" else [])


def words(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, url
    text = re.sub(r"<[^>]+>", " ", answer.text[answer.text.index('id="content"') :])
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("name", PAGES)
def test_each_page_answers_staff_without_inline_code_and_nobody_else(
    name: str, held: dict[str, Any], staff: Client, alice: Any, client_of: Callable[[Any], Client]
) -> None:
    url = address(name, held["workspace"])
    page = staff.get(url)
    assert page.status_code == 200 and not re.search(r"<script(?![^>]*\bsrc=)| style=|\son\w+=", page.text)
    assert staff.post(url).status_code == 405
    assert "/login/" in client_of(alice).get(url)["Location"]
    limited = User.objects.create_user("limited@example.org", "x", is_staff=True)
    assert client_of(limited).get(url).status_code == 403
    assert "Queues and workers" not in client_of(limited).get("/admin/").text
    codename = "view_job" if name == "staff:queues" else "view_workspace"
    limited.user_permissions.add(Permission.objects.get(codename=codename))
    assert client_of(User.objects.get(pk=limited.pk)).get(url).status_code == 200


def test_the_front_page_of_the_admin_leads_there(staff: Client) -> None:
    text = staff.get("/admin/").text
    for target in (reverse("staff:queues"), reverse("staff:storage"), "?why=ours", "?q=staff."):
        assert target in text


def test_no_other_page_changes_queues_past_the_rows(staff: Client) -> None:
    assert staff.get("/admin/django_rq/").status_code == 404
    assert "django_rq" not in staff.get("/admin/").text


def test_queues_and_workers_tell_who_waits_and_who_does_what(make: Callable[..., Job], staff: Client) -> None:
    wire = django_rq.get_connection("gpu")
    waiting, running = make(), make(title="Long song")
    Job.objects.filter(pk=waiting.pk).update(created_at=timezone.now() - timedelta(minutes=12))
    services.claim(running.pk, worker="one")
    Job.objects.filter(pk=running.pk).update(started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    for _ in range(3):
        done = make(worker="one", status=Status.DONE, ended_at=timezone.now())
    Job.objects.filter(pk=done.pk).update(created_at=timezone.now() - timedelta(days=2))
    device = {"index": 0, "name": "NVIDIA L4", "utilisation": 0.25, "memory_used": 1 << 30, "memory_total": 24 << 30}
    gpu = {"state": "ok", "reason": "", "devices": [{**device, "temperature": 61}]}
    said = {"host": "forge", "job": str(running.code), "since": 86400.0, "gpu": gpu}
    presence.say(wire, ["gpu"], "one", {**said, "cache": {"held": 2, "hits": 7, "misses": 3}})
    presence.say(wire, ["gpu"], "two", {"host": "cellar", "gpu": {"state": "lost", "reason": "GPU is lost"}})
    try:
        text = words(staff, reverse("staff:queues"))
    finally:
        for name in ("one", "two"):
            presence.leave(wire, ["gpu"], name)
    assert "gpu 1 12 min 0 1 2 1" in text and "default 0 – 0 0 none 0" in text
    assert "forge Long song of Acme, since 03:04:05 2 1970-01-02 00:00" in text
    assert "0: NVIDIA L4, 25 % busy, 1.0 GB of 24.0 GB, 61 °C 2 held, 7 hits, 3 misses" in text.replace("\xa0", " ")
    assert "cellar waits 0 – lost: GPU is lost" in text
    assert "No worker lives" in words(staff, reverse("staff:queues"))


def test_queues_are_shown_while_redis_is_away(make: Callable[..., Job], staff: Client, settings: Any) -> None:
    make()
    settings.REDIS_URL = "unix:///nowhere/redis.sock?db=0"
    text = words(staff, reverse("staff:queues"))
    assert "Redis cannot be reached" in text and "gpu 1 0 s 0 0 – –" in text and "No worker lives" not in text


def test_what_a_workspace_uses_is_added_up_from_its_own_rows(
    held: dict[str, Any], make: Callable[..., Job], charlies: Any, charlie: Any, settings: Any
) -> None:
    settings.COST_PER_GPU_HOUR, settings.COST_PER_GB_MONTH = 2.0, 0.5
    now = timezone.now()
    before = {row.workspace.slug: row for row in usage.of(usage.by_computing())}
    ended = {"status": Status.DONE, "ended_at": now}
    make(started_at=now - timedelta(minutes=30), **ended)
    make(started_at=now - timedelta(minutes=90), kind="training", **ended)
    make(started_at=now - timedelta(hours=9), queue="default", **ended)  # computes nothing
    old = make(started_at=now - timedelta(days=31, hours=1), status=Status.DONE, ended_at=now - timedelta(days=31))
    Job.objects.filter(pk=old.pk).update(created_at=now - timedelta(days=32))
    held["artifact"].size += 2_000_000_000
    held["artifact"].save()
    rows = usage.of(usage.by_computing())
    assert [row.workspace.slug for row in rows] == ["acme", "charlies"]
    acme = rows[0]
    assert acme.members == 4 and acme.jobs == before["acme"].jobs + 3
    assert acme.seconds - before["acme"].seconds == pytest.approx(7200)
    assert acme.stored - before["acme"].stored == 2_000_000_000
    assert acme.cost - before["acme"].cost == pytest.approx(2 * 2.0 + 2 * 0.5)
    assert {each.name: each.files for each in acme.held}["takes"] == 1
    assert (rows[1].members, rows[1].jobs, rows[1].stored, rows[1].held) == (1, 0, 0, [])
    assert [row.workspace.slug for row in usage.of(usage.by_computing("charl"))] == ["charlies"]


def test_totals_are_the_sum_of_all_workspaces(held: dict[str, Any], charlies: Any, charlie: Any) -> None:
    fill(charlies, charlie)
    rows = usage.of(usage.by_computing())
    totals = usage.totals()
    assert sum(each.files for each in totals) == sum(row.files for row in rows) > 10
    assert sum(each.size or 0 for each in totals) == sum(row.stored for row in rows) > 0
    assert usage.largest(1)[0][0] == max(row.stored for row in rows)


def test_a_workspace_shows_jobs_files_and_what_staff_did_and_its_cost_only_with_prices(
    held: dict[str, Any], make: Callable[..., Job], staff: Client, settings: Any
) -> None:
    job = make()
    services.end(job.pk, status=Status.FAILED, message="No sound in it.")
    staff.post("/admin/jobs/job/", {"action": "run_again", "_selected_action": [job.pk]})
    url = address("staff:workspace", held["workspace"])
    text = words(staff, url)
    assert "conversion 2 0" in text and "training 1 0" in text
    assert "recordings 1" in text and "takes 1 not kept in rows" in text
    assert "Steffi staff.run_again job Hello as Ada (failed)" in text
    assert "Cost" not in text and "Cost" not in words(staff, reverse("staff:workspaces"))
    settings.COST_PER_GB_MONTH = 1e6
    assert "Cost" in words(staff, url) and "Cost" in words(staff, reverse("staff:workspaces"))
    assert staff.get(reverse("staff:workspace", args=[job.code])).status_code == 404


def test_many_workspaces_come_in_pages_by_few_queries(
    staff: Client, alice: Any, django_assert_max_num_queries: Any
) -> None:
    from apps.accounts.models import Workspace

    Workspace.objects.bulk_create(Workspace(name=f"Band {number}", slug=f"band-{number}") for number in range(60))
    with django_assert_max_num_queries(25):
        first = words(staff, reverse("staff:workspaces"))
    assert "Page 1 of 2 Next" in first and "Band 59" not in first
    assert "Band 59" in words(staff, reverse("staff:workspaces") + "?page=2")
    assert "No workspace has “polka”" in words(staff, reverse("staff:workspaces") + "?q=polka")


def test_storage_tells_what_the_last_sweep_found(
    held: dict[str, Any], staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "FOLDERS_AT_ONCE", 10_000)  # other tests' folders are there too
    assert "The sweep has not looked yet" in words(staff, reverse("staff:storage"))
    held["recording"].file.storage.delete(held["recording"].file.name)
    orphans.sweep_orphans()
    text = words(staff, reverse("staff:storage"))
    assert "1 row named a file that is not there (the log names them)" in text and "free of" in text
    assert cache.get(orphans.LAST)["missing"] == 1


@pytest.mark.django_db(transaction=True)
def test_a_fault_of_ours_is_kept_with_its_traceback_for_staff_alone_and_for_a_month(
    make: Callable[..., Job], staff: Client, alice: Any, client_of: Callable[[Any], Client]
) -> None:
    job = make(bodies.break_down)
    bodies.break_down(job.pk)
    refused = make(bodies.refuse)
    bodies.refuse(refused.pk)
    fault = Fault.objects.get()
    job.refresh_from_db()
    assert (fault.job, fault.name, fault.error_id, fault.attempt) == (job, "ZeroDivisionError", job.error_id, 1)
    text = staff.get(f"/admin/jobs/job/{job.pk}/change/").text
    assert "ZeroDivisionError: a secret of ours" in text and "bodies.py" in text
    for page in (f"/w/acme/jobs/{job.code}/", "/w/acme/jobs/"):
        assert "a secret of ours" not in client_of(alice).get(page).text
    listed = staff.get("/admin/jobs/job/?why=ours")
    assert [row.pk for row in listed.context["cl"].queryset] == [job.pk]
    theirs = staff.get("/admin/jobs/job/?why=theirs")
    assert [row.pk for row in theirs.context["cl"].queryset] == [refused.pk]
    found = staff.get(f"/admin/jobs/job/?q={fault.error_id}")
    assert [row.pk for row in found.context["cl"].queryset] == [job.pk]
    Fault.objects.update(created_at=timezone.now() - timedelta(days=29))
    assert tracebacks.expire() == 0
    Fault.objects.update(created_at=timezone.now() - timedelta(days=31))
    assert tracebacks.expire() == 1 and not Fault.objects.exists()


def test_a_traceback_keeps_its_end_when_it_is_too_long(make: Callable[..., Job]) -> None:
    tracebacks.keep(make(), ValueError("x" * 30_000 + "\0the end"), error_id="1")
    text = Fault.objects.get().traceback
    assert len(text) <= tracebacks.LONGEST and text.rstrip().endswith("the end") and "\0" not in text


def test_what_staff_do_stands_in_the_workspaces_log_and_in_the_staffs_own(
    held: dict[str, Any], make: Callable[..., Job], staff: Client, boss: User
) -> None:
    acme, failed, waiting = held["workspace"], make(), make()
    services.end(failed.pk, status=Status.FAILED, message="No.", error_id="4712")
    staff.post("/admin/jobs/job/", {"action": "run_again", "_selected_action": [failed.pk, waiting.pk]})
    staff.post("/admin/jobs/job/", {"action": "end_now", "_selected_action": [waiting.pk]})
    member = Membership.objects.get(user__email="victor@example.org")
    change = reverse("admin:accounts_membership_change", args=[member.pk])
    staff.post(change, {"user": member.user_id, "workspace": acme.pk, "role": "editor"})
    take = held["take"]
    staff.post(reverse("admin:voices_take_delete", args=[take.pk]), {"post": "yes"})
    lines = AuditEvent.objects.filter(workspace=acme, action__startswith="staff.").order_by("pk")
    assert [line.action for line in lines] == ["staff.run_again", "staff.ended", "staff.changed", "staff.deleted"]
    assert {line.user for line in lines} == {boss}
    assert lines[0].data == {"code": str(failed.code), "error_id": "4712"}
    assert lines[2].data["changes"] == [{"changed": {"fields": ["Role"]}}]
    assert lines[3].data == {"code": str(take.code)} and lines[3].target.startswith("take ")
    assert LogEntry.objects.filter(user=boss).count() == 4
    log = reverse("admin:admin_logentry_changelist")
    assert "run_again" in staff.get(log).text
    entry = LogEntry.objects.first()
    assert entry is not None
    assert staff.post(reverse("admin:admin_logentry_delete", args=[entry.pk]), {"post": "yes"}).status_code == 403


def test_what_staff_do_to_people_stands_in_the_staffs_log(staff: Client, victor: Any) -> None:
    change = reverse("admin:accounts_user_change", args=[victor.pk])
    staff.post(change, {"email": victor.email, "name": "Victor II", "is_active": "on"})
    victor.refresh_from_db()
    assert victor.name == "Victor II"
    assert LogEntry.objects.get().object_repr == "Victor II" and not AuditEvent.objects.exists()
