"""Which voices a plan keeps usable when a workspace has more than it holds: nothing is deleted, the others are locked.

Usable are those that were chosen last, then the oldest. Each locked voice can be chosen instead; as often in a period
as the plan holds voices, so that taking turns does not make a small plan a large one.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.accounts.services import audit
from apps.billing import amounts
from apps.billing.services.subscriptions import locked
from apps.errors import Refused
from apps.voices.models import Voice

CHOSEN = "voice.chosen"


def in_order(workspace: Workspace) -> QuerySet[Voice]:
    """Return the workspace's voices in the order in which a plan keeps them usable."""
    return workspace.voices.order_by(F("chosen_at").desc(nulls_last=True), "created_at", "pk")


def locked_of(workspace: Workspace) -> frozenset[int]:
    """Return the primary keys of the workspace's locked voices."""
    if workspace.voice_limit is None:
        return frozenset()
    return frozenset(in_order(workspace).values_list("pk", flat=True)[workspace.voice_limit :])


def is_locked(voice: Voice) -> bool:
    """Say whether the plan has no place for this voice among the usable ones."""
    return voice.pk in locked_of(voice.workspace)


def require_unlocked(voice: Voice) -> None:
    """Raise Refused (402) for a locked voice: it is heard, exported and deleted as ever, but nothing new is made."""
    if is_locked(voice):
        held = amounts.shown("voices", voice.workspace.voice_limit)
        raise Refused(
            f"“{voice.name}” is locked: your plan holds {held}. Choose it instead of another on its page, or choose a "
            "larger plan.",
            status=402,
        )


def choose(*, voice: Voice, user: User) -> Voice | None:
    """Make a locked voice usable and return the one that is locked for it, None where there is none (any more).

    A voice that is not locked stays as it is. Raises Refused (402) when the plan holds none, or as often as it holds
    voices was chosen already in this period.
    """
    with transaction.atomic():
        # The voice before the subscription, as a training locks them.
        row = Voice.objects.select_for_update(no_key=True).get(pk=voice.pk)
        subscription = locked(voice.workspace)
        workspace = subscription.workspace
        before = locked_of(workspace)
        if row.pk not in before:
            return None
        period, most = subscription.period(), workspace.voice_limit or 0
        chosen = workspace.audit_events.filter(action=CHOSEN, created_at__gte=period.start).count()
        if chosen >= most:
            times, begin, end = "once" if most == 1 else f"{most} times", period.start, period.end
            raise Refused(
                f"Other voices were chosen {times} since {amounts.day(begin)}, as often as your plan holds voices. "
                f"Choose again from {amounts.day(end)} on, or take a larger plan.",
                status=402,
            )
        row.chosen_at = timezone.now()
        row.save(update_fields=["chosen_at"])
        instead = Voice.objects.filter(pk__in=locked_of(workspace) - before).first()
        data = {"code": str(row.code), "instead": str(instead.code) if instead else ""}
        audit(workspace=workspace, user=user, action=CHOSEN, target=row.name, data=data)
    return instead
