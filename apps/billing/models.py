"""What a workspace has subscribed to, what it has been granted, and the ledger of what it used."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from apps.accounts.models import ApiKey, User, Workspace
from apps.billing.periods import Period, period_of
from apps.billing.plans import PLANS, Plan, default_plan

GRACE = timedelta(days=7)  # a payment that failed takes nothing away before


class Subscription(models.Model):
    """The plan of a workspace; one row each, whose lock orders all that the workspace reserves.

    Written by staff, or from what Stripe says: never from what an event tells, always from the object fetched again.
    """

    class Status(models.TextChoices):
        NONE = "none", "None"  # the site's default plan, or what staff assigned
        TRIALING = "trialing", "Trial"
        ACTIVE = "active", "Active"
        PAST_DUE = "past_due", "Payment failed"
        CANCELLED = "cancelled", "Cancelled"

    workspace = models.OneToOneField(Workspace, on_delete=models.CASCADE, related_name="subscription")
    plan = models.CharField(max_length=20, blank=True)  # empty: the site's default, whatever that is at the time
    status = models.CharField(max_length=10, choices=Status, default=Status.NONE)
    anchor = models.DateTimeField(default=timezone.now)  # on its day and hour of each month the allowances begin anew
    past_due_since = models.DateTimeField(null=True, blank=True)
    trial_ends_at = models.DateTimeField(null=True, blank=True)
    trialed_at = models.DateTimeField(null=True, blank=True)  # there is one trial
    paid_until = models.DateTimeField(null=True, blank=True)  # the end of Stripe's own period
    next_plan = models.CharField(max_length=20, blank=True)  # from ``paid_until`` on
    cancels_at = models.DateTimeField(null=True, blank=True)
    stripe_customer = models.CharField(max_length=100, unique=True, null=True, blank=True)
    stripe_subscription = models.CharField(max_length=100, unique=True, null=True, blank=True)
    stripe_schedule = models.CharField(max_length=100, blank=True)  # that changes the plan at the period's end
    synced_at = models.DateTimeField(null=True, blank=True)  # when Stripe was asked last
    written = models.JSONField(default=dict, blank=True, editable=False)  # into the workspace's own columns
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.workspace}: {self.effective().name}"

    def effective(self, now: datetime | None = None) -> Plan:
        """Return the plan that is in force: after the grace of a failed payment, the site's default."""
        if not self.plan or self.grace_is_over(now):
            return default_plan()
        return PLANS[self.plan]

    def grace_is_over(self, now: datetime | None = None) -> bool:
        """Say whether a payment has been missing for longer than we wait."""
        since = self.past_due_since
        return since is not None and since + GRACE <= (now or timezone.now())

    def period(self, now: datetime | None = None) -> Period:
        """Return the month of allowances that ``now`` lies in."""
        return period_of(self.anchor, now or timezone.now())


class Grant(models.Model):
    """An amount of one meter beyond the plan: given by staff with a reason, or bought. Used after the allowance."""

    class Source(models.TextChoices):
        STAFF = "staff", "Given by staff"
        TOP_UP = "top_up", "Bought"

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="grants")
    meter = models.CharField(max_length=20)  # one of those for periods
    amount = models.PositiveBigIntegerField()
    source = models.CharField(max_length=10, choices=Source)
    reason = models.CharField(max_length=200)
    key = models.CharField(max_length=200, unique=True)  # of what it came from, so that it comes once
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = [F("expires_at").asc(nulls_last=True), "pk"]  # the order in which they are used
        indexes = [models.Index(fields=["workspace", "meter"])]
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="grant_is_of_something")]

    def __str__(self) -> str:
        return f"{self.amount} {self.meter} for {self.workspace}: {self.reason}"


class UsageEvent(models.Model):
    """One row of the ledger: reserved, then settled or released, once.

    What counts of it is ``from_plan`` plus its draws on grants: all of ``amount`` while reserved, ``spent`` once
    settled, nothing once released, refunded or expired. ``delivered`` is ``spent`` plus ``waived``.
    """

    class State(models.TextChoices):
        RESERVED = "reserved", "Reserved"
        SETTLED = "settled", "Used"
        RELEASED = "released", "Given back"
        REFUNDED = "refunded", "Refunded"

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="usage_events")
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="usage_events")
    meter = models.CharField(max_length=20)
    kind = models.CharField(max_length=20, blank=True)  # of the work, for graphs
    key = models.CharField(max_length=100, unique=True)  # of what it is for: a repeated reservation finds its own row
    state = models.CharField(max_length=10, choices=State, default=State.RESERVED)
    amount = models.PositiveBigIntegerField()  # reserved: what was said before the start, and the most it can cost
    from_plan = models.PositiveBigIntegerField()  # of what counts, the part that the plan's allowance pays
    spent = models.PositiveBigIntegerField(default=0)  # of what was delivered, what was charged
    waived = models.PositiveBigIntegerField(default=0)  # of what was delivered, what was not
    note = models.CharField(max_length=200, blank=True)  # why it was refunded
    created_at = models.DateTimeField(default=timezone.now)  # the period it belongs to
    expires_at = models.DateTimeField()  # a reservation counts until then
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        indexes = [
            models.Index(fields=["workspace", "meter", "created_at"]),
            models.Index(fields=["expires_at"], condition=Q(state="reserved"), name="usage_event_open"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="usage_event_is_of_something"),
            models.CheckConstraint(condition=Q(spent__lte=F("amount")), name="usage_event_costs_at_most_what_was_said"),
            models.CheckConstraint(condition=Q(from_plan__lte=F("amount")), name="usage_event_plan_pays_a_part"),
            models.CheckConstraint(
                condition=Q(state="reserved", ended_at=None) | ~Q(state="reserved") & Q(ended_at__isnull=False),
                name="usage_event_ended_at_matches_state",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.meter} {self.state} ({self.key})"


class Draw(models.Model):
    """What one usage event takes of one grant; counts as long as its event does."""

    event = models.ForeignKey(UsageEvent, on_delete=models.CASCADE, related_name="draws")
    grant = models.ForeignKey(Grant, on_delete=models.CASCADE, related_name="draws")
    amount = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["event", "grant"], name="draw_once"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="draw_is_of_something"),
        ]

    def __str__(self) -> str:
        return f"{self.amount} of {self.grant}"


class Notice(models.Model):
    """That people were told how much of a period's allowance is used: once for each share of each allowance, since a
    change of plans gives another."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="usage_notices")
    meter = models.CharField(max_length=20)
    period_start = models.DateTimeField()
    percent = models.PositiveSmallIntegerField()
    allowance = models.PositiveBigIntegerField(default=0, db_default=0)  # that it is a share of
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "meter", "period_start", "percent", "allowance"], name="notice_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.percent} % of {self.meter}"


class StripeEvent(models.Model):
    """An event that Stripe told us of. Only a trigger: what it is about is fetched again when it is handled."""

    event = models.CharField(max_length=100, unique=True)  # Stripe's id of it
    type = models.CharField(max_length=100)
    about = models.CharField(max_length=100, blank=True)  # the id of the object
    customer = models.CharField(max_length=100, blank=True)
    received_at = models.DateTimeField(auto_now_add=True)
    handled_at = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)  # of the last try

    class Meta:
        ordering = ["-received_at", "-pk"]
        indexes = [models.Index(fields=["received_at"], condition=Q(handled_at=None), name="stripe_event_to_handle")]

    def __str__(self) -> str:
        return f"{self.type} {self.event}"
