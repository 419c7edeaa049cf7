"""What members type about their API keys."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django import forms
from django.db.models import BigIntegerField

from apps.accounts.models import Membership, Scope
from apps.billing.plans import METERS, PERIOD_METERS

CAP = "cap_"
LIVES = [("", "until it is revoked"), ("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("365", "a year")]
OVERLAPS = [("0", "at once"), ("1", "in an hour"), ("24", "in a day"), ("168", "in 7 days")]


class KeyForm(forms.Form):
    """A new key: what it is called, what it may, how long, and how much it may use up."""

    # Made with the empty form: sent twice, it makes one key.
    code = forms.UUIDField(widget=forms.HiddenInput)
    name = forms.CharField(
        label="Name",
        max_length=80,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="Which program uses it, such as “nightly renders”.",
    )
    scope = forms.ChoiceField(label="What it may do", widget=forms.RadioSelect)
    lives = forms.TypedChoiceField(
        label="It works",
        choices=LIVES,
        required=False,
        coerce=lambda days: timedelta(days=int(days)),
        empty_value=None,
    )

    def __init__(self, *args: Any, membership: Membership, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("code", uuid.uuid4())
        self.initial.setdefault("scope", Scope.READ)
        allowed = [(value, label) for value, label in Scope.choices if membership.may(Scope(value).role)]
        self.fields["scope"].choices = allowed  # type: ignore[attr-defined]  # it is a ChoiceField
        for meter in (METERS[slug] for slug in PERIOD_METERS):
            self.fields[CAP + meter.slug] = forms.IntegerField(
                label=f"{meter.name.capitalize()}, {meter.unit}",
                min_value=0,
                max_value=BigIntegerField.MAX_BIGINT,
                required=False,
                widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
            )

    @property
    def cap_fields(self) -> list[forms.BoundField]:
        """The fields that cap a meter."""
        return [self[name] for name in self.fields if name.startswith(CAP)]

    @property
    def caps(self) -> dict[str, int]:
        """What was typed as caps, by meter; only those that were typed."""
        typed = ((name.removeprefix(CAP), value) for name, value in self.cleaned_data.items() if name.startswith(CAP))
        return {meter: value for meter, value in typed if value is not None}


class RotateForm(forms.Form):
    """When the old secret stops working."""

    # The first letters of the secret that is to be replaced: sent twice, it replaces one.
    start = forms.CharField(widget=forms.HiddenInput)
    overlap = forms.TypedChoiceField(
        label="The old one stops working",
        choices=OVERLAPS,
        initial="24",
        coerce=lambda hours: timedelta(hours=int(hours)),
        help_text="Until then both work, so that programs can change over one by one.",
    )
