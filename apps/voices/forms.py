"""What people fill in about voices."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django import forms
from django.utils import timezone

from apps.voices.models import Voice
from apps.voices.services.consents import Terms, statement_of
from ml.catalog import F0_METHODS, PRECISIONS, PRESETS
from ml.options import TrainOptions

_LARGEST_SEED = 2**31 - 1


class VoiceForm(forms.Form):
    """The name and description of a voice."""

    name = forms.CharField(max_length=80, help_text="As you want to find it in lists, for example “Anna, alto”.")
    description = forms.CharField(
        max_length=1000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Only your workspace sees it.",
    )


class AnnouncedFileForm(forms.Form):
    """A file that is about to be put into the object store."""

    name = forms.CharField(max_length=1000, strip=False)
    size = forms.IntegerField(min_value=0, max_value=2**50)


class ConsentForm(forms.Form):
    """The terms of a consent. It is valid only when the statement that was shown says exactly what was chosen."""

    full_name = forms.CharField(
        max_length=120, label="Full name of the speaker", widget=forms.TextInput(attrs={"autocomplete": "name"})
    )
    whose = forms.ChoiceField(
        choices=[
            ("own", "This is my own voice"),
            ("permission", "It is somebody else's, who has given me permission"),
        ],
        widget=forms.RadioSelect,
        initial="own",
        label="Whose voice is it?",
    )
    speech = forms.BooleanField(required=False, initial=True, label="Speech")
    singing = forms.BooleanField(required=False, initial=True, label="Singing")
    commercial = forms.BooleanField(required=False, label="Commercial use")
    expires_on = forms.DateField(
        required=False,
        label="Ends on",
        help_text="The last day on which the voice may be used. Leave empty for no end.",
        widget=forms.DateInput(attrs={"type": "date"}),
    )
    spoken = forms.FileField(
        required=False,
        label="Spoken statement",
        help_text="Optional: a recording of the speaker reading the statement aloud.",
        widget=forms.FileInput(attrs={"accept": "audio/*"}),
    )
    statement = forms.CharField(widget=forms.HiddenInput, required=False, strip=False)
    agreed = forms.BooleanField(required=False, label="I have read the statement and agree to it")

    def __init__(self, voice: Voice, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.voice = voice
        self.fields["expires_on"].widget.attrs["min"] = timezone.localdate().isoformat()

    @property
    def terms(self) -> Terms:
        """Return what was chosen; only after ``is_valid``."""
        return _terms(self.cleaned_data)

    def shown_statement(self) -> str:
        """Return the statement for what is filled in so far, or nothing while the name or every use is missing."""
        if not self.is_bound:
            return ""
        self.errors  # noqa: B018  # the property cleans the data
        chosen = self.cleaned_data
        ready = chosen.get("full_name") and chosen.get("whose") and (chosen.get("speech") or chosen.get("singing"))
        return statement_of(self.voice, _terms(chosen)) if ready else ""

    def clean_expires_on(self) -> Any:
        """Refuse a day that is over."""
        day = self.cleaned_data["expires_on"]
        if day and day < timezone.localdate():
            raise forms.ValidationError("This day is over; choose a later one or none.")
        return day

    def clean(self) -> dict[str, Any]:
        """Compare the statement that was on the screen with the one that these terms make."""
        cleaned = super().clean() or {}
        if not (cleaned.get("speech") or cleaned.get("singing")):
            self.add_error("speech", "Choose at least one use, speech or singing.")
        if not self.errors and not (cleaned["agreed"] and cleaned["statement"] == statement_of(self.voice, self.terms)):
            self.add_error("agreed", "Read the statement, which says what you chose, and tick the box.")
        return cleaned


def _terms(chosen: dict[str, Any]) -> Terms:
    return Terms(
        full_name=chosen["full_name"],
        is_own_voice=chosen["whose"] == "own",
        speech=chosen["speech"],
        singing=chosen["singing"],
        commercial=chosen["commercial"],
        expires_on=chosen.get("expires_on"),
    )


class TrainForm(forms.Form):
    """How a voice is trained: a preset, and what may be changed of it."""

    preset = forms.ChoiceField(
        choices=[(name, entry.label) for name, entry in PRESETS.items()],
        widget=forms.RadioSelect,
        initial="balanced",
    )
    steps = forms.IntegerField(
        required=False,
        min_value=10,
        max_value=100_000,
        help_text="How many updates the network gets; empty: as the preset says.",
    )
    batch = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=64,
        help_text="Clips of a second in each update, 1 to 64; empty: as the preset says. Less if memory is short.",
    )
    learning_rate = forms.FloatField(
        required=False,
        min_value=1e-6,
        max_value=1e-2,
        help_text="How far each update goes, 0.000001 to 0.01; empty: as the preset says.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    save_seconds = forms.FloatField(
        initial=TrainOptions.save_seconds,
        required=False,
        min_value=1,
        max_value=15,
        label="Save every (s)",
        help_text="At most this much work is lost when a machine stops, 1 to 15 s.",
    )
    patience = forms.IntegerField(
        initial=TrainOptions.patience,
        required=False,
        min_value=0,
        max_value=24,
        label="Stop without gain after",
        help_text="So many checks in a row, 0 for never. Only a training longer than its preset is checked that often.",
    )
    precision = forms.ChoiceField(
        choices=[(name, f"{entry.label}: {entry.description}") for name, entry in PRECISIONS.items()],
        initial=TrainOptions.precision,
        required=False,
    )
    denoise = forms.FloatField(
        initial=TrainOptions.denoise,
        required=False,
        min_value=0,
        max_value=1,
        label="Noise reduction",
        help_text="From 0 to 1: how much of the recordings' noise and room the voice is not to learn.",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
    )
    f0_method = forms.ChoiceField(
        choices=[(name, f"{entry.label}: {entry.description}") for name, entry in F0_METHODS.items()],
        initial=TrainOptions.f0_method,
        required=False,
        label="Pitch method",
    )
    seed = forms.IntegerField(
        initial=TrainOptions.seed,
        required=False,
        min_value=0,
        max_value=_LARGEST_SEED,
        help_text="The same seed, takes and options give the same voice again.",
    )

    @property
    def options(self) -> dict[str, Any]:
        """Return every field of TrainOptions, filled in or its default; only after ``is_valid``."""
        defaults = asdict(TrainOptions())
        chosen = {name: self.cleaned_data.get(name) for name in defaults}
        return {name: defaults[name] if value in (None, "") else value for name, value in chosen.items()}

    @property
    def advanced(self) -> list[forms.BoundField]:
        """Return the fields that are folded away."""
        return [self[name] for name in self.fields if name != "preset"]
