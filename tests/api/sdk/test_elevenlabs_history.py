"""The official ElevenLabs SDK, unmodified, against a running site: models, user, history, and what is refused."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.errors import UnprocessableEntityError

from tests.api.sdk.calls import ONCE, changed, consent, detail_of, heard, strictly
from tests.api.sdk.keyring import Keys, new_workspace
from tests.stack import Stack


def test_models_are_the_presets(client: ElevenLabs) -> None:
    models = [strictly(model) for model in client.models.list()]
    assert [model.model_id for model in models] == ["voicecloud_fast", "voicecloud_balanced", "voicecloud_quality"]
    assert all(model.can_do_voice_conversion and not model.can_do_text_to_speech for model in models)


def test_the_user_is_who_made_the_key(client: ElevenLabs, keys: Keys) -> None:
    user = strictly(client.user.get())
    assert (user.first_name, user.seat_type, user.subscription.tier) == ("Elevens", "workspace_admin", "unlimited")
    assert keys.admin.startswith(user.xi_api_key_preview or "nothing")
    assert user.user_id == client.user.get().user_id


def test_the_subscription_counts_seconds_of_conversion(stack: Stack, source: bytes, speaker: list[Path]) -> None:
    keys = new_workspace(stack, "counted", plan="free")
    client = ElevenLabs(base_url=stack.url, api_key=keys.create)
    before = strictly(client.user.subscription.get())
    assert (before.tier, before.status, before.character_count, before.character_limit) == ("free", "free", 0, 600)
    assert (before.voice_slots_used, before.open_invoices) == (0, [])
    files = [path.open("rb") for path in speaker]
    made = client.voices.ivc.create(name="Counted", files=files, labels=consent(client, "Counted"))
    changed(client, made.voice_id, source)
    after = client.user.subscription.get()
    assert (after.character_count, after.character_limit, after.voice_slots_used) == (2, 600, 1)
    assert client.history.list().history[0].character_count_change_to == 2
    assert time.time() < (after.next_character_count_reset_unix or 0) < time.time() + 32 * 86_400


def test_a_spent_quota_is_told_as_theirs(stack: Stack, source: bytes, speaker: list[Path]) -> None:
    keys = new_workspace(stack, "spent", plan="free")
    client = ElevenLabs(base_url=stack.url, api_key=keys.create)
    files = [path.open("rb") for path in speaker]
    made = client.voices.ivc.create(name="Spent", files=files, labels=consent(client, "Spent"))
    stack.django(
        "from apps.accounts.models import Workspace\nfrom apps.billing.services.ledger import reserve\n"
        "reserve(workspace=Workspace.objects.get(slug='spent'), meter='convert_seconds', amount=599, key='all of it')"
    )
    with pytest.raises(ApiError) as refused:
        changed(client, made.voice_id, source)
    assert (refused.value.status_code, detail_of(refused)["status"]) == (401, "quota_exceeded")
    assert client.history.list().history == []


@pytest.fixture(scope="module")
def history(stack: Stack, speaker: list[Path], source: bytes) -> Iterator[tuple[ElevenLabs, str, list[str]]]:
    """A client, a voice and the ids of three conversions into it, the newest first."""
    client = ElevenLabs(base_url=stack.url, api_key=new_workspace(stack, "historian").admin)
    files = [path.open("rb") for path in speaker]
    made = client.voices.ivc.create(name="Clio", files=files, labels=consent(client, "Clio"))
    for name in ("mp3_44100_128", "wav_24000", "pcm_16000"):
        changed(client, made.voice_id, source, output_format=name)
    yield client, made.voice_id, [item.history_item_id for item in client.history.list().history]


def test_the_history_is_listed_page_by_page(history: tuple[ElevenLabs, str, list[str]]) -> None:
    client, voice, codes = history
    assert len(codes) == 3
    first = strictly(client.history.list(page_size=2))
    assert ([item.history_item_id for item in first.history], first.has_more) == (codes[:2], True)
    assert first.last_history_item_id == codes[1]
    last = client.history.list(page_size=2, start_after_history_item_id=first.last_history_item_id)
    assert ([item.history_item_id for item in last.history], last.has_more) == (codes[2:], False)
    up = client.history.list(page_size=2, sort_direction="asc")
    rest = client.history.list(sort_direction="asc", start_after_history_item_id=up.last_history_item_id)
    assert [item.history_item_id for item in [*up.history, *rest.history]] == codes[::-1]
    assert len(client.history.list(voice_id=voice, source="STS").history) == 3
    assert client.history.list(source="TTS").history == client.history.list(voice_id="none").history == []
    assert len(client.history.list(date_after_unix=int(time.time()) - 3600, search="upload").history) == 3
    assert client.history.list(date_before_unix=int(time.time()) - 3600).history == []


def test_an_item_of_the_history_says_what_it_is(history: tuple[ElevenLabs, str, list[str]]) -> None:
    client, voice, codes = history
    item = strictly(client.history.get(codes[2]))
    assert (item.voice_id, item.voice_name, item.source, item.state) == (voice, "Clio", "STS", "created")
    assert (item.content_type, item.output_format) == ("audio/mpeg", "mp3_44100_128")
    assert abs(item.date_unix - time.time()) < 600


def test_the_sound_of_the_history_is_heard_again(history: tuple[ElevenLabs, str, list[str]]) -> None:
    client, _, codes = history
    assert heard(b"".join(client.history.get_audio(codes[2])))[0].startswith("mp3")
    one = b"".join(client.history.download(history_item_ids=[codes[1]]))
    assert heard(one)[:2] == ("pcm_s16le", 24_000)
    packed = zipfile.ZipFile(io.BytesIO(b"".join(client.history.download(history_item_ids=codes))))
    assert sorted(packed.namelist()) == sorted([f"{codes[0]}.wav", f"{codes[1]}.wav", f"{codes[2]}.mp3"])
    assert packed.read(f"{codes[1]}.wav") == one
    with pytest.raises(UnprocessableEntityError):
        list(client.history.download(history_item_ids=[codes[2]], output_format="wav", request_options=ONCE))


def test_an_item_of_the_history_is_deleted(client: ElevenLabs, ada: str, source: bytes) -> None:
    changed(client, ada, source)
    code = client.history.list(page_size=1).history[0].history_item_id
    assert client.history.delete(code).status == "ok"
    with pytest.raises(ApiError) as gone:
        client.history.get(code)
    assert (gone.value.status_code, detail_of(gone)["status"]) == (404, "history_item_not_found")


@pytest.mark.parametrize("call", ["convert", "stream", "convert_with_timestamps", "stream_with_timestamps"])
def test_text_to_speech_says_that_it_is_not_there_yet(client: ElevenLabs, ada: str, call: str) -> None:
    with pytest.raises(ApiError) as refused:
        found = getattr(client.text_to_speech, call)(ada, text="Hello", request_options=ONCE)
        list(found)
    assert (refused.value.status_code, detail_of(refused)["status"]) == (501, "not_implemented")


def test_other_calls_are_not_found_in_a_sentence(client: ElevenLabs) -> None:
    with pytest.raises(ApiError) as refused:
        client.voices.get_shared()
    assert refused.value.status_code == 404
    assert "/v1/shared-voices" in detail_of(refused)["message"]


def test_errors_are_those_of_the_sdk(stack: Stack, keys: Keys, ada: str, source: bytes) -> None:
    def told(key: str, ask: Callable[[ElevenLabs], Any]) -> tuple[int | None, str]:
        with pytest.raises(ApiError) as refused:
            ask(ElevenLabs(base_url=stack.url, api_key=key))
        return refused.value.status_code, detail_of(refused)["status"]

    assert told("vc_wrong", lambda sdk: sdk.voices.get_all()) == (401, "invalid_api_key")
    assert told("", lambda sdk: sdk.voices.get_all()) == (401, "needs_authorization")
    assert told(keys.read, lambda sdk: changed(sdk, ada, source)) == (403, "missing_permissions")
    assert told(keys.create, lambda sdk: sdk.voices.delete(ada)) == (403, "missing_permissions")
    assert told(keys.read, lambda sdk: sdk.voices.get("21m00Tcm4TlvDq8ikWAM")) == (404, "voice_not_found")
    assert told(keys.create, lambda sdk: changed(sdk, "21m00Tcm4TlvDq8ikWAM", source)) == (404, "voice_not_found")
    labels = consent(ElevenLabs(base_url=stack.url, api_key=keys.create), "Ada")
    taken = {"name": "Ada", "files": [source], "labels": labels, "request_options": ONCE}
    assert told(keys.create, lambda sdk: sdk.voices.ivc.create(**taken)) == (400, "conflict")


def test_a_withdrawn_consent_ends_it(stack: Stack, client: ElevenLabs, clone: Any, source: bytes) -> None:
    voice = clone("Withdrawn")
    stack.django(
        "from apps.voices.models import Consent\nfrom apps.voices.services.consents import withdraw_consent\n"
        "row = Consent.objects.get(voice__code=voice)\nwithdraw_consent(consent=row, user=row.given_by)",
        voice=voice,
    )
    with pytest.raises(ApiError) as refused:
        changed(client, voice, source)
    assert refused.value.status_code == 403
    assert "withdrawn" in detail_of(refused)["message"]
