"""What people do in the studio: bring a source, convert it, keep options under a name, delete."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db import transaction
from django.urls import reverse

from apps.accounts.models import User, Workspace
from apps.accounts.services import audit
from apps.billing.plans import smallest_with
from apps.billing.services import holdings
from apps.billing.services.subscriptions import locked, plan_of
from apps.errors import Refused
from apps.jobs.services import submit
from apps.studio import retention, tasks
from apps.studio.models import Batch, Conversion, ConversionPreset, Source, source_path
from apps.studio.options import FORMATS, defaults
from apps.voices.media import content_type_of, shown_name
from apps.voices.models import Voice, VoiceModel
from apps.voices.services.files import remove, remove_on_commit, store
from apps.voices.services.locks import require_unlocked
from apps.voices.services.recordings import check_size, inspect

SEEDS = 2**31
# One attempt may take this long: far more than any conversion needs, far less than for ever.
LEAST_SECONDS, SECONDS_PER_SECOND = 900, 4
PRESETS_MAX = 200


def add_source(*, workspace: Workspace, user: User, upload: TemporaryUploadedFile) -> Source:
    """Take in an uploaded file as a source, or return the one with the same bytes that is there already.

    Raises Refused as ``bring_source`` does.
    """
    return bring_source(workspace=workspace, user=user, upload=upload)[0]


def bring_source(*, workspace: Workspace, user: User, upload: TemporaryUploadedFile) -> tuple[Source, bool]:
    """Do as ``add_source`` does, and say whether the source is new.

    Raises Refused: 413 too large, 422 no usable sound, 503 too many checks at once; QuotaExceeded (402) when the
    plan's storage has no room for it.
    """
    path = Path(upload.temporary_file_path())
    size = path.stat().st_size
    check_size(size)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    twin = workspace.sources.filter(sha256=sha256, expired_at=None).first()
    if twin is not None:
        return twin, False
    info = inspect(path)
    source = Source(
        workspace=workspace,
        name=shown_name(upload.name or ""),
        size=size,
        sha256=sha256,
        content_type=content_type_of(info.container),
        container=info.container,
        codec=info.codec,
        duration=info.duration,
        sample_rate=info.sample_rate,
        channels=info.channels,
        created_by=user,
        expires_at=retention.expiry_of(workspace),
    )
    source.file.name = store(source_path(source, ""), path)
    try:
        with transaction.atomic():
            holdings.require_storage(workspace, size)
            source.save()
    except BaseException:
        remove([str(source.file.name)])
        raise
    return source, True


def submit_conversion(
    *,
    workspace: Workspace,
    user: User,
    voice: Voice,
    source: Source,
    options: Mapping[str, Any],
    seed: int | None = None,
    parent: Conversion | None = None,
    batch: Batch | None = None,
) -> Conversion:
    """Submit the conversion of ``source`` into ``voice`` by its active model; ``seed`` None draws one.

    ``options`` are as ``apps.studio.options.defaults`` gives them. Raises Refused without a consent in force (403)
    or an active model (409), when the source has expired (410), for a locked voice or a format that the plan does not
    make (402); and QuotaExceeded (402).
    """
    with transaction.atomic():
        locked(workspace)  # before the source: in a batch the next source is held under it
        require_format(workspace, options)
        require_unlocked(voice)
        require_consent(voice)
        retention.use(source)
        model = _active_model(voice)
        conversion = Conversion(
            workspace=workspace,
            voice=voice,
            model=model,
            model_version=model.version,
            source=source,
            parent=parent,
            batch=batch,
            created_by=user,
            options=dict(options),
            seed=secrets.randbelow(SEEDS) if seed is None else seed,
        )
        conversion.job = submit(
            workspace=workspace,
            user=user,
            kind="conversion",
            title=f"{source.name} as {voice.name}",
            task=tasks.run_conversion,
            queue="gpu",
            url=reverse("studio:conversion", args=[workspace.slug, conversion.code]),
            time_limit=LEAST_SECONDS + int(SECONDS_PER_SECOND * source.duration),
            meter="convert_seconds",
            amount=cost_of(source),
        )
        conversion.save()
    return conversion


def _active_model(voice: Voice) -> VoiceModel:
    model = voice.active_model
    if model is None:
        raise Refused(f"“{voice.name}” has no active model; train one or activate one first.", status=409)
    return model


def cost_of(source: Source) -> int:
    """Return what a conversion of ``source`` takes of the allowance, in seconds begun."""
    return seconds_begun(source.duration)


def seconds_begun(duration: float) -> int:
    """Return what a sound of ``duration`` seconds counts as."""
    return max(1, math.ceil(duration))


def require_format(workspace: Workspace, options: Mapping[str, Any]) -> None:
    """Raise Refused (402) unless the plan makes files of the format that ``options`` ask for."""
    name = options.get("format", defaults()["format"])
    if name not in plan_of(workspace).formats:
        raise Refused(
            f"{FORMATS[name].label} needs the plan {smallest_with(name).name} or a larger one. Choose another format.",
            status=402,
        )


def require_consent(voice: Voice) -> None:
    """Raise Refused (403) unless a consent for ``voice`` is in force."""
    if voice.consent is None:
        raise Refused(
            f"The consent for “{voice.name}” was withdrawn or has ended. Give it again on the voice's page to go on.",
            status=403,
        )


def delete_conversion(*, conversion: Conversion, user: User, with_source: bool = True) -> None:
    """Delete a conversion and its files, and ``with_source`` its source when nothing else was made of it.

    Raises Refused (409) while its job is not finished.
    """
    job, source = conversion.job, conversion.source
    if not job.is_finished:
        raise Refused("This conversion is still being made; cancel it first.", status=409)
    with transaction.atomic():
        remove_on_commit(artifact.file for artifact in job.artifacts.all())
        audit(workspace=conversion.workspace, user=user, action="conversion.deleted", target=str(conversion))
        job.delete()  # takes the conversion and the artifacts with it
        if with_source:
            delete_unused(source)


def delete_unused(source: Source) -> None:
    """Delete a source with its file unless something was made of it."""
    with transaction.atomic():
        if not source.conversions.exists():
            remove_on_commit([source.file])
            source.delete()


def save_preset(
    *, workspace: Workspace, user: User, name: str, options: Mapping[str, Any], voice: Voice | None
) -> ConversionPreset:
    """Keep ``options`` under ``name`` for the whole workspace; the same name again replaces them.

    ``voice`` None offers them with every voice. Raises Refused (409) when there are too many.
    """
    with transaction.atomic():
        if workspace.conversion_presets.count() >= PRESETS_MAX:
            raise Refused(f"A workspace has at most {PRESETS_MAX} presets; delete one first.", status=409)
        preset, _ = ConversionPreset.objects.update_or_create(
            workspace=workspace,
            voice=voice,
            name=name,
            defaults={"options": dict(options), "created_by": user},
        )
    return preset
