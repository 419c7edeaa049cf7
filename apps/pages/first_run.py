"""The first steps of a new workspace, each ticked by what is there."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q, Sum
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.studio.models import Conversion
from apps.voices.models import Consent, Recording, Voice, VoiceModel

ENOUGH_SECONDS = 60.0  # of recordings, for a trained voice


@dataclass(frozen=True)
class Step:
    """One thing to do, where, and whether it is done."""

    title: str
    text: str
    url: str
    done: bool


@dataclass(frozen=True)
class Numbers:
    """What a workspace holds; ``seconds`` is the length of its recordings, ``models`` are those that can be used."""

    voices: int
    models: int
    conversions: int
    seconds: float

    @property
    def minutes(self) -> float:
        """The length of the recordings in minutes."""
        return self.seconds / 60


def numbers_of(workspace: Workspace) -> Numbers:
    """Count what the workspace holds."""
    recordings = Recording.objects.filter(voice__workspace=workspace)
    return Numbers(
        voices=Voice.objects.filter(workspace=workspace).count(),
        models=VoiceModel.objects.filter(voice__workspace=workspace).exclude(file="").count(),
        conversions=Conversion.objects.filter(workspace=workspace).count(),
        seconds=recordings.aggregate(seconds=Sum("duration"))["seconds"] or 0.0,
    )


def first_run(workspace: Workspace, numbers: Numbers) -> list[Step]:
    """Return the steps from an empty workspace to a first conversion, in order."""
    slug = workspace.slug
    voice = Voice.objects.filter(workspace=workspace).order_by("created_at").first()
    voice_url = reverse("voices:detail", args=[slug, voice.code]) if voice else reverse("voices:new", args=[slug])
    in_time = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    consents = Consent.objects.filter(in_time, voice__workspace=workspace)
    return [
        Step("Make a voice", "Give it the name of the person who is heard in it.", voice_url, voice is not None),
        Step(
            "Add a minute of recordings",
            f"Upload files or read aloud in the browser: {numbers.seconds:.0f} s of {ENOUGH_SECONDS:.0f} s so far.",
            voice_url,
            numbers.seconds >= ENOUGH_SECONDS,
        ),
        Step(
            "Give consent",
            "Nothing is trained until the person has agreed.",
            voice_url,
            consents.filter(withdrawn_at=None).exists(),
        ),
        Step(
            "Train it",
            "An instant voice is ready within a minute; a trained one sounds closer.",
            voice_url,
            numbers.models > 0,
        ),
        Step(
            "Convert something",
            "Any recording of speech or singing, said again in your voice.",
            reverse("studio:convert", args=[slug]),
            numbers.conversions > 0,
        ),
    ]
