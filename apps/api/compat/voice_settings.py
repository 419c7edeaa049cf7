"""ElevenLabs' settings of a voice. Of theirs only ``similarity_boost`` has an equal here: the retrieval rate.

A voice's settings are kept as the preset “API” of that voice, which people see in the studio and may change there too:
whatever else it says holds for conversions by this API as well.
"""

from __future__ import annotations

import json
from typing import Any

from apps.api.auth import ApiRequest
from apps.api.compat.answers import No
from apps.api.compat.door import call, json_of
from apps.api.compat.lookup import answer, voice_of
from apps.api.limits import Route
from apps.studio.options import defaults
from apps.studio.services import save_preset
from apps.voices.models import Voice
from ml.catalog import PRESETS

PRESET = "API"
# Theirs, with their ranges: what is out of them is a mistake also where it changes nothing here.
_RANGES = {
    "stability": (0.0, 1.0),
    "similarity_boost": (0.0, 1.0),
    "style": (0.0, 1.0),
    "speed": (0.7, 1.2),
    "clone_strength": (0.0, 1.0),
}
MODEL = "voicecloud_"


def model_of(preset: str) -> str:
    """Return the ``model_id`` of one of our presets."""
    return f"{MODEL}{preset}"


def options_of(voice: Voice) -> dict[str, Any]:
    """Return the options that conversions into the voice begin with."""
    # Chosen here, not by the database, so that a list can fetch the presets of all its voices at once.
    kept = next((preset for preset in voice.conversion_presets.all() if preset.name == PRESET), None)
    return {**defaults(), **(kept.options if kept else {})}


def shown(options: dict[str, Any]) -> dict[str, Any]:
    """Return options as settings of a voice; null is what the engine has no equal of."""
    return {
        "similarity_boost": options["retrieval"],
        "stability": None,
        "style": None,
        "use_speaker_boost": None,
        "speed": 1.0,
    }


def changes_of(settings: object, *, field: str) -> dict[str, Any]:
    """Return what settings of theirs change of our options. Raises No (422) where one is not what they may be."""
    if not isinstance(settings, dict):
        raise No("The settings of a voice are a JSON object.", status=422, word="dict_type", field=field)
    for name, (low, high) in _RANGES.items():
        value = settings.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            message = f"{name} must be from {low:g} to {high:g}."
            raise No(message, status=422, word="value_error", field=f"{field}.{name}")
    boost = settings.get("similarity_boost")
    return {} if boost is None else {"retrieval": float(boost)}


def changes_of_json(text: str | None, *, field: str) -> dict[str, Any]:
    """Do as ``changes_of`` does with settings that come as text. Raises No (422)."""
    if not text:
        return {}
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        raise No("The settings of a voice are a JSON object.", status=422, word="json_invalid", field=field) from None
    return {} if settings is None else changes_of(settings, field=field)


def preset_of(model_id: str | None) -> dict[str, Any]:
    """Return the preset that a ``model_id`` of ours names; others, such as their own models', change nothing."""
    name = (model_id or "").removeprefix(MODEL)
    return {"preset": name} if name in PRESETS and model_id == model_of(name) else {}


@call("viewer")
def usual(request: ApiRequest) -> Any:
    """Answer the settings that hold when nothing is said."""
    return answer(shown(defaults()))


@call("viewer")
def detail(request: ApiRequest, voice: str) -> Any:
    """Answer a voice's settings."""
    return answer(shown(options_of(voice_of(request, voice))))


@call("editor", Route.NORMAL)
def edit(request: ApiRequest, voice: str) -> Any:
    """Keep a voice's settings for all conversions by this API."""
    row = voice_of(request, voice)
    changes = changes_of(json_of(request), field="body")
    save_preset(
        workspace=row.workspace,
        user=request.caller.user,
        name=PRESET,
        options={**options_of(row), **changes},
        voice=row,
    )
    return answer({"status": "ok"})
