"""Removes what is left of workspaces that are to be gone: files first, then rows, and a report that adds up.

Each step says beforehand what it is about to remove or counts in the transaction that removes it, so whenever this is
cut short the next round goes on and nothing is counted twice or not at all. One process at a time works on a workspace.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from itertools import islice
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import CASCADE, F, ForeignKey, Model, Q
from django.utils import timezone

from apps.accounts.mail import erased_letter
from apps.accounts.models import ErasureReport, Workspace
from apps.accounts.services import open_erasure
from apps.billing.services.money import forget_customer
from apps.jobs.folders import remove_folder
from apps.jobs.models import UNFINISHED, Job
from apps.jobs.services import cancel
from apps.voices.models import Voice
from apps.voices.services.training import forget_preflights

log = logging.getLogger(__name__)
ROUND_SECONDS = 2.0  # it runs between two looks for lost jobs
HELD_FOR = timedelta(seconds=60)
FILES_AT_ONCE = 100
ROWS_AT_ONCE = 200
LETTERS_FOR = timedelta(days=7)
LETTER_TAKES = timedelta(hours=1)  # at most, and by far


def erase_due(seconds: float = ROUND_SECONDS) -> int:
    """Go on removing workspaces whose grace period is over or whose owner did not want one, for about ``seconds``; say
    how many are gone for good by this call.
    """
    until, gone = time.monotonic() + seconds, 0
    _open_due()
    for report in ErasureReport.objects.filter(finished_at=None).order_by("asked_at"):
        if not _hold(report):
            continue
        try:
            gone += _go_on(report, until)
        except Exception:
            # One that cannot be gone on with keeps no other from its turn, and is tried again in each round.
            log.exception("erasure of workspace %s stands, it goes on later", report.workspace_code)
        finally:
            ErasureReport.objects.filter(pk=report.pk).update(held_until=None)
        if time.monotonic() >= until:
            break
    return gone


def _open_due() -> None:
    before = timezone.now() - timedelta(days=settings.WORKSPACE_GRACE_DAYS)
    over = Workspace.objects.filter(deleted_at__lte=before)
    for pk in over.exclude(code__in=ErasureReport.objects.values("workspace_code")).values_list("pk", flat=True):
        with transaction.atomic():
            workspace = over.select_for_update().filter(pk=pk).first()  # it may have been restored meanwhile
            if workspace is not None:
                open_erasure(workspace)


def _hold(report: ErasureReport) -> bool:
    """Keep other sweeps away from it for a while; say whether this one has it now."""
    now = timezone.now()
    free = ErasureReport.objects.filter(Q(held_until=None) | Q(held_until__lt=now), pk=report.pk, finished_at=None)
    return bool(free.update(held_until=now + HELD_FOR))


def _go_on(report: ErasureReport, until: float) -> bool:
    report.refresh_from_db()
    workspace = Workspace.objects.filter(code=report.workspace_code).first()
    if workspace is not None:
        forget_customer(workspace)  # first of all: nobody goes on paying for what is being removed
        if not _jobs_have_stopped(workspace) or not _remove_files(report, until):
            return False
        if not _remove_rows(report, workspace, until):
            return False
    # Once more: a request that was under way when the workspace closed may have stored a file since.
    if not _remove_files(report, until):
        return False
    done = ErasureReport.objects.filter(pk=report.pk, finished_at=None)
    done.update(finished_at=timezone.now(), verified=next(_files(report.file_prefix), None) is None)
    log.info("workspace %s is erased: %s files, %s bytes", report.workspace_code, report.files, report.bytes)
    return True


def _jobs_have_stopped(workspace: Workspace) -> bool:
    jobs = Job.objects.filter(workspace=workspace, status__in=UNFINISHED)
    for job in jobs.filter(cancel_requested_at=None).select_related("workspace"):
        cancel(job)
    return not jobs.exists()  # a running one stops within seconds


def _remove_files(report: ErasureReport, until: float) -> bool:
    """Remove what the storage lists of the workspace; False when time is over before that, but not without progress."""
    _remove_pending(report)
    while batch := list(islice(_files(report.file_prefix), FILES_AT_ONCE)):
        report.pending = [[name, size] for name in batch if (size := _size(name)) is not None]
        ErasureReport.objects.filter(pk=report.pk).update(pending=report.pending, held_until=timezone.now() + HELD_FOR)
        _remove_pending(report)
        if time.monotonic() >= until:
            return False
    return _remove_folders(report.file_prefix)


def _remove_pending(report: ErasureReport) -> None:
    """Remove the files that were named beforehand; one that is gone already went in a round that was cut short."""
    for name, _ in report.pending:
        default_storage.delete(name)
    if report.pending:
        size = sum(size for _, size in report.pending)
        ErasureReport.objects.filter(pk=report.pk).update(
            files=F("files") + len(report.pending), bytes=F("bytes") + size, pending=[]
        )
        report.refresh_from_db()


def _size(name: str) -> int | None:
    try:
        return int(default_storage.size(name))
    except FileNotFoundError:
        return None


def _files(folder: str) -> Iterator[str]:
    folders, files = _listed(folder)
    for name in files:
        yield f"{folder}/{name}"
    for name in folders:
        yield from _files(f"{folder}/{name}")


def _remove_folders(folder: str) -> bool:
    """Remove the empty folders that a local storage keeps; False when a file came into one meanwhile."""
    if not all(_remove_folders(f"{folder}/{name}") for name in _listed(folder)[0]):
        return False
    try:
        default_storage.delete(folder)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _listed(folder: str) -> tuple[list[str], list[str]]:
    try:
        folders, files = default_storage.listdir(folder)
    except FileNotFoundError:
        return [], []
    return [name for name in folders if name], [name for name in files if name]


def _remove_rows(report: ErasureReport, workspace: Workspace, until: float) -> bool:
    """Remove all rows of the workspace, those that nothing points to first; False when time is over before that."""
    for model, place in owned():
        rows = model._base_manager.filter(**{place: workspace.pk})
        while keys := list(rows.values_list("pk", flat=True)[:ROWS_AT_ONCE]):
            _forget_beside(model, keys)
            _count_and_delete(report, lambda: model._base_manager.filter(pk__in=keys).delete())  # noqa: B023
            if time.monotonic() >= until:
                return False
    _count_and_delete(report, workspace.delete)
    return True


def _count_and_delete(report: ErasureReport, delete: Callable[[], tuple[int, dict[str, int]]]) -> None:
    with transaction.atomic():
        kept = ErasureReport.objects.select_for_update().get(pk=report.pk)
        for label, count in delete()[1].items():
            if count:
                kept.rows[label] = kept.rows.get(label, 0) + count
        ErasureReport.objects.filter(pk=report.pk).update(rows=kept.rows, held_until=timezone.now() + HELD_FOR)


def _forget_beside(model: type[Model], keys: list[Any]) -> None:
    """Remove what belongs to rows but is neither row nor stored file: work folders, what the cache holds."""
    if model is Job:
        for code in Job.objects.filter(pk__in=keys).values_list("code", flat=True):
            remove_folder(code)
    if model is Voice:
        forget_preflights(keys)


@cache
def owned() -> tuple[tuple[type[Model], str], ...]:
    """Return every model whose rows belong to a workspace with the look-up to it, none before what points to it."""
    found: dict[type[Model], str] = {}
    waiting = {model for model in apps.get_models(include_auto_created=True) if model is not Workspace}
    while near := [(model, place) for model in waiting if (place := _place_of(model, found))]:
        found |= dict(near)
        waiting -= set(found)
    ordered: list[type[Model]] = []
    while left := [model for model in found if model not in ordered]:
        pointed_at = {target for model in left for target in _targets(model)}
        free = [model for model in left if model not in pointed_at] or left  # in a circle any may be first
        ordered += sorted(free, key=lambda model: model._meta.label)
    return tuple((model, found[model]) for model in ordered)


def _place_of(model: type[Model], found: dict[type[Model], str]) -> str:
    """Return the look-up from ``model`` to its workspace, over what was found before; "" when there is none yet."""
    links = [link for link in model._meta.concrete_fields if isinstance(link, ForeignKey)]
    binding = [link for link in links if link.remote_field.on_delete is CASCADE and not link.null]
    for link in binding:
        if link.related_model is Workspace:
            return link.name
    return next((f"{one.name}__{found[one.related_model]}" for one in binding if one.related_model in found), "")


def _targets(model: type[Model]) -> set[Any]:
    links = [link for link in model._meta.concrete_fields if isinstance(link, ForeignKey)]
    return {link.related_model for link in links if link.related_model is not model}


def tell() -> int:
    """Write to those who owned what is gone, with the report, then forget who they were; say how many letters went.

    A letter that the mail server does not take is tried again for a week.
    """
    now, sent = timezone.now(), 0
    for report in ErasureReport.objects.filter(told_at=None).exclude(finished_at=None)[:ROWS_AT_ONCE]:
        if not ErasureReport.objects.filter(pk=report.pk, told_at=None).update(told_at=now):
            continue  # another sweep writes it
        if report.email and not erased_letter(report.email, facts_of(report)):
            if report.asked_at > now - LETTERS_FOR:
                ErasureReport.objects.filter(pk=report.pk).update(told_at=None)
                continue
            report.email = ""  # nobody could be reached
        ErasureReport.objects.filter(pk=report.pk).update(name="", email="")
        sent += bool(report.email)
    # Where a process died in between: a letter takes seconds.
    ErasureReport.objects.filter(told_at__lt=now - LETTER_TAKES).exclude(name="", email="").update(name="", email="")
    return sent


def facts_of(report: ErasureReport) -> dict[str, Any]:
    """Return what the letter says."""
    labels = {label: str(apps.get_model(label)._meta.verbose_name_plural) for label in report.rows}
    rows = sorted((labels[label], count) for label, count in report.rows.items())
    return {"report": report, "rows": rows}
