"""What admins type about endpoints."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms

from apps.errors import Refused
from apps.webhooks import addresses, catalog
from apps.webhooks.models import Endpoint


class EndpointForm(forms.Form):
    """Where events go, and which."""

    url = forms.CharField(
        label="Address",
        max_length=addresses.URL_CHARACTERS_MAX,
        widget=forms.URLInput(attrs={"placeholder": "https://example.com/hooks", "autocomplete": "off"}),
        help_text="A public https:// address that answers 2xx within ten seconds.",
    )
    description = forms.CharField(
        label="What it is for", max_length=200, required=False, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    events = forms.MultipleChoiceField(
        label="Events",
        choices=[(name, f"{name}: {meaning}") for name, meaning in catalog.EVENTS.items()],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Choose none to get all of them, also those that come later.",
    )

    @classmethod
    def of(cls, endpoint: Endpoint, data: Any = None) -> EndpointForm:
        """Return the form filled with what the endpoint has now."""
        now = {"url": endpoint.url, "description": endpoint.description, "events": endpoint.events}
        return cls(data, initial=now)

    def clean_url(self) -> str:
        """Say what is wrong with the address as it stands; whether it is public is asked when it is saved."""
        try:
            addresses.read(self.cleaned_data["url"])
        except Refused as refusal:
            raise forms.ValidationError(refusal.message) from None
        return str(self.cleaned_data["url"]).strip()


class ReplayForm(forms.Form):
    """How far back failed deliveries are sent again."""

    since = forms.TypedChoiceField(
        label="Failed since",
        choices=[(1, "an hour ago"), (24, "a day ago"), (24 * 7, "a week ago"), (24 * 30, "30 days ago")],
        initial=24,
        coerce=lambda hours: timedelta(hours=int(hours)),
    )
