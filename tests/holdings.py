"""Fills a workspace with one of everything, with real stored files: what access tests try to reach."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import uuid4

from django.core.files.base import ContentFile
from django.utils import timezone

from apps.accounts import keys, sealing, services
from apps.accounts.models import ErasureReport, Membership
from apps.api.models import ApiCall
from apps.billing.models import Draw, Notice, UsageEvent
from apps.billing.services import ledger
from apps.billing.services.subscriptions import subscription_of
from apps.jobs.models import Artifact, Fault, Job, Share
from apps.studio.models import Batch, Conversion, ConversionPreset, Source
from apps.studio.options import defaults
from apps.voices.models import Consent, Recording, Take, Upload, Voice, VoiceModel
from apps.webhooks import signing
from apps.webhooks.models import PURPOSE, Attempt, Delivery, Endpoint
from tests.sounds import tone, wav_bytes

WAV = {"content_type": "audio/wav", "sha256": "0" * 64}
KIND = {"container": "wav", "codec": "pcm_s16le", "duration": 1.0, "sample_rate": 48000, "channels": 1}
FIGURES = {
    "start": 0.0,
    "end": 1.0,
    "snr_db": 40.0,
    "clipping": 0.0,
    "loudness_lufs": -20.0,
    "speech_share": 1.0,
    "usable": True,
}
GRADE = {
    "f0_low_hz": 210.0,
    "f0_median_hz": 220.0,
    "f0_high_hz": 230.0,
    "reverberation": 0.3,
    "voiced_share": 0.9,
    "speaker": [1.0, 0.0],
    "same_speaker": 0.5,
}


def _done_job(workspace: Any, user: Any, kind: str) -> Job:
    return Job.objects.create(
        workspace=workspace,
        created_by=user,
        kind=kind,
        title=f"{kind} of {workspace}",
        task="apps.studio.tasks.run_conversion",
        queue="gpu",
        status="done",
        progress=1.0,
        started_at=timezone.now(),
        ended_at=timezone.now(),
    )


def _voice(workspace: Any, user: Any, sound: bytes) -> dict[str, Any]:
    voice = Voice.objects.create(workspace=workspace, name=f"Voice of {workspace}", created_by=user)
    recording = Recording(voice=voice, name="one.wav", size=len(sound), **WAV, **KIND)
    recording.file.save("one.wav", ContentFile(sound))
    take = Take(recording=recording, f0_median_hz=220.0, **FIGURES)
    take.grade = {**FIGURES, **GRADE}
    take.file.save("take.flac", ContentFile(sound))
    consent = Consent(voice=voice, statement="I agree.", full_name="Ada", is_own_voice=True, given_by=user)
    consent.recording_type = "audio/wav"
    consent.recording.save("spoken.wav", ContentFile(sound))
    upload = Upload.objects.create(voice=voice, user=user, name="two.wav", size=1000)
    model = VoiceModel(
        voice=voice,
        job=_done_job(workspace, user, "training"),
        version=1,
        kind="trained",
        engine="toy",
        preset="fast",
        seconds_of_audio=1.0,
        active=True,
        # Of its own: what an engine has opened under another's name is not opened for it.
        sha256=hashlib.sha256(f"weights of {workspace.code}".encode()).hexdigest(),
    )
    model.file.save("model.voice", ContentFile(b"weights"))
    return {"voice": voice, "recording": recording, "take": take, "consent": consent, "upload": upload, "model": model}


def _webhook(workspace: Any, user: Any) -> dict[str, Any]:
    secret = sealing.seal(signing.new_secret(), purpose=PURPOSE)
    url = "https://receiver.example.com/hooks"
    endpoint = Endpoint.objects.create(workspace=workspace, url=url, sealed_secret=secret, created_by=user)
    delivery = Delivery.objects.create(
        endpoint=endpoint,
        event="job.done",
        body='{"type":"job.done"}',
        status="failed",
        attempts=1,
        ended_at=timezone.now(),
    )
    Attempt.objects.create(
        delivery=delivery,
        number=1,
        sent_at=timezone.now(),
        signature="v1,c2lnbmF0dXJl",
        duration_ms=120,
        status_code=500,
        error="The receiver answered 500.",
        answer="out of order",
    )
    return {"endpoint": endpoint, "delivery": delivery}


def _money(workspace: Any, user: Any) -> dict[str, Any]:
    membership = Membership.objects.get(workspace=workspace, user=user)
    api_key, _ = keys.issue(membership=membership, name="Robot", scope="read")
    subscription = subscription_of(workspace)
    given = {"workspace": workspace, "meter": "convert_seconds"}
    grant = ledger.grant(**given, amount=60, source="staff", reason="A gift", key=f"gift:{workspace.pk}", user=user)
    event = ledger.reserve(**given, amount=9, key=f"job:{workspace.pk}", kind="conversion", user=user, api_key=api_key)
    UsageEvent.objects.filter(pk=event.pk).update(from_plan=8)
    Draw.objects.create(event=event, grant=grant, amount=1)
    period = subscription.period()
    Notice.objects.create(**given, period_start=period.start, percent=80)
    return {"api_key": api_key, "grant": grant, "usage": event}


def _api(workspace: Any, api_key: Any) -> dict[str, Any]:
    now = timezone.now()
    call = ApiCall.objects.create(
        workspace=workspace,
        api_key=api_key,
        key="b5c7",
        method="POST",
        path="/api/v1/conversions",
        sha256="0" * 64,
        state="done",
        status_code=201,
        claimed_at=now,
        created_at=now,
    )
    return {"call": call}


def fill(workspace: Any, user: Any) -> dict[str, Any]:
    """Give the workspace one of everything that ``user`` made; return it by the name of its kind."""
    sound = wav_bytes(tone(1.0))
    held = _voice(workspace, user, sound)
    source = Source(workspace=workspace, name="song.wav", size=len(sound), created_by=user, **WAV, **KIND)
    source.file.save("song.wav", ContentFile(sound))
    job = _done_job(workspace, user, "conversion")
    Fault.objects.create(job=job, attempt=1, error_id="4711", name="OSError", traceback="Traceback: the disk is acme's")
    Share.objects.create(workspace=workspace, queue=job.queue, start=0.0, finish=1.0)
    artifact = Artifact(workspace=workspace, job=job, kind="audio", name="song - voice.wav", size=len(sound), **WAV)
    artifact.data = {"sample_rate": 48000, "samples": 48000, "channels": 1, "seconds": 1.0}
    artifact.file.save("song.wav", ContentFile(sound))
    batch = Batch.objects.create(workspace=workspace, name="Chapters", created_by=user)
    conversion = Conversion.objects.create(
        batch=batch,
        workspace=workspace,
        voice=held["voice"],
        model=held["model"],
        source=source,
        job=job,
        created_by=user,
        options=defaults(),
        model_version=1,
        seed=1,
    )
    preset = ConversionPreset.objects.create(workspace=workspace, name="Mine", options=defaults(), created_by=user)
    invitation, _ = services.invite(workspace=workspace, user=user, email="invited@example.org", role="viewer")
    ErasureReport.objects.create(workspace_code=uuid4(), rows={"voices.Voice": 1}, files=3, verified=True)
    membership = workspace.memberships.exclude(role="owner").last() or workspace.memberships.get()
    held |= {"batch": batch, "source": source, "job": job, "artifact": artifact, "conversion": conversion}
    held["preset"] = preset
    held |= _webhook(workspace, user) | _money(workspace, user)
    held |= _api(workspace, held["api_key"])
    return held | {"invitation": invitation, "membership": membership, "workspace": workspace}
