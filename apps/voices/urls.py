"""Addresses of voices, below /w/<slug>/."""

from __future__ import annotations

from django.urls import path

from apps.voices.views import consents, direct, models, recordings, uploads, voices

app_name = "voices"
VOICE = "voices/<uuid:voice>/"
urlpatterns = [
    path("voices/", voices.index, name="list"),
    path("voices/new/", voices.new, name="new"),
    path(VOICE, voices.detail, name="detail"),
    path(VOICE + "edit/", voices.edit, name="edit"),
    path(VOICE + "choose/", voices.choose, name="choose"),
    path(VOICE + "delete/", voices.delete, name="delete"),
    path(VOICE + "preflight/", voices.preflight, name="preflight"),
    path(VOICE + "record/", recordings.record, name="record"),
    path(VOICE + "recordings/add/", recordings.add, name="add"),
    path(VOICE + "recordings/<uuid:recording>/", recordings.detail, name="recording"),
    path(VOICE + "recordings/<uuid:recording>/audio/", recordings.audio, name="recording-audio"),
    path(VOICE + "recordings/<uuid:recording>/delete/", recordings.delete, name="recording-delete"),
    path(VOICE + "uploads/direct/", direct.begin, name="direct"),
    path(VOICE + "uploads/<uuid:upload>/finish/", direct.finish, name="direct-finish"),
    path(VOICE + "uploads/", uploads.collection, name="uploads"),
    path(VOICE + "uploads/<uuid:upload>/", uploads.one, name="upload"),
    path(VOICE + "takes/<uuid:take>/audio/", recordings.take_audio, name="take-audio"),
    path(VOICE + "takes/<uuid:take>/drop/", recordings.drop_take, name="take-drop"),
    path(VOICE + "consent/", consents.give, name="consent"),
    path(VOICE + "consent/<uuid:consent>/withdraw/", consents.withdraw, name="consent-withdraw"),
    path(VOICE + "consent/<uuid:consent>/audio/", consents.audio, name="consent-audio"),
    path(VOICE + "train/", models.train, name="train"),
    path(VOICE + "instant/", models.instant, name="instant"),
    path(VOICE + "models/<uuid:model>/", models.detail, name="model"),
    path(VOICE + "models/<uuid:model>/resources.json", models.resources, name="model-resources"),
    path(VOICE + "models/<uuid:model>/activate/", models.activate, name="model-activate"),
    path(VOICE + "models/<uuid:model>/delete/", models.delete, name="model-delete"),
]
