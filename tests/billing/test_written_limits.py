"""What a plan allows stands in the workspace's own columns, whatever changed, and never costs anybody their results."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.billing import plans
from apps.billing.models import Subscription
from apps.billing.services import subscriptions
from apps.jobs.models import Artifact
from apps.studio import retention
from tests.holdings import fill

pytestmark = pytest.mark.django_db
BY_PLAN = ("seats", "voice_limit", "storage_limit", "job_limit", "job_weight", "retention_days")


def columns(workspace: Any) -> dict[str, Any]:
    return Workspace.objects.values(*BY_PLAN).get(pk=workspace.pk)


def test_the_unlimited_plan_leaves_what_staff_set(acme: Any) -> None:
    Workspace.objects.filter(pk=acme.pk).update(retention_days=0, job_limit=9)
    subscriptions.subscription_of(acme)
    assert subscriptions.mend() == 0
    assert (columns(acme)["retention_days"], columns(acme)["job_limit"]) == (0, 9)


def test_another_default_plan_is_written_into_every_workspace(acme: Any, charlies: Any, settings: Any) -> None:
    before = columns(acme)
    subscriptions.subscription_of(acme)
    settings.DEFAULT_PLAN = "free"
    assert subscriptions.begin() == 1, "Charlie's has no row yet"
    assert subscriptions.mend() == 1
    assert subscriptions.mend() == subscriptions.begin() == 0
    assert columns(acme) == columns(charlies)
    assert (columns(acme)["seats"], columns(acme)["voice_limit"], columns(acme)["job_limit"]) == (1, 2, 1)
    settings.DEFAULT_PLAN = "unlimited"
    assert subscriptions.mend() == 2
    assert columns(acme) == before


def test_what_staff_set_by_hand_stays_until_the_plan_changes(acme: Any, settings: Any) -> None:
    settings.DEFAULT_PLAN = "free"
    subscriptions.subscription_of(acme)
    Workspace.objects.filter(pk=acme.pk).update(job_limit=9)
    assert subscriptions.mend() == 0 and columns(acme)["job_limit"] == 9
    Subscription.objects.update(plan="studio")
    assert subscriptions.mend() == 1 and columns(acme)["job_limit"] == 4


def test_a_changed_limit_of_a_plan_is_written(acme: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DEFAULT_PLAN = "free"
    subscriptions.subscription_of(acme)
    monkeypatch.setitem(plans.PLANS["free"].limits, "seats", 3)
    assert subscriptions.mend() == 1 and columns(acme)["seats"] == 3


def test_a_payment_that_comes_while_the_grace_ends_is_not_written_over(acme: Any, settings: Any) -> None:
    settings.DEFAULT_PLAN = "free"
    row = subscriptions.subscription_of(acme)
    Subscription.objects.update(plan="studio", status="past_due", past_due_since=timezone.now() - timedelta(days=8))
    stale = subscriptions._unwritten(plans.PLANS["free"])
    assert stale == [] or columns(acme)["seats"] == 1
    Subscription.objects.filter(pk=row.pk).update(status="active", past_due_since=None)
    assert subscriptions._mend(acme.pk) and columns(acme)["seats"] == 10


def test_a_smaller_plan_lets_no_result_go_sooner(acme: Any, alice: Any, settings: Any) -> None:
    settings.DEFAULT_PLAN = "free"
    held = fill(acme, alice)
    Subscription.objects.filter(workspace=acme).update(plan="scale")
    subscriptions.mend()
    retention.apply_changes()
    late = timezone.now() + timedelta(days=300)
    Artifact.objects.filter(pk=held["artifact"].pk).update(expires_at=late)
    Subscription.objects.filter(workspace=acme).update(plan="")
    assert subscriptions.mend() == 1 and columns(acme)["retention_days"] == 14
    retention.apply_changes()
    held["artifact"].refresh_from_db()
    assert held["artifact"].expires_at == late
    made = retention.expiry_of(acme)
    assert made is not None and made < timezone.now() + timedelta(days=15), "what is made from now on has less time"


def test_a_larger_plan_keeps_what_is_there_for_longer(acme: Any, alice: Any, settings: Any) -> None:
    settings.DEFAULT_PLAN = "free"
    held = fill(acme, alice)
    retention.apply_changes()
    Artifact.objects.filter(pk=held["artifact"].pk).update(expires_at=timezone.now() + timedelta(days=10))
    Subscription.objects.filter(workspace=acme).update(plan="scale")
    subscriptions.mend()
    retention.apply_changes()
    held["artifact"].refresh_from_db()
    assert held["artifact"].expires_at > timezone.now() + timedelta(days=360)
