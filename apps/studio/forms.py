"""What people fill in to convert something."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from django import forms

from apps.accounts.models import Workspace
from apps.billing.plans import smallest_with
from apps.billing.services.subscriptions import plan_of
from apps.jobs.templatetags.job_words import duration
from apps.studio.models import Conversion, Source
from apps.studio.options import FORMATS, SAMPLE_RATES, defaults
from apps.voices.models import Voice
from apps.voices.services.locks import locked_of
from ml.catalog import F0_METHODS, PRESETS, SCALES

EARLIER_SOURCES = 50
LARGEST_SEED = 2**31 - 1
AUTO, MANUAL = "auto", "manual"
ADVANCED = {
    "Sound": ("retrieval", "protection", "envelope", "formant", "denoise", "high_pass"),
    "Melody": ("f0_method", "pitch_smoothing", "autotune", "scale", "retune"),
    "Chance": ("seed",),
}


class FormatSelect(forms.Select):
    """File formats, of which those that the plan does not make can be read but not chosen."""

    closed: frozenset[str] = frozenset()

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Switch an option off that is not in the plan."""
        option: dict[str, Any] = super().create_option(name, value, *args, **kwargs)
        if str(value) in self.closed:
            option["attrs"]["disabled"] = True
        return option


class ConversionForm(forms.Form):
    """A voice, a source, and how to convert it. Voices and sources are the workspace's own."""

    parent = forms.ModelChoiceField(
        queryset=Conversion.objects.none(), to_field_name="code", required=False, widget=forms.HiddenInput
    )
    voice = forms.ModelChoiceField(
        queryset=Voice.objects.none(),
        to_field_name="code",
        empty_label=None,
        help_text="Voices that have an active model.",
    )
    upload = forms.FileField(
        required=False,
        label="A new audio file",
        help_text="Speech or singing without accompaniment: WAV, FLAC, MP3, M4A, OGG, AIFF or WebM.",
        widget=forms.FileInput(attrs={"accept": "audio/*,.flac,.m4a,.ogg,.opus,.webm,.aif,.aiff", "hx-preserve": ""}),
    )
    source = forms.ModelChoiceField(
        queryset=Source.objects.none(),
        to_field_name="code",
        required=False,
        label="or a file from before",
        empty_label="None, a new file",
    )
    preset = forms.ChoiceField(
        choices=[(name, entry.label) for name, entry in PRESETS.items()], widget=forms.RadioSelect
    )
    pitch_mode = forms.ChoiceField(
        choices=[
            (AUTO, "Automatic: move the source to the voice's range; singing by whole octaves, to stay in key"),
            (MANUAL, "As many semitones as I say"),
        ],
        widget=forms.RadioSelect,
        label="Pitch",
    )
    semitones = forms.FloatField(
        required=False,
        min_value=-24,
        max_value=24,
        help_text="From -24 to 24; 12 is one octave up, 0 leaves the pitch as it is.",
        widget=forms.NumberInput(attrs={"step": "0.1", "inputmode": "decimal"}),
    )
    retrieval = forms.FloatField(
        min_value=0,
        max_value=1,
        label="Retrieval rate",
        help_text="From 0 to 1: how far each sound moves to the nearest sounds in the voice's own recordings. More is "
        "more like the voice; too much blurs the words.",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
    )
    denoise = forms.FloatField(
        min_value=0,
        max_value=1,
        label="Noise reduction",
        help_text="From 0 to 1: how much of the source's noise and room the result is not to follow.",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
    )
    protection = forms.FloatField(
        min_value=0,
        max_value=1,
        label="Protection of consonants and breath",
        help_text="From 0 to 1: how much unvoiced sounds such as s, t and breath stay as they are in the source, in "
        "sound and loudness, instead of moving to the voice's recordings. Raise it when words get unclear.",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
    )
    envelope = forms.FloatField(
        min_value=0,
        max_value=1,
        label="Loudness contour of the source",
        help_text="From 0 to 1: 0 is as loud from moment to moment as the voice makes it, 1 exactly as the source was.",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
    )
    formant = forms.FloatField(
        min_value=-12,
        max_value=12,
        label="Formant shift (semitones)",
        help_text="From -12 to 12: up sounds like a smaller throat, down like a larger one. The melody stays.",
        widget=forms.NumberInput(attrs={"step": "0.5"}),
    )
    high_pass = forms.BooleanField(
        required=False,
        label="Take out rumble",
        help_text="A high-pass filter below the lowest note of the voice, where only handling noise and hum are.",
    )
    pitch_smoothing = forms.FloatField(
        min_value=0,
        max_value=100,
        label="Pitch smoothing (ms)",
        help_text="From 0 to 100: 10 takes out trembling and keeps vibrato, 30 halves vibrato, 100 leaves the glides.",
        widget=forms.NumberInput(attrs={"step": "1", "inputmode": "decimal"}),
    )
    autotune = forms.FloatField(
        min_value=0,
        max_value=1,
        label="Autotune",
        help_text="From 0 to 1: how far each note moves to the nearest note of the scale; 0 is off.",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
    )
    scale = forms.ChoiceField(
        choices=[(name, name.capitalize() if name == "chromatic" else name) for name in SCALES],
        help_text="The notes that autotune may choose: chromatic has all twelve, a key only its own seven.",
    )
    retune = forms.FloatField(
        min_value=0,
        max_value=400,
        label="Retune time (ms)",
        help_text="From 0 to 400: 0 jumps from note to note like a machine, 50 keeps glides, 200 keeps vibrato too.",
        widget=forms.NumberInput(attrs={"step": "10", "inputmode": "decimal"}),
    )
    f0_method = forms.ChoiceField(
        choices=[(name, f"{entry.label}: {entry.description}") for name, entry in F0_METHODS.items()],
        label="Pitch method",
        help_text="How the melody of the source is found. Try another when notes jump.",
    )
    format = forms.ChoiceField(
        choices=[(name, entry.label) for name, entry in FORMATS.items()],
        widget=FormatSelect,
        help_text="WAV and FLAC keep every sample. MP3 and M4A have 192 kbit/s in stereo, Opus 128; half in mono.",
    )
    sample_rate = forms.TypedChoiceField(
        required=False,
        coerce=int,
        empty_value=None,
        help_text="At least 16 and at most 48 kHz.",
        choices=[("", "As the source"), *((rate, f"{rate / 1000:g} kHz") for rate in SAMPLE_RATES)],
    )
    loudness = forms.FloatField(
        required=False,
        min_value=-40,
        max_value=-8,
        label="Loudness (LUFS)",
        help_text="Empty: as loud as the source. -14 suits streaming services, -16 podcasts, -23 broadcast.",
        widget=forms.NumberInput(attrs={"step": "0.5"}),
    )
    seed = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=LARGEST_SEED,
        help_text="Empty: a new one. The same seed, options and model give the same result again.",
    )

    def __init__(self, workspace: Workspace, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.workspace = workspace
        voices = workspace.voices.filter(models__active=True).order_by("name", "pk")
        _choose(self.fields["voice"], voices)
        # A locked voice that is asked for all the same gets a sentence that says why not.
        locked = locked_of(workspace)
        self.voice_choices = [(str(one.code), one.name) for one in voices if one.pk not in locked]
        self.fields["voice"].widget.choices = self.voice_choices
        self._offer_formats()
        earlier = workspace.sources.filter(expired_at=None)
        _choose(self.fields["source"], earlier)
        shown = [(str(one.code), f"{one.name} ({duration(one.duration)})") for one in earlier[:EARLIER_SOURCES]]
        self.fields["source"].widget.choices = [("", "None, a new file"), *shown]
        _choose(self.fields["parent"], workspace.conversions.all())

    def _offer_formats(self) -> None:
        made = plan_of(self.workspace).formats
        field = self.fields["format"]
        field.widget.closed = frozenset(FORMATS) - set(made)
        field.widget.choices = [
            (name, entry.label if name in made else f"{entry.label} (plan {smallest_with(name).name})")
            for name, entry in FORMATS.items()
        ]
        if self.initial.get("format", made[0]) not in made:
            self.initial["format"] = made[0]

    def clean(self) -> dict[str, Any]:
        """Ask for exactly one source, and for a number where the pitch is not automatic."""
        cleaned = super().clean() or {}
        upload, source = cleaned.get("upload"), cleaned.get("source")
        if not self.errors.keys() & {"upload", "source"}:
            if upload is None and source is None:
                self.add_error("upload", "Choose an audio file, or one from before.")
            elif upload is not None and source is not None:
                self.add_error("source", "Choose a file or one from before, not both: set this to “None, a new file”.")
        if cleaned.get("pitch_mode") == MANUAL and cleaned.get("semitones") is None and "semitones" not in self.errors:
            self.add_error("semitones", "Say by how many semitones, from -24 to 24.")
        return cleaned

    def chosen_source(self) -> Source | None:
        """Return the source from before that the form shows as chosen."""
        code = self["source"].value()
        if not code:
            return None
        try:
            found: Source = self.fields["source"].clean(code)
        except forms.ValidationError:
            return None
        return found

    @property
    def options(self) -> dict[str, Any]:
        """Return the options to convert with; only after ``is_valid``."""
        chosen = {name: self.cleaned_data[name] for name in defaults() if name != "pitch"}
        by_hand = self.cleaned_data["pitch_mode"] == MANUAL
        return {**chosen, "pitch": self.cleaned_data["semitones"] if by_hand else AUTO}

    @property
    def advanced(self) -> dict[str, list[forms.BoundField]]:
        """Return the fields that are folded away, by what they are about."""
        return {about: [self[name] for name in names] for about, names in ADVANCED.items()}

    @property
    def output(self) -> list[forms.BoundField]:
        """Return the fields about the file that is made."""
        return [self[name] for name in ("format", "sample_rate", "loudness")]

    @property
    def advanced_is_open(self) -> bool:
        """Say whether the folded part must be seen: something in it is wrong, or not as usual."""
        usual, names = initial_of(defaults()), list(chain.from_iterable(ADVANCED.values()))
        return any(self[name].errors for name in names) or (
            not self.is_bound and any(self.initial.get(name) != usual.get(name) for name in names)
        )


class CostForm(forms.Form):
    """What is going to be converted: one of the workspace's sources, or a sound of so many seconds."""

    source = forms.ModelChoiceField(queryset=Source.objects.none(), to_field_name="code", required=False)
    seconds = forms.FloatField(required=False, min_value=0)

    def __init__(self, workspace: Workspace, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _choose(self.fields["source"], workspace.sources.filter(expired_at=None))


def initial_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form's initial values for a conversion's or a preset's ``options``."""
    chosen = {**defaults(), **options}
    pitch = chosen.pop("pitch")
    return {**chosen, "pitch_mode": AUTO if pitch == AUTO else MANUAL, "semitones": None if pitch == AUTO else pitch}


def _choose(field: forms.Field, rows: Any) -> None:
    field.queryset = rows  # type: ignore[attr-defined]  # a ModelChoiceField, which the stubs do not see here


class PresetForm(forms.Form):
    """A name for the options of one of the workspace's conversions, to use them again."""

    conversion = forms.ModelChoiceField(
        queryset=Conversion.objects.none(), to_field_name="code", widget=forms.HiddenInput
    )
    name = forms.CharField(max_length=60, help_text="For example “Ballads” or “Podcast intro”.")
    for_voice = forms.BooleanField(
        required=False, initial=True, label="For this voice only", help_text="Else it is offered with every voice."
    )

    def __init__(self, workspace: Workspace, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _choose(self.fields["conversion"], workspace.conversions.select_related("voice"))

    def clean(self) -> dict[str, Any]:
        """Say aloud what is wrong with the field that nobody sees."""
        cleaned = super().clean() or {}
        if "conversion" in self.errors:
            self.add_error(None, "This conversion is no longer there; open another one and save its options.")
        return cleaned
