"""Plans and grants, which staff give; the ledger and Stripe's events, which they read."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.accounts.models import User
from apps.accounts.staff import StaffAdmin
from apps.billing.models import Draw, Grant, Notice, StripeEvent, Subscription, UsageEvent
from apps.billing.plans import METERS, PERIOD_METERS, PLANS
from apps.billing.services import ledger, subscriptions

PLAN_CHOICES = [("", "The site's default"), *((plan.slug, plan.name) for plan in PLANS.values())]
METER_CHOICES = [(slug, f"{METERS[slug].name} ({METERS[slug].unit})") for slug in PERIOD_METERS]


class ReadOnly(StaffAdmin):
    """Rows that staff look at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only services make them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only services change them."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What was used or bought stays written down."""
        return False


class PlanForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """The one thing that staff choose: the plan, of a workspace that does not pay for one at Stripe."""

    plan = forms.ChoiceField(choices=PLAN_CHOICES, required=False)

    class Meta:
        model = Subscription
        fields = ("workspace", "plan")

    def clean(self) -> dict[str, Any]:
        """Refuse what Stripe would write over."""
        if self.instance.pk and self.instance.status not in (Subscription.Status.NONE, Subscription.Status.CANCELLED):
            raise forms.ValidationError("This workspace pays for a subscription at Stripe. End that first.")
        return super().clean() or self.cleaned_data


@admin.register(Subscription)
class SubscriptionAdmin(StaffAdmin):
    """The plan of each workspace."""

    form = PlanForm
    list_display = ("workspace", "plan", "status", "next_plan", "past_due_since", "cancels_at", "paid_until")
    list_filter = ("plan", "status", ("past_due_since", admin.EmptyFieldListFilter))
    list_select_related = ("workspace",)
    search_fields = ("workspace__name", "workspace__slug", "stripe_customer", "stripe_subscription")
    autocomplete_fields = ("workspace",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Show all that Stripe writes; the workspace can be chosen once."""
        written = [field.name for field in Subscription._meta.fields if field.name not in ("id", "plan", "workspace")]
        return [*written, "workspace"] if obj else written

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Assign the plan, and write down what it allows."""
        assert isinstance(request.user, User)
        row = subscriptions.assign(workspace=obj.workspace, plan=form.cleaned_data["plan"], by=request.user)
        obj.pk, obj.plan, obj.status = row.pk, row.plan, row.status

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A workspace has one as long as it lives."""
        return False


class GrantForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """An amount beyond the plan, with the reason."""

    meter = forms.ChoiceField(choices=METER_CHOICES)
    amount = forms.IntegerField(min_value=1, help_text="In the meter's own unit.")

    class Meta:
        model = Grant
        fields = ("workspace", "meter", "amount", "reason", "expires_at")


@admin.register(Grant)
class GrantAdmin(StaffAdmin):
    """What workspaces have beyond their plans; it can be given, and not be changed."""

    form = GrantForm
    list_display = ("workspace", "meter", "amount", "source", "reason", "created_at", "expires_at")
    list_filter = ("meter", "source", "created_at", "expires_at")
    list_select_related = ("workspace",)
    search_fields = ("workspace__name", "workspace__slug", "reason", "key")
    autocomplete_fields = ("workspace",)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Give it."""
        assert isinstance(request.user, User)
        made = ledger.grant(
            workspace=obj.workspace,
            meter=obj.meter,
            amount=obj.amount,
            source=Grant.Source.STAFF,
            reason=obj.reason,
            key=f"staff:{uuid.uuid4()}",
            user=request.user,
            expires_at=obj.expires_at,
        )
        obj.pk, obj.code = made.pk, made.code

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Part of it may be used already."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Part of it may be used already."""
        return False


@admin.register(UsageEvent)
class UsageEventAdmin(ReadOnly):
    list_display = ("created_at", "workspace", "meter", "kind", "state", "amount", "spent", "waived", "note")
    list_filter = ("meter", "state", "kind", "created_at")
    list_select_related = ("workspace",)
    search_fields = ("code", "key", "workspace__slug")
    date_hierarchy = "created_at"
    actions = ("give_back",)

    @admin.action(description="Refund (used ones)", permissions=["refund"])
    def give_back(self, request: HttpRequest, events: QuerySet[UsageEvent]) -> None:
        """Give back what the chosen ones were charged; those in another state are left as they are."""
        assert isinstance(request.user, User)
        chosen = list(events)
        given = sum(ledger.refund(event, by=request.user, reason="By the staff of this site.") for event in chosen)
        self.message_user(request, f"{given} of {len(chosen)} given back.")

    def has_refund_permission(self, request: HttpRequest) -> bool:
        """Ask for the right to change what is otherwise never changed by hand."""
        return bool(request.user.has_perm("billing.change_usageevent"))


@admin.register(Draw)
class DrawAdmin(ReadOnly):
    list_display = ("event", "grant", "amount")
    list_select_related = ("event", "grant__workspace")
    search_fields = ("event__key", "grant__workspace__slug")


@admin.register(Notice)
class NoticeAdmin(ReadOnly):
    list_display = ("workspace", "meter", "percent", "period_start", "created_at")
    list_filter = ("meter", "percent")
    list_select_related = ("workspace",)
    search_fields = ("workspace__slug",)


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnly):
    list_display = ("received_at", "type", "about", "customer", "handled_at", "tries", "error")
    list_filter = ("type", ("handled_at", admin.EmptyFieldListFilter), "received_at")
    search_fields = ("event", "about", "customer")
    date_hierarchy = "received_at"
