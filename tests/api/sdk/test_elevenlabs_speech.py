"""The official ElevenLabs SDK, unmodified, against a running site: speech to speech, in every format."""

from __future__ import annotations

import hashlib
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from elevenlabs.client import ElevenLabs
from elevenlabs.errors import UnprocessableEntityError

from apps.api.compat.formats import OUTPUTS
from tests.api.sdk.calls import SECONDS, changed, detail_of, heard
from tests.api.sdk.keyring import Keys, generated, recorded
from tests.sounds import speech, wav_bytes
from tests.stack import Stack


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
        "row = Job.objects.filter(kind='conversion').order_by('-pk').first()\n"
        "result = [row.pk, row.status] if row else [0, '']"
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
    sounds = [wav_bytes(speech(2.0, rate=16_000, seed=100 + number), 16_000) for number in range(8)]
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
