"""Staff assign plans and give grants: what a site without Stripe lives on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import AuditEvent, User
from apps.billing.models import Draw, Grant, Notice, StripeEvent, Subscription, UsageEvent
from apps.billing.services import ledger
from apps.billing.services.subscriptions import subscription_of


@pytest.fixture
def staff(acme: Any, client_of: Callable[[Any], Client]) -> Client:
    return client_of(User.objects.create_superuser("staff@example.org", "x"))


def test_staff_assign_a_plan(staff: Client, acme: Any) -> None:
    row = subscription_of(acme)
    change = reverse("admin:billing_subscription_change", args=[row.pk])
    assert staff.get(change).status_code == 200
    assert staff.post(change, {"plan": "studio"}).status_code == 302
    row.refresh_from_db()
    acme.refresh_from_db()
    assert (row.plan, row.status, acme.seats, acme.job_limit) == ("studio", "none", 10, 4)
    events = AuditEvent.objects.filter(workspace=acme)
    assert events.get(action="plan.assigned").data == {"before": "unlimited", "after": "studio"}
    assert events.filter(action="staff.changed").exists()
    assert staff.post(change, {"plan": ""}).status_code == 302
    acme.refresh_from_db()
    assert acme.seats is None
    assert staff.post(change, {"plan": "platinum"}).status_code == 200  # the form again


def test_staff_assign_one_to_a_workspace_that_has_no_row_yet(staff: Client, acme: Any) -> None:
    assert not Subscription.objects.exists()
    assert (
        staff.post(reverse("admin:billing_subscription_add"), {"workspace": acme.pk, "plan": "scale"}).status_code
        == 302
    )
    assert Subscription.objects.get(workspace=acme).plan == "scale"


def test_staff_cannot_write_over_what_stripe_bills(staff: Client, acme: Any) -> None:
    row = subscription_of(acme)
    Subscription.objects.filter(pk=row.pk).update(plan="studio", status="active")
    answer = staff.post(reverse("admin:billing_subscription_change", args=[row.pk]), {"plan": "scale"})
    assert answer.status_code == 200 and "End that first" in answer.content.decode()
    assert Subscription.objects.get().plan == "studio"


def test_staff_give_a_grant_with_reason_and_expiry(staff: Client, acme: Any) -> None:
    add = reverse("admin:billing_grant_add")
    given = {"workspace": acme.pk, "meter": "convert_seconds", "amount": 600, "reason": "The outage of May"}
    until = timezone.now() + timedelta(days=30)
    day = {"expires_at_0": f"{until:%Y-%m-%d}", "expires_at_1": "12:00:00"}
    for wrong in ({"reason": ""}, {"amount": 0}, {"meter": "voices"}):
        assert staff.post(add, {**given, **day, **wrong}).status_code == 200
    assert staff.post(add, {**given, **day}).status_code == 302
    grant = Grant.objects.get()
    assert (grant.amount, grant.source, grant.reason) == (600, "staff", "The outage of May")
    assert grant.expires_at is not None and grant.created_by is not None
    assert ledger.balance(acme, "convert_seconds").granted == 600
    assert AuditEvent.objects.filter(workspace=acme, action="usage.granted").exists()
    assert staff.get(reverse("admin:billing_grant_change", args=[grant.pk])).status_code == 200
    assert staff.post(reverse("admin:billing_grant_change", args=[grant.pk]), given).status_code == 403
    assert staff.post(reverse("admin:billing_grant_delete", args=[grant.pk]), {"post": "yes"}).status_code == 403


def test_the_ledger_and_stripes_events_can_be_read_only(staff: Client, acme: Any) -> None:
    ledger.grant(workspace=acme, meter="convert_seconds", amount=9, source="staff", reason="x", key="k")
    event = ledger.reserve(workspace=acme, meter="convert_seconds", amount=5, key="job:x")
    Draw.objects.create(event=event, grant=Grant.objects.get(), amount=1)
    Notice.objects.create(workspace=acme, meter="convert_seconds", period_start=timezone.now(), percent=80)
    StripeEvent.objects.create(event="evt_1", type="invoice.paid")
    for model in (UsageEvent, Draw, Notice, StripeEvent):
        name = f"admin:billing_{model._meta.model_name}"
        row = model.objects.get()
        registered = admin.site._registry[model]
        assert registered.search_fields
        assert staff.get(reverse(f"{name}_changelist") + "?q=x").status_code == 200
        assert staff.get(reverse(f"{name}_change", args=[row.pk])).status_code == 200
        assert staff.post(reverse(f"{name}_change", args=[row.pk]), {}).status_code == 403
        assert staff.get(reverse(f"{name}_add")).status_code == 403
        assert staff.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
