"""What the worker does for voices: fetch, call the engine, write the result in one transaction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from apps.errors import Refused
from apps.jobs.models import Artifact
from apps.jobs.run import Run
from apps.jobs.worker import task
from apps.voices import estimates
from apps.voices.models import Recording, Take, Voice, VoiceModel, model_path, take_path
from apps.voices.services.files import remove, remove_on_commit, store
from ml.decode import decode
from ml.options import Checkpoint, TrainOptions, TrainResult
from ml.probe import Limits

if TYPE_CHECKING:
    from ml.takes import TakeInfo

_DECODING = 0.1  # of the time that listening takes


@task
def slice_recording(run: Run) -> None:
    """Cut the job's recording into graded takes; run again, it replaces the takes of the run before."""
    recording = Recording.objects.select_related("voice__workspace").get(job=run.job)
    run.report(0.0, "Decoding")
    source = run.folder / "source.flac"
    limits = Limits(bytes=settings.UPLOAD_MAX_BYTES, seconds=settings.UPLOAD_MAX_SECONDS)
    decode(run.fetch(recording.file), source, mono=True, limits=limits)
    engine = run.engine
    found = engine.slice(
        source,
        run.folder / "takes",
        report=lambda part, stage: run.report(_DECODING + part * (1 - _DECODING), stage),
    )
    _keep_takes(run, recording, found, engine.same_speaker)


def _keep_takes(run: Run, recording: Recording, found: Sequence[TakeInfo], same_speaker: float) -> None:
    takes: list[Take] = []
    try:
        for info in found:
            take = _take_of(recording, info, same_speaker)
            take.file.name = store(take_path(take, ""), info.path)
            takes.append(take)
        with run.result():
            earlier = recording.takes.all()
            remove_on_commit(earlier.values_list("file", flat=True))
            earlier.delete()
            Take.objects.bulk_create(takes)
    except BaseException:
        # Asked, as the rows may be there all the same: the answer to a commit can be lost.
        names = {str(take.file.name) for take in takes}
        remove(names - set(Take.objects.filter(file__in=names).values_list("file", flat=True)))
        raise


def _take_of(recording: Recording, info: TakeInfo, same_speaker: float) -> Take:
    grade = asdict(info)
    del grade["path"], grade["peaks"]
    return Take(
        recording=recording,
        start=info.start,
        end=info.end,
        snr_db=info.snr_db,
        clipping=info.clipping,
        loudness_lufs=info.loudness_lufs,
        speech_share=info.speech_share,
        f0_median_hz=info.f0_median_hz or None,
        grade={**grade, "same_speaker": same_speaker},
        peaks=info.peaks,
        usable=info.usable,
        reasons=info.reasons,
    )


@task
def train_voice(run: Run) -> None:
    """Train the job's voice model, going on from the last checkpoint where an attempt before this one left one."""
    model = _model_of(run)
    out = run.folder / "model.voice"
    _expect(run, model)
    result = run.engine_for(model.engine).train(
        _fetch_takes(run, model),
        out,
        options=TrainOptions(**model.options),
        workdir=run.workdir,
        report=run.report,
        on_checkpoint=partial(_keep_checkpoint, run, model),
        on_note=partial(_keep_note, run, model),
        on_estimate=run.expect,
    )
    _keep_model(run, model, result)


@task
def make_instant_voice(run: Run) -> None:
    """Make the job's instant voice model."""
    model = _model_of(run)
    takes = _fetch_takes(run, model)
    result = run.engine_for(model.engine).instant(takes, run.folder / "model.voice", report=run.report)
    _keep_model(run, model, result)


def _model_of(run: Run) -> VoiceModel:
    model = VoiceModel.objects.select_related("voice__workspace").get(job=run.job)
    _require_consent(model.voice)
    return model


def _require_consent(voice: Voice) -> None:
    if voice.consent is None:
        raise Refused(f"The consent for “{voice.name}” was withdrawn or has ended, so nothing was trained.", status=403)


def _fetch_takes(run: Run, model: VoiceModel) -> list[Path]:
    # In a fixed order: a resumed training must see what the attempt before it saw.
    return [run.fetch(take.file) for take in model.takes.order_by("pk")]


def _expect(run: Run, model: VoiceModel) -> None:
    """Show what trainings like this one took before, until this one knows its own pace."""
    steps, audio = model.options.get("steps"), model.seconds_of_audio
    found = estimates.expected(engine=model.engine, preset=model.preset, audio_seconds=audio, steps=steps)
    if found is not None and run.attempt == 1:
        run.expect(found.seconds)


def _keep_note(run: Run, model: VoiceModel, sentence: str) -> None:
    with run.guarded():
        notes = VoiceModel.objects.values_list("notes", flat=True).get(pk=model.pk)
        VoiceModel.objects.filter(pk=model.pk).update(notes=[*notes, sentence])
    run.say(sentence)


def _keep_checkpoint(run: Run, model: VoiceModel, checkpoint: Checkpoint) -> None:
    from ml.audio import load, peaks  # brings scipy, which the web process can do without

    with run.guarded():
        VoiceModel.objects.filter(pk=model.pk).update(
            curve=checkpoint.curve, steps=checkpoint.step, resources=checkpoint.resources
        )
    run.keep_checkpoint()
    if checkpoint.sample is not None:
        samples, rate = load(checkpoint.sample)
        run.keep(
            checkpoint.sample,
            kind=Artifact.Kind.SAMPLE,
            name=f"{model} step {checkpoint.step:06d}.wav",
            content_type="audio/wav",
            data={"step": checkpoint.step, "seconds": round(len(samples) / rate, 2), "peaks": peaks(samples)},
        )


def _keep_model(run: Run, model: VoiceModel, result: TrainResult) -> None:
    run.delivered = max(1, math.ceil(result.seconds / 60))
    size, card = result.path.stat().st_size, _card_of(result.path)
    name = store(model_path(model, ""), result.path)
    try:
        with run.result():
            # Of its key nothing changes: who starts something with the voice meanwhile need not wait.
            voice = Voice.objects.select_for_update(no_key=True).get(pk=model.voice_id)
            _require_consent(voice)
            VoiceModel.objects.filter(pk=model.pk).update(
                file=name,
                size=size,
                sha256=result.sha256,
                steps=result.steps,
                training_seconds=result.seconds,
                metrics=result.metrics,
                curve=result.curve,
                resources=result.resources,
                card=card,
                active=not voice.models.filter(active=True).exists(),
            )
    except BaseException:
        if not VoiceModel.objects.filter(file=name).exists():  # as with takes
            remove([name])
        raise


def _card_of(path: Path) -> dict[str, object]:
    from ml.checkpoint import load  # brings torch, which the web process does without

    metadata = load(path)[1]
    traits = {key: value for key, value in metadata["traits"].items() if key != "embedding"}
    return {"base": metadata.get("base", ""), **traits}
