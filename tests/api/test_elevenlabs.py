"""The official ElevenLabs SDK, unmodified, against a running site: a test for each call that docs/api.md lists."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
import soundfile
from elevenlabs import VoiceSettings
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.core.request_options import RequestOptions
from elevenlabs.errors import UnprocessableEntityError

from apps.api.compat.formats import OUTPUTS
from tests.api.keyring import Keys, generated, new_workspace, recorded
from tests.sounds import speech, wav_bytes
from tests.stack import Stack

ONCE: RequestOptions = {"max_retries": 0}  # what is refused here stays refused
SECONDS = 2.0


@pytest.fixture(scope="module")
def keys(stack: Stack) -> Keys:
    """Keys of the workspace that these tests are about."""
    return new_workspace(stack, "elevens")


@pytest.fixture(scope="module")
def client(stack: Stack, keys: Keys) -> ElevenLabs:
    """The SDK with nothing changed but its base URL."""
    return ElevenLabs(base_url=stack.url, api_key=keys.admin)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: Any) -> list[Path]:
    """Two files of somebody who speaks."""
    folder = tmp_path_factory.mktemp("speaker")
    return [generated(folder / f"{number}.wav", 9.0, seed=number) for number in (1, 2)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: Any) -> bytes:
    """Two seconds of somebody else, at 24 kHz."""
    return generated(tmp_path_factory.mktemp("source") / "source.wav", SECONDS, seed=9).read_bytes()


def consent(client: ElevenLabs, name: str, **more: str) -> dict[str, str]:
    """Return the labels of a consent, with the statement that the site says they make."""
    labels = {"consent_speaker": "Ada Example", "consent_whose": "own", **more}
    with pytest.raises(UnprocessableEntityError) as refused:
        client.voices.ivc.create(name=name, files=[b"RIFF"], labels=labels, request_options=ONCE)
    [fault] = refused.value.body["detail"]
    assert (fault["loc"], fault["type"]) == (["body", "labels"], "consent_required")
    return {**labels, "consent": fault["msg"].split("label consent: ")[1]}


@pytest.fixture(scope="module")
def clone(client: ElevenLabs, speaker: list[Path]) -> Callable[[str], str]:
    """Return a function: a name -> the id of a voice that was cloned under it."""

    def make(name: str) -> str:
        files = [path.open("rb") for path in speaker]
        made = client.voices.ivc.create(name=name, files=files, labels=consent(client, name), request_options=ONCE)
        return made.voice_id

    return make


@pytest.fixture(scope="module")
def ada(clone: Callable[[str], str]) -> str:
    """The id of a voice that is ready."""
    return clone("Ada")


def heard(sound: bytes) -> tuple[str, int, int, float]:
    """Return codec, rate, bit rate and seconds of an encoded sound."""
    with av.open(io.BytesIO(sound)) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(audio=0))
        return stream.codec_context.name, stream.rate, stream.bit_rate or 0, samples / stream.rate


def changed(client: ElevenLabs, voice: str, audio: Any, **options: Any) -> bytes:
    """Convert a sound by the SDK and return all of it."""
    return b"".join(client.speech_to_speech.convert(voice, audio=audio, request_options=ONCE, **options))


def detail_of(error: pytest.ExceptionInfo[ApiError]) -> dict[str, str]:
    """Return the detail of an error, which has exactly a status and a message."""
    detail = error.value.body["detail"]
    assert set(detail) == {"status", "message"} and detail["message"].endswith((".", "!"))
    return dict(detail)


def strictly(found: Any) -> Any:
    """Check an answer by the SDK's own types, which it does not insist on itself."""
    return type(found).model_validate(found.model_dump())


# --- voices -----------------------------------------------------------------------------------------------------------


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
    assert usual.similarity_boost == 0.8 == client.voices.settings.get(voice).similarity_boost
    assert client.voices.settings.update(voice, request=VoiceSettings(similarity_boost=0.3)).status == "ok"
    assert client.voices.settings.get(voice).similarity_boost == 0.3
    voice_now = client.voices.get(voice)
    assert voice_now.settings is not None and voice_now.settings.similarity_boost == 0.3
    changed(client, voice, source)
    item = client.history.list(voice_id=voice).history[0]
    assert (item.settings or {})["similarity_boost"] == 0.3
    with pytest.raises(UnprocessableEntityError):
        client.voices.settings.update(voice, request=VoiceSettings(stability=7.0), request_options=ONCE)


# --- speech to speech -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speaker_id", ["generated", "ljspeech"])
def test_a_sound_becomes_another_voice(client: ElevenLabs, ada: str, source: bytes, speaker_id: str) -> None:
    sound, seconds = source, SECONDS
    if speaker_id != "generated":
        found = recorded(speaker_id, 4.0)
        if found is None:
            pytest.skip("the recordings of real speakers are not here")
        sound, seconds = wav_bytes(*found), len(found[0]) / found[1]
    made = changed(client, ada, io.BytesIO(sound))
    codec, rate, bit_rate, length = heard(made)
    assert (codec.removesuffix("float"), rate, bit_rate) == ("mp3", 44_100, 128_000)
    assert length == pytest.approx(seconds, abs=0.1)


def test_the_stream_brings_the_same_sound(client: ElevenLabs, ada: str, source: bytes) -> None:
    blocks = list(client.speech_to_speech.stream(ada, audio=source, seed=4, output_format="pcm_16000"))
    assert len(blocks) > 10  # as the SDK cuts it: 1024 bytes each
    assert b"".join(blocks) == changed(client, ada, source, seed=4, output_format="pcm_16000")


@pytest.mark.parametrize(
    "name", ["mp3_22050_32", "mp3_24000_48", "mp3_44100_192", "opus_48000_64", "wav_24000", "wav_48000"]
)
def test_files_have_the_format_that_was_asked_for(client: ElevenLabs, ada: str, source: bytes, name: str) -> None:
    codec, rate, bit_rate, seconds = heard(changed(client, ada, source, output_format=name))
    kind, *numbers = name.split("_")
    assert codec.removesuffix("float") == {"mp3": "mp3", "opus": "opus", "wav": "pcm_s16le"}[kind]
    assert rate == int(numbers[0])
    if kind == "mp3":
        assert bit_rate == 1000 * int(numbers[1])
    assert seconds == pytest.approx(SECONDS, abs=0.15)


@pytest.mark.parametrize("name", [name for name in OUTPUTS if name.startswith("pcm_")])
def test_raw_samples_have_no_header(client: ElevenLabs, ada: str, source: bytes, name: str) -> None:
    sound = changed(client, ada, source, output_format=name, seed=1)
    assert len(sound) == 2 * SECONDS * int(name.removeprefix("pcm_"))
    wav = changed(client, ada, source, output_format=name.replace("pcm", "wav"), seed=1)
    assert np.array_equal(np.frombuffer(sound, "<i2"), soundfile.read(io.BytesIO(wav), dtype="int16")[0])


def test_stereo_is_mixed_where_there_is_no_header_to_say_so(client: ElevenLabs, ada: str, source: bytes) -> None:
    samples, rate = soundfile.read(io.BytesIO(source), dtype="float32")
    stereo = wav_bytes(np.stack([samples, 0.5 * samples], axis=1), rate)
    sound = np.frombuffer(changed(client, ada, stereo, output_format="pcm_24000", seed=1), "<i2")
    both = soundfile.read(io.BytesIO(changed(client, ada, stereo, output_format="wav_24000", seed=1)), dtype="int16")[0]
    assert both.shape == (len(sound), 2)
    assert np.abs(both.mean(axis=1) - sound).max() <= 0.5


def test_raw_samples_are_taken_in(client: ElevenLabs, ada: str, source: bytes) -> None:
    samples, rate = soundfile.read(io.BytesIO(source), dtype="int16")
    raw = samples[:16_000].astype("<i2").tobytes()  # said to have 16 kHz: one second
    sound = changed(client, ada, raw, file_format="pcm_s16le_16", output_format="pcm_16000")
    assert len(sound) == 32_000


def test_a_seed_gives_the_same_sound_again(client: ElevenLabs, ada: str, source: bytes) -> None:
    first, again, other = (changed(client, ada, source, seed=seed, output_format="wav_16000") for seed in (7, 7, 8))
    assert soundfile.read(io.BytesIO(first))[0].tobytes() == soundfile.read(io.BytesIO(again))[0].tobytes()
    assert first != other


def test_what_a_request_says_is_what_is_asked_of_the_engine(
    stack: Stack, client: ElevenLabs, ada: str, source: bytes
) -> None:
    settings = json.dumps({"similarity_boost": 0.4, "stability": 0.5, "style": 0.1, "use_speaker_boost": True})
    options: dict[str, Any] = {"voice_settings": settings, "model_id": "voicecloud_fast", "seed": 2**32 - 1}
    changed(client, ada, source, remove_background_noise=True, output_format="mp3_44100_64", **options)
    kept = stack.django(
        "from apps.studio.models import Conversion\n"
        "row = Conversion.objects.filter(voice__code=voice).first()\n"
        "result = [row.options, row.seed, row.job.usage.api_key.scope]",
        voice=ada,
    )
    wanted = {"retrieval": 0.4, "preset": "fast", "denoise": 1.0, "format": "mp3", "sample_rate": 44_100}
    assert {name: kept[0][name] for name in wanted} == wanted
    assert kept[0]["bit_rate"] == 64_000
    assert kept[1:] == [2**31 - 1, "admin"]
    changed(client, ada, source, model_id="eleven_multilingual_sts_v2", remove_background_noise=False)
    item = client.history.list(voice_id=ada).history[0]
    assert item.model_id == "voicecloud_balanced"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"output_format": "ulaw_8000"}, "output_format"),
        ({"output_format": "pcm_8000"}, "output_format"),
        ({"voice_settings": "{"}, "voice_settings"),
        ({"voice_settings": "[1]"}, "voice_settings"),
        ({"voice_settings": '{"similarity_boost": 2}'}, "similarity_boost"),
        ({"voice_settings": '{"similarity_boost": "much"}'}, "similarity_boost"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"file_format": "vinyl"}, "file_format"),
    ],
)
def test_what_cannot_be_done_is_told_with_its_field(
    client: ElevenLabs, ada: str, source: bytes, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(UnprocessableEntityError) as refused:
        changed(client, ada, source, **options)
    [fault] = refused.value.body["detail"]
    assert set(fault) == {"loc", "msg", "type"} and fault["loc"][-1] == field


def test_what_is_no_sound_is_refused(client: ElevenLabs, ada: str) -> None:
    with pytest.raises(UnprocessableEntityError) as refused:
        changed(client, ada, b"this is text and no sound")
    assert detail_of(refused)["status"] == "invalid_content"


def test_a_request_that_is_not_to_be_remembered_leaves_nothing(
    stack: Stack, client: ElevenLabs, ada: str, tmp_path: Path
) -> None:
    own = generated(tmp_path / "own.wav", 1.0, seed=31).read_bytes()
    before = [item.history_item_id for item in client.history.list(voice_id=ada).history]
    assert heard(changed(client, ada, own, enable_logging=False))[3] == pytest.approx(1.0, abs=0.1)
    count = "from apps.studio.models import Source\nresult = Source.objects.filter(sha256=sha256).count()"
    sha256 = hashlib.sha256(own).hexdigest()
    stack.wait_until(lambda: stack.django(count, sha256=sha256) == 0, seconds=10)
    assert [item.history_item_id for item in client.history.list(voice_id=ada).history] == before


def test_the_older_address_works_too(stack: Stack, keys: Keys, ada: str, source: bytes) -> None:
    for path in (f"/v1/speech-to-speech/{ada}", f"/v1/speech-to-speech/{ada}/stream"):
        answer = httpx.post(
            f"{stack.url}{path}",
            params={"output_format": "pcm_16000"},
            files={"audio": source},
            headers={"Authorization": f"Bearer {keys.create}"},
            timeout=120,
        )
        assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/pcm")
        assert len(answer.content) == 2 * SECONDS * 16_000
        item = answer.headers["history-item-id"]
        assert httpx.get(f"{stack.url}/v1/history/{item}", headers={"xi-api-key": keys.read}).status_code == 200


def test_who_hangs_up_cancels_the_conversion(stack: Stack, keys: Keys, ada: str, tmp_path: Path) -> None:
    long = generated(tmp_path / "long.wav", 240.0, seed=11, rate=16_000)
    address = f"{stack.url}/v1/voice-changer/{ada}"
    newest = (
        "from apps.jobs.models import Job\n"
        "row = Job.objects.filter(kind='conversion').order_by('-pk').first()\nresult = [row.pk, row.status]"
    )
    before = stack.django(newest)[0]
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            address,
            files={"audio": long.open("rb")},
            headers={"xi-api-key": keys.create},
            timeout=httpx.Timeout(30.0, read=2.0),
        )
    stack.wait_until(lambda: stack.django(newest)[0] > before, seconds=20)
    stack.wait_until(lambda: stack.django(newest)[1] == "cancelled", seconds=20)


def test_requests_that_wait_hold_nobody_up(stack: Stack, client: ElevenLabs, keys: Keys, ada: str) -> None:
    sounds = [wav_bytes(speech(2.0, rate=16_000, seed=100 + number), 16_000) for number in range(16)]
    with ThreadPoolExecutor(len(sounds)) as pool:
        made = [pool.submit(changed, client, ada, sound, output_format="pcm_16000") for sound in sounds]
        took = []
        while not all(one.done() for one in made):
            begun = time.monotonic()
            httpx.get(f"{stack.url}/v1/models", headers={"xi-api-key": keys.read}, timeout=30).raise_for_status()
            took.append(time.monotonic() - begun)
            time.sleep(0.1)
        assert {len(one.result()) for one in made} == {64_000}
    assert len(took) > 5 and sorted(took)[len(took) // 2] < 1.0


# --- models, user, history --------------------------------------------------------------------------------------------


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


# --- what is not there, and errors ------------------------------------------------------------------------------------


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
