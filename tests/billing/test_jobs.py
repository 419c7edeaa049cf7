"""What a job may cost is set aside when it is submitted, charged when it is done, and given back otherwise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts import keys
from apps.accounts.models import AuditEvent, Membership
from apps.billing.errors import QuotaExceeded
from apps.billing.models import Subscription, UsageEvent
from apps.billing.services import ledger, subscriptions
from apps.jobs import services
from apps.jobs.models import Job, Status
from apps.jobs.services import submit
from tests.jobs import bodies

pytestmark = pytest.mark.django_db
Submit = Callable[..., Job]


@pytest.fixture
def convert(acme: Any, bob: Any, settings: Any) -> Submit:
    """Return a function that submits a conversion of so many seconds in a workspace on the free plan."""
    settings.JOBS_INLINE = False
    subscriptions.subscription_of(acme)
    Subscription.objects.filter(workspace=acme).update(plan="free")

    def make(seconds: int, task: Callable[[int], None] = bodies.succeed) -> Job:
        given = {"workspace": acme, "user": bob, "kind": "conversion", "title": "A song", "queue": "gpu"}
        return submit(task=task, meter="convert_seconds", amount=seconds, **given)

    return make


def usage_of(job: Job) -> UsageEvent:
    return UsageEvent.objects.get(jobs=job)


def test_submitting_sets_aside_and_names_who_and_what_for(convert: Submit, acme: Any, bob: Any) -> None:
    event = usage_of(job := convert(40))
    assert (event.state, event.amount, event.from_plan) == ("reserved", 40, 40)
    assert (event.workspace, event.user, event.kind, event.key) == (acme, bob, "conversion", f"job:{job.code}")
    here = ledger.balance(acme, "convert_seconds")
    assert (here.used, here.reserved, here.left) == (0, 40, 560)


def test_too_much_is_refused_and_leaves_nothing_behind(convert: Submit) -> None:
    convert(580)
    with pytest.raises(QuotaExceeded) as no:
        convert(21)
    assert (no.value.status, no.value.wanted, no.value.left) == (402, 21, 20)
    assert no.value.message.startswith("This takes 21 s of conversion and 20 s is left until ")
    assert Job.objects.count() == UsageEvent.objects.count() == 1


def test_a_job_that_is_done_is_charged_what_it_delivered(convert: Submit, acme: Any) -> None:
    job = convert(40)
    services.claim(job.pk, worker="w")
    assert services.end(job.pk, status=Status.DONE, delivered=31)
    event = usage_of(job)
    assert (event.state, event.spent, event.from_plan, event.waived) == ("settled", 31, 31, 0)
    assert ledger.balance(acme, "convert_seconds").left == 600 - 31


def test_a_job_never_costs_more_than_was_said(convert: Submit) -> None:
    job = convert(40)
    services.claim(job.pk, worker="w")
    services.end(job.pk, status=Status.DONE, delivered=70)
    assert (usage_of(job).spent, usage_of(job).waived) == (40, 30)


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
def test_any_other_end_gives_all_of_it_back(convert: Submit, acme: Any, status: Status) -> None:
    job = convert(40)
    services.claim(job.pk, worker="w")
    services.end(job.pk, status=status)
    assert usage_of(job).state == "released"
    assert ledger.balance(acme, "convert_seconds").left == 600


def test_a_second_end_charges_nothing(convert: Submit) -> None:
    job = convert(40)
    services.claim(job.pk, worker="w")
    services.end(job.pk, status=Status.CANCELLED)
    assert not services.end(job.pk, status=Status.DONE, delivered=40)
    assert usage_of(job).state == "released"


def test_a_job_that_waits_for_long_keeps_what_it_set_aside(convert: Submit, acme: Any) -> None:
    job = convert(40)
    UsageEvent.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    assert services.sweep()["extended"] == 1
    assert usage_of(job).expires_at > timezone.now() + timedelta(hours=23)
    assert services.sweep()["extended"] == 0


def test_a_lost_reservation_gives_itself_back(convert: Submit, acme: Any) -> None:
    convert(600)
    UsageEvent.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert ledger.balance(acme, "convert_seconds").left == 600
    convert(600)


def test_running_it_again_sets_aside_anew_and_may_be_refused(convert: Submit, acme: Any, bob: Any) -> None:
    job = convert(400)
    services.cancel(job)
    job.refresh_from_db()
    assert services.requeue(job, user=bob)
    assert ledger.balance(acme, "convert_seconds").left == 200
    job.refresh_from_db()
    services.cancel(job)
    convert(300)
    job.refresh_from_db()
    with pytest.raises(QuotaExceeded):
        services.requeue(job)
    job.refresh_from_db()
    assert job.status == Status.CANCELLED


def test_work_of_a_key_counts_for_the_key(convert: Submit, acme: Any, bob: Any) -> None:
    membership = Membership.objects.get(workspace=acme, user=bob)
    key, _ = keys.issue(membership=membership, name="Robot", scope="create", caps={"convert_seconds": 50})
    token = keys.in_use.set(key)
    try:
        assert usage_of(convert(40)).api_key == key
        with pytest.raises(QuotaExceeded, match="this API key may use 10 s more"):
            convert(11)
    finally:
        keys.in_use.reset(token)
    assert usage_of(convert(11)).api_key is None, "people have the workspace's allowance"


def test_grants_are_used_after_the_allowance_and_come_back_first(convert: Submit, acme: Any, alice: Any) -> None:
    soon = timezone.now() + timedelta(days=3)
    given = {"workspace": acme, "meter": "convert_seconds", "source": "staff", "user": alice}
    ledger.grant(**given, amount=100, reason="A festival", key="one", expires_at=None)
    ledger.grant(**given, amount=50, reason="Our fault", key="two", expires_at=soon)
    event = usage_of(job := convert(720))
    assert event.from_plan == 600
    assert {draw.grant.key: draw.amount for draw in event.draws.all()} == {"two": 50, "one": 70}
    services.claim(job.pk, worker="w")
    services.end(job.pk, status=Status.DONE, delivered=630)
    assert {draw.grant.key: draw.amount for draw in event.draws.all()} == {"two": 30}
    assert ledger.balance(acme, "convert_seconds").left == 120
    assert AuditEvent.objects.filter(action="usage.granted").count() == 2


def test_a_refund_gives_back_what_was_charged_once(convert: Submit, acme: Any, alice: Any) -> None:
    job = convert(40)
    services.claim(job.pk, worker="w")
    services.end(job.pk, status=Status.DONE)
    assert ledger.refund(usage_of(job), by=alice, reason="It was noise.")
    assert not ledger.refund(usage_of(job), by=alice, reason="Again.")
    assert ledger.balance(acme, "convert_seconds").left == 600
    assert AuditEvent.objects.get(action="usage.refunded").data["amount"] == 40


def test_a_new_month_begins_on_the_subscriptions_own_day(convert: Submit, acme: Any) -> None:
    convert(600)
    month = ledger.balance(acme, "convert_seconds").period
    later = ledger.balance(acme, "convert_seconds", now=month.end)
    assert later.left == 600 and later.period.start == month.end
    assert ledger.balance(acme, "convert_seconds", now=month.end - timedelta(microseconds=1)).period == month


def test_a_job_without_a_meter_is_free(acme: Any, bob: Any, settings: Any) -> None:
    settings.JOBS_INLINE = True
    job = submit(workspace=acme, user=bob, kind="slicing", title="A song", task=bodies.succeed, queue="default")
    assert job.usage is None and UsageEvent.objects.count() == 0


@pytest.mark.parametrize("amount", [0, -1])
def test_nothing_can_be_set_aside_but_something(acme: Any, amount: int) -> None:
    with pytest.raises(ValueError, match="cannot be reserved"):
        ledger.reserve(workspace=acme, meter="convert_seconds", amount=amount, key="x")
    with pytest.raises(ValueError, match="cannot be reserved"):
        ledger.reserve(workspace=acme, meter="voices", amount=1, key="x")


def test_a_plan_without_limits_counts_all_the_same(acme: Any, bob: Any) -> None:
    event = ledger.reserve(workspace=acme, meter="convert_seconds", amount=10**9, key="x", user=bob)
    ledger.settle(event.pk)
    here = ledger.balance(acme, "convert_seconds")
    assert (here.allowance, here.left, here.used) == (None, None, 10**9)


def test_what_nobody_came_back_for_is_released_after_a_week(convert: Submit, acme: Any) -> None:
    event = usage_of(convert(40))
    UsageEvent.objects.update(expires_at=timezone.now() - timedelta(days=6))
    assert ledger.tidy() == 0
    UsageEvent.objects.update(expires_at=timezone.now() - timedelta(days=8))
    assert ledger.tidy() == 1
    event.refresh_from_db()
    assert event.state == "released"
