"""What the worker does for the studio: fetch, decode, convert, write the result in one transaction."""

from __future__ import annotations

import math
from pathlib import Path

from django.conf import settings

from apps.errors import Refused
from apps.jobs.downloads import safe_name
from apps.jobs.models import Artifact
from apps.jobs.run import Run
from apps.jobs.worker import task
from apps.studio.models import Conversion
from apps.studio.options import FORMATS
from apps.studio.retention import expiry_of
from apps.voices.models import Voice
from ml.decode import decode
from ml.options import ConvertOptions, ConvertResult
from ml.probe import Limits

_DECODING = 0.08  # of the time that a conversion takes


@task
def run_conversion(run: Run) -> None:
    """Convert the job's source; run again, it makes the same result anew."""
    conversion = Conversion.objects.select_related("voice", "model", "source", "workspace").get(job=run.job)
    _require_consent(conversion.voice)
    model = conversion.model
    if model is None:
        raise Refused("The model was deleted before its turn came, so nothing was made.", status=409)
    run.report(0.0, "Decoding the source")
    # Float, not FLAC: what lies above full scale in the source is not clipped on the way.
    source = run.folder / "source.wav"
    limits = Limits(bytes=settings.UPLOAD_MAX_BYTES, seconds=settings.UPLOAD_MAX_SECONDS)
    decode(run.fetch(conversion.source.file), source, limits=limits)
    entry = FORMATS[conversion.options["format"]]
    engine = run.engine_for(model.engine)
    result = engine.convert(
        engine.voice(model.sha256, lambda: run.fetch(model.file)),
        source,
        run.folder / f"result.{entry.suffix}",
        options=ConvertOptions(**conversion.options, seed=conversion.seed, tags=_tags(conversion)),
        report=lambda part, stage: run.report(_DECODING + part * (1 - _DECODING), stage),
    )
    run.delivered = math.ceil(result.samples / result.sample_rate)
    preview = None
    if not conversion.source.plays_in_browsers:
        preview = run.folder / "source.flac"
        decode(source, preview, limits=Limits(bytes=limits.out_bytes, seconds=limits.seconds))
    _keep(run, conversion, result, preview)


def _keep(run: Run, conversion: Conversion, result: ConvertResult, preview: Path | None) -> None:
    # The files first, which may take long; rows and the job's end then come in one short transaction.
    kept: list[Artifact] = []
    with run.stored(kept):
        kept.append(_store_result(run, conversion, result))
        if preview is not None:
            expires_at = kept[0].expires_at
            kind = Artifact.Kind.SAMPLE
            kept.append(
                run.store(preview, kind=kind, name="source.flac", content_type="audio/flac", expires_at=expires_at)
            )
        with run.result():
            _require_consent(conversion.voice)
            for artifact in kept:
                run.record(artifact)
            Conversion.objects.filter(pk=conversion.pk).update(
                metrics={**result.metrics, "pitch_semitones": result.pitch},
                curves={**result.curves, "source_peaks": result.source_peaks},
                compute_seconds=result.seconds,
            )


def _store_result(run: Run, conversion: Conversion, result: ConvertResult) -> Artifact:
    entry = FORMATS[conversion.options["format"]]
    return run.store(
        result.path,
        kind=Artifact.Kind.AUDIO,
        name=safe_name(f"{_stem(conversion)} - {conversion.voice.name}.{entry.suffix}"),
        content_type=entry.content_type,
        data={
            "sample_rate": result.sample_rate,
            "samples": result.samples,
            "channels": result.channels,
            "seconds": result.samples / result.sample_rate,
            "peaks": result.result_peaks,
        },
        expires_at=expiry_of(conversion.workspace),
    )


def _require_consent(voice: Voice) -> None:
    # Asked at the start and again at the end: a withdrawal in between leaves no result.
    if voice.consent is None:
        raise Refused(f"The consent for “{voice.name}” was withdrawn or has ended, so nothing was made.", status=403)


def _stem(conversion: Conversion) -> str:
    return Path(conversion.source.name).stem or "source"


def _tags(conversion: Conversion) -> dict[str, str]:
    """Return the tags of the file: the voice, the tool, and that a machine made it."""
    name = conversion.voice.name
    tool = f"{settings.SITE_NAME}, model {conversion.model_version}"
    return {
        "title": f"{_stem(conversion)} as {name}",
        "artist": name,
        "comment": f"AI-generated voice “{name}”, made by {tool}.",
    }
