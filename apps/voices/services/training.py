"""From takes to voice models: the pre-flight, training, instant voices, which model is active."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.db.models import F, Max, Sum
from django.urls import reverse

from apps.accounts.models import User
from apps.accounts.services import audit
from apps.errors import Refused
from apps.jobs.models import Artifact
from apps.jobs.services import cancel, submit
from apps.voices import tasks
from apps.voices.estimates import Estimate, expected
from apps.voices.models import Take, Voice, VoiceModel
from apps.voices.services.consents import require_consent
from apps.voices.services.files import remove_on_commit
from apps.voices.services.locks import require_unlocked
from ml.catalog import PRESETS
from ml.options import TrainOptions
from ml.preflight import LEAST_SECONDS, WANTED_SECONDS, Preflight, preflight

_REPORT_KEPT_SECONDS = 24 * 3600
INSTANT_MINUTES = 1
# Twice what a minute of speech took on two cores without a GPU (docs/engine.md); trainings timed here say it better.
PRESET_MINUTES = {"fast": 2, "balanced": 3, "quality": 8}


@dataclass(frozen=True)
class Report:
    """The pre-flight as its page shows it: the engine's figures, and which takes sound like somebody else."""

    figures: Preflight
    strangers: list[Take]
    takes: int
    seconds: float  # of all usable takes, those of strangers too: they are trained on until they are dropped
    waiting: int  # recordings that are still being sliced
    wanted: float = WANTED_SECONDS

    @property
    def quality_percent(self) -> int:
        """The predicted quality as a share of what a good voice needs, 0..100."""
        return round(100 * self.figures.quality)


def usable_takes(voice: Voice) -> Any:
    """Return the takes that a training uses: graded usable and not dropped."""
    return Take.objects.filter(recording__voice=voice, usable=True, dropped=False)


def usable_seconds(voice: Voice) -> float:
    """Return the length of all usable takes."""
    return _seconds_of(usable_takes(voice))


def _seconds_of(takes: Any) -> float:
    return float(takes.aggregate(total=Sum(F("end") - F("start")))["total"] or 0.0)


def preflight_of(voice: Voice) -> Report:
    """Return what the takes of a voice promise, before anything is started."""
    lengths = dict(usable_takes(voice).order_by("pk").values_list("pk", F("end") - F("start")))
    # Grades never change, so the report on the same takes stays the same; making it reads every speaker vector.
    of, kept = hashlib.sha256(repr(list(lengths)).encode()).hexdigest(), cache.get(_preflight_key(voice.pk))
    if kept is not None and kept[0] == of:
        figures: Preflight = kept[1]
    else:
        figures = _figures_of(list(lengths))
        cache.set(_preflight_key(voice.pk), (of, figures), _REPORT_KEPT_SECONDS)
    odd = [pk for index, pk in enumerate(lengths) if index in figures.outliers]
    strangers = list(Take.objects.filter(pk__in=odd).defer("peaks", "grade").select_related("recording")) if odd else []
    waiting = voice.recordings.exclude(job=None).filter(job__ended_at=None).count()
    return Report(figures, strangers, len(lengths), sum(lengths.values()), waiting)


def forget_preflights(voices: Iterable[int]) -> None:
    """Remove what is kept of the reports on voices that are going, by their keys."""
    cache.delete_many([_preflight_key(pk) for pk in voices])


def _preflight_key(voice: int) -> str:
    return f"preflight-3-{voice}"


def _figures_of(takes: list[int]) -> Preflight:
    rows = list(Take.objects.filter(pk__in=takes).order_by("pk").values_list("grade", flat=True))
    # The threshold belongs to the encoder that made the vectors, so the grade carries it.
    return preflight(rows, same_speaker=rows[0]["same_speaker"] if rows else 1.0)


def train(*, voice: Voice, user: User, options: dict[str, Any]) -> VoiceModel:
    """Submit the training of a new model; ``options`` are fields of ``ml.options.TrainOptions``.

    Raises Refused: 402 for a locked voice, 403 without a consent in force, 409 with less than 60 s of usable takes.
    """
    return _submit(voice, user, VoiceModel.Kind.TRAINED, options, WANTED_SECONDS)


def make_instant(*, voice: Voice, user: User) -> VoiceModel:
    """Submit an instant voice: no training, less alike. Raises Refused as ``train`` does, with a bar of 10 s."""
    return _submit(voice, user, VoiceModel.Kind.INSTANT, {}, LEAST_SECONDS)


def _submit(voice: Voice, user: User, kind: str, options: dict[str, Any], least: float) -> VoiceModel:
    instant = kind == VoiceModel.Kind.INSTANT
    with transaction.atomic():
        # Rows that point at it may come meanwhile: whoever adds one may hold the subscription that ``submit`` locks.
        rows = Voice.objects.select_for_update(no_key=True, of=("self",))
        locked = rows.select_related("workspace").get(pk=voice.pk)
        require_unlocked(locked)
        require_consent(locked)
        seconds = _enough(locked, least, instant)
        version = (locked.models.aggregate(last=Max("version"))["last"] or 0) + 1
        job = submit(
            workspace=locked.workspace,
            user=user,
            kind="instant voice" if instant else "training",
            title=f"{'Instant voice' if instant else 'Training'} of {locked.name}, version {version}",
            task=tasks.make_instant_voice if instant else tasks.train_voice,
            queue="gpu",
            url=reverse("voices:detail", args=[locked.workspace.slug, locked.code]),
            time_limit=900 if instant else 6 * 3600,
            meter="train_minutes",
            amount=INSTANT_MINUTES if instant else cost_of(options, seconds),
        )
        model = VoiceModel.objects.create(
            voice=locked,
            job=job,
            version=version,
            kind=kind,
            engine=settings.DEFAULT_CONVERTER,
            preset=options.get("preset", ""),
            options=options,
            seconds_of_audio=seconds,
        )
        model.takes.set(usable_takes(locked))
    return model


def cost_of(options: dict[str, Any], audio_seconds: float) -> int:
    """Return the most that a training takes of the allowance, in minutes begun.

    What it took longest here lately, of such a preset on so much sound; before that is known, its preset's figure. One
    that takes longer all the same costs no more.
    """
    preset, steps = options.get("preset", TrainOptions.preset), options.get("steps")
    found = expected(engine=settings.DEFAULT_CONVERTER, preset=preset, audio_seconds=audio_seconds, steps=steps)
    return minutes_of(found, preset, steps)


def minutes_of(found: Estimate | None, preset: str, steps: int | None = None) -> int:
    """Return the most that a training with ``preset`` takes, in minutes begun, by what is ``found`` of past ones."""
    if found is not None:
        return max(1, math.ceil(found.high / 60))
    usual: int = PRESETS[preset].load().steps
    return max(1, math.ceil(PRESET_MINUTES[preset] * (steps or usual) / usual))


def require_takes(model: VoiceModel) -> None:
    """Raise Refused (409) unless the takes that ``model`` is made of are still enough for its kind."""
    instant = model.kind == VoiceModel.Kind.INSTANT
    _require_seconds(_seconds_of(model.takes.all()), LEAST_SECONDS if instant else WANTED_SECONDS, instant)


def _enough(voice: Voice, least: float, instant: bool) -> float:
    seconds = usable_seconds(voice)
    _require_seconds(seconds, least, instant)
    return seconds


def _require_seconds(seconds: float, least: float, instant: bool) -> None:
    if seconds < least:
        what = "An instant voice" if instant else "A trained voice"
        raise Refused(
            f"{what} needs {least:.0f} s of usable takes and there are {seconds:.0f} s; add recordings, or wait until "
            "those that you added are listened to.",
            status=409,
        )


def activate(*, model: VoiceModel, user: User) -> None:
    """Make ``model`` the one that conversions use. Raises Refused (409) while it is not finished."""
    with transaction.atomic():
        voice = Voice.objects.select_for_update().get(pk=model.voice_id)
        voice.models.filter(active=True).update(active=False)
        if not VoiceModel.objects.filter(pk=model.pk).exclude(file="").update(active=True):
            raise Refused("This model is not finished, so it cannot be used yet.", status=409)
        audit(workspace=model.voice.workspace, user=user, action="model.activated", target=str(model))


def delete_model(*, model: VoiceModel, user: User) -> None:
    """Delete a model with its file and samples; a training that is not finished is cancelled first."""
    if not model.job.is_finished:
        cancel(model.job)
    with transaction.atomic():
        samples = Artifact.objects.filter(job=model.job)
        remove_on_commit([model.file, *samples.values_list("file", flat=True)])
        audit(workspace=model.voice.workspace, user=user, action="model.deleted", target=str(model))
        samples.delete()
        model.delete()
