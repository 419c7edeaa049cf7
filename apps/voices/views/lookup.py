"""What the pages of a voice share: finding rows through the workspace."""

from __future__ import annotations

from uuid import UUID

from django.shortcuts import get_object_or_404
from django.urls import reverse

from apps.accounts.access import WorkspaceRequest
from apps.voices.models import Recording, Take, Voice, VoiceModel


def voice_of(request: WorkspaceRequest, code: UUID) -> Voice:
    """Return the workspace's voice, else 404."""
    voice: Voice = get_object_or_404(request.workspace.voices, code=code)
    voice.workspace = request.workspace  # it is at hand: no second query for it
    return voice


def recording_of(request: WorkspaceRequest, voice: UUID, code: UUID) -> Recording:
    """Return a recording of the workspace's voice, else 404."""
    owner = voice_of(request, voice)
    recording: Recording = get_object_or_404(owner.recordings.select_related("job"), code=code)
    recording.voice = owner
    return recording


def take_of(request: WorkspaceRequest, voice: UUID, code: UUID) -> Take:
    """Return a take of the workspace's voice, else 404."""
    owner = voice_of(request, voice)
    takes = Take.objects.filter(recording__voice=owner).select_related("recording")
    take: Take = get_object_or_404(takes, code=code)
    take.recording.voice = owner
    return take


def model_of(request: WorkspaceRequest, voice: UUID, code: UUID) -> VoiceModel:
    """Return a model of the workspace's voice, else 404."""
    owner = voice_of(request, voice)
    model: VoiceModel = get_object_or_404(owner.models.select_related("job"), code=code)
    model.voice = owner
    return model


def page_of(voice: Voice) -> str:
    """Return the address of a voice's page."""
    return reverse("voices:detail", args=[voice.workspace.slug, voice.code])
