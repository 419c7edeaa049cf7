"""The models that both SDKs list, each in its own shape: our presets of a conversion."""

from __future__ import annotations

from typing import Any

from apps.api.auth import ApiRequest
from apps.api.compat.answers import No, speaks_openai
from apps.api.compat.door import call
from apps.api.compat.lookup import answer
from apps.api.compat.voice_settings import model_of
from ml.catalog import PRESETS, Entry

OWNER = "voicecloud"


@call("viewer")
def every(request: ApiRequest) -> Any:
    """Answer the models."""
    if speaks_openai(request):
        return answer({"object": "list", "data": [_for_openai(name) for name in PRESETS]})
    return answer([_for_elevenlabs(name, entry) for name, entry in PRESETS.items()])


@call("viewer")
def detail(request: ApiRequest, model: str) -> Any:
    """Answer one model, as OpenAI's SDK asks for it."""
    for name in PRESETS:
        if model_of(name) == model:
            return answer(_for_openai(name))
    raise No(f"There is no model “{model}” here.", status=404, word="model_not_found", field="path.model")


def _for_openai(preset: str) -> dict[str, Any]:
    # They say when a model was made; ours are presets of whatever engine the site runs.
    return {"id": model_of(preset), "object": "model", "created": 0, "owned_by": OWNER}


def _for_elevenlabs(preset: str, entry: Entry) -> dict[str, Any]:
    return {
        "model_id": model_of(preset),
        "name": entry.label,
        "description": entry.description,
        "can_be_finetuned": True,
        "can_do_text_to_speech": False,
        "can_do_voice_conversion": True,
        "can_use_style": False,
        "can_use_speaker_boost": False,
        "serves_pro_voices": True,
        "token_cost_factor": 1.0,
        "requires_alpha_access": False,
        "languages": [],
        "model_rates": {"character_cost_multiplier": 1.0},
        "concurrency_group": "standard",
    }
