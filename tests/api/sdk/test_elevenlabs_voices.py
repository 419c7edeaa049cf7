"""The official ElevenLabs SDK, unmodified, against a running site: each call about voices that docs/api.md lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elevenlabs import VoiceSettings
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.errors import UnprocessableEntityError

from tests.api.sdk.calls import ONCE, changed, consent, detail_of, strictly
from tests.api.sdk.keyring import generated
from tests.stack import Stack


def test_a_voice_is_cloned_from_files_and_is_there(client: ElevenLabs, ada: str) -> None:
    voice = strictly(client.voices.get(ada))
    assert (voice.voice_id, voice.name, voice.category) == (ada, "Ada", "cloned")
    assert [sample.mime_type for sample in voice.samples] == ["audio/wav", "audio/wav"]
    assert voice.samples[0].duration_secs == pytest.approx(9.0, abs=0.01)
    assert ada in [one.voice_id for one in strictly(client.voices.get_all()).voices]


def test_the_consent_that_was_sent_is_what_is_kept(stack: Stack, client: ElevenLabs, ada: str) -> None:
    kept = stack.django(
        "from apps.voices.models import Consent\n"
        "row = Consent.objects.get(voice__code=voice)\n"
        "result = [row.full_name, row.is_own_voice, row.commercial, row.statement, str(row.given_by)]",
        voice=ada,
    )
    statement = consent(client, "Ada")["consent"]
    assert kept == ["Ada Example", True, False, statement, "Elevens"]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (None, "Nobody's voice is cloned without consent."),
        ({"language": "en"}, "consent_speaker"),
        ({"consent_speaker": "Ada", "consent_whose": "stolen", "consent": "I agree."}, "consent_whose"),
        ({"consent_speaker": "Ada", "consent_whose": "own", "consent": "I agree."}, "I, Ada, agree that recordings"),
        ({"consent_speaker": "Ada", "consent_whose": "permission"}, "Ada has given me permission"),
        ({"consent_speaker": "Ada", "consent_whose": "own", "consent_until": "2001-01-01"}, "is over"),
        ({"consent_speaker": "Ada", "consent_whose": "own", "consent_singing": "perhaps"}, "“yes” or “no”"),
    ],
)
def test_no_voice_is_cloned_without_a_consent(
    client: ElevenLabs, speaker: list[Path], labels: dict[str, str] | None, says: str
) -> None:
    given = {} if labels is None else {"labels": labels}
    with pytest.raises(UnprocessableEntityError) as refused:
        client.voices.ivc.create(name="Nobody", files=[speaker[0].open("rb")], request_options=ONCE, **given)
    assert says in refused.value.body["detail"][0]["msg"]
    assert client.voices.search(search="Nobody").voices == []


def test_files_that_make_no_voice_leave_none_behind(client: ElevenLabs, tmp_path: Path) -> None:
    short = generated(tmp_path / "short.wav", 3.0, seed=5)
    for files, says in (([short.open("rb")], "needs 10 s"), ([b"no sound at all"], "")):
        with pytest.raises(ApiError) as refused:
            client.voices.ivc.create(name="Short", files=files, labels=consent(client, "Short"), request_options=ONCE)
        assert refused.value.status_code in (400, 422)
        assert says in json.dumps(refused.value.body)
    assert client.voices.search(search="Short").voices == []


def test_voices_are_searched_page_by_page(client: ElevenLabs, ada: str, clone: Callable[[str], str]) -> None:
    second, third = clone("Search one"), clone("Search two")
    first = strictly(client.voices.search(search="Search", page_size=1, include_total_count=True))
    assert ([voice.voice_id for voice in first.voices], first.has_more, first.total_count) == ([second], True, 2)
    last = client.voices.search(search="Search", page_size=1, next_page_token=first.next_page_token)
    assert ([voice.voice_id for voice in last.voices], last.has_more, last.next_page_token) == ([third], False, None)
    down = client.voices.search(search="Search", page_size=1, sort="created_at_unix", sort_direction="desc")
    more = client.voices.search(
        search="Search", sort="created_at_unix", sort_direction="desc", next_page_token=down.next_page_token
    )
    assert [voice.voice_id for voice in [*down.voices, *more.voices]] == [third, second]
    assert [voice.voice_id for voice in client.voices.search(voice_ids=[ada, "21m00Tcm4TlvDq8ikWAM"]).voices] == [ada]
    assert client.voices.search(category="professional").voices == []
    assert client.voices.search(voice_type="community").voices == []
    assert len(client.voices.search(category="cloned").voices) >= 3


def test_a_voice_is_renamed_gets_files_and_loses_them(client: ElevenLabs, clone: Any, tmp_path: Path) -> None:
    voice = clone("Before")
    more = generated(tmp_path / "more.wav", 4.0, seed=7)
    edited = client.voices.update(voice, name="After", description="Deep.", files=[more.open("rb")])
    assert edited.status == "ok"
    found = client.voices.get(voice)
    assert (found.name, found.description, len(found.samples or [])) == ("After", "Deep.", 3)
    sample = str((found.samples or [])[2].sample_id)
    assert b"".join(client.voices.samples.audio.get(voice, sample)) == more.read_bytes()
    assert client.samples.delete(voice, sample).status == "ok"
    assert len(client.voices.get(voice).samples or []) == 2


def test_a_voice_is_deleted(client: ElevenLabs, clone: Any) -> None:
    voice = clone("Short-lived")
    assert client.voices.delete(voice).status == "ok"
    with pytest.raises(ApiError) as gone:
        client.voices.get(voice)
    assert (gone.value.status_code, detail_of(gone)["status"]) == (404, "voice_not_found")


def test_settings_are_kept_for_a_voice(client: ElevenLabs, clone: Any, stack: Stack, source: bytes) -> None:
    voice = clone("Tuned")
    usual = strictly(client.voices.settings.get_default())
    assert usual.similarity_boost == 0.7 == client.voices.settings.get(voice).similarity_boost
    assert client.voices.settings.update(voice, request=VoiceSettings(similarity_boost=0.3)).status == "ok"
    assert client.voices.settings.get(voice).similarity_boost == 0.3
    voice_now = client.voices.get(voice)
    assert voice_now.settings is not None and voice_now.settings.similarity_boost == 0.3
    changed(client, voice, source)
    item = client.history.list(voice_id=voice).history[0]
    assert (item.settings or {})["similarity_boost"] == 0.3
    with pytest.raises(UnprocessableEntityError):
        client.voices.settings.update(voice, request=VoiceSettings(stability=7.0), request_options=ONCE)
