"""Addresses of the compatible APIs, below /v1/ and /v2/ as their SDKs ask for them."""

from __future__ import annotations

from django.urls import path

from apps.api.compat import history, models, speech, text, users, voice_settings, voices
from apps.api.compat.door import address

app_name = "compat"
_unknown = dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE"), text.unknown)
urlpatterns = [
    path("v1/voices", address(GET=voices.every), name="voices"),
    path("v2/voices", address(GET=voices.search), name="voices-search"),
    path("v1/voices/add", address(POST=voices.add), name="voice-add"),
    path("v1/voices/settings/default", address(GET=voice_settings.usual), name="settings-default"),
    path("v1/voices/<str:voice>", address(GET=voices.detail, DELETE=voices.delete), name="voice"),
    path("v1/voices/<str:voice>/edit", address(POST=voices.edit), name="voice-edit"),
    path("v1/voices/<str:voice>/settings", address(GET=voice_settings.detail), name="settings"),
    path("v1/voices/<str:voice>/settings/edit", address(POST=voice_settings.edit), name="settings-edit"),
    path("v1/voices/<str:voice>/samples/<str:sample>", address(DELETE=voices.sample_delete), name="sample"),
    path("v1/voices/<str:voice>/samples/<str:sample>/audio", address(GET=voices.sample_audio), name="sample-audio"),
    # Newer SDKs say voice-changer, older ones and their documents speech-to-speech.
    path("v1/voice-changer/<str:voice>", address(POST=speech.convert), name="change"),
    path("v1/voice-changer/<str:voice>/stream", address(POST=speech.convert), name="change-stream"),
    path("v1/speech-to-speech/<str:voice>", address(POST=speech.convert), name="speech-to-speech"),
    path("v1/speech-to-speech/<str:voice>/stream", address(POST=speech.convert), name="speech-to-speech-stream"),
    path("v1/text-to-speech/<str:voice>", address(POST=text.speak), name="speak"),
    path("v1/text-to-speech/<str:voice>/stream", address(POST=text.speak), name="speak-stream"),
    path("v1/text-to-speech/<str:voice>/with-timestamps", address(POST=text.speak), name="speak-timed"),
    path("v1/text-to-speech/<str:voice>/stream/with-timestamps", address(POST=text.speak), name="speak-stream-timed"),
    path("v1/history", address(GET=history.every), name="history"),
    path("v1/history/download", address(POST=history.download), name="history-download"),
    path("v1/history/<str:code>", address(GET=history.detail, DELETE=history.delete), name="history-item"),
    path("v1/history/<str:code>/audio", address(GET=history.audio), name="history-audio"),
    path("v1/models", address(GET=models.every), name="models"),
    path("v1/models/<str:model>", address(GET=models.detail), name="model"),
    path("v1/user", address(GET=users.detail), name="user"),
    path("v1/user/subscription", address(GET=users.subscription), name="subscription"),
    path("v1/audio/speech", address(POST=text.speech), name="audio-speech"),
    path("v1/<path:rest>", address(**_unknown), name="unknown"),
    path("v2/<path:rest>", address(**_unknown), name="unknown-2"),
]
