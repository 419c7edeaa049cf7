"""Files by form and by resumable upload: good ones are kept, each bad one gets its own sentence."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.core.files.storage import default_storage

from apps.voices.models import Recording, Upload
from apps.voices.services.uploads import sweep_uploads
from tests.received import received
from tests.sounds import speech, wav_bytes
from tests.voices.conftest import upload

JSON = {"Accept": "application/json"}
OFFSET_BYTES = "application/offset+octet-stream"
GOOD = wav_bytes(speech(3.0, rate=16000), 16000)
OTHER = wav_bytes(speech(3.0, rate=16000, seed=7), 16000)


def post(client: Any, url: str, *files: Any) -> Any:
    return client.post(url, {"files": list(files)}, headers=JSON)


def test_many_files_at_once_become_recordings(client_of: Any, bob: Any, voice: Any, address: Any) -> None:
    answer = post(client_of(bob), address("add"), upload(GOOD, "one.wav"), upload(OTHER, "two.wav"))
    assert answer.status_code == 201
    assert [file["status"] for file in answer.json()["files"]] == [201, 201]
    assert set(voice.recordings.values_list("name", flat=True)) == {"one.wav", "two.wav"}
    one = voice.recordings.get(name="one.wav")
    assert (one.container, one.content_type, one.sample_rate, one.channels) == ("wav", "audio/wav", 16000, 1)
    assert one.duration == pytest.approx(3.0)
    with one.file.open() as kept:
        assert kept.read() == GOOD


def test_a_bad_file_loses_nothing_else_in_its_batch(client_of: Any, bob: Any, voice: Any, address: Any) -> None:
    files = [upload(b"<html><body>404", "song.mp3"), upload(GOOD, "good.wav"), upload(b"", "nothing.wav")]
    answer = post(client_of(bob), address("add"), *files)
    assert answer.status_code == 207
    fates = {file["name"]: file for file in answer.json()["files"]}
    assert fates["good.wav"]["status"] == 201
    assert (fates["song.mp3"]["status"], fates["nothing.wav"]["status"]) == (422, 422)
    assert "web page, not audio" in fates["song.mp3"]["message"]
    assert "empty" in fates["nothing.wav"]["message"]
    assert [recording.name for recording in voice.recordings.all()] == ["good.wav"]


def test_without_javascript_the_answer_lists_each_files_fate(
    client_of: Any, bob: Any, voice: Any, address: Any
) -> None:
    client = client_of(bob)
    answer = client.post(
        address("add"), {"files": [upload(b"no sound, just text here", "a.wav"), upload(GOOD, "b.wav")]}
    )
    assert answer.status_code == 207
    assert "text file, not audio" in answer.content.decode()
    assert client.post(address("add"), {"files": [upload(OTHER, "c.wav")]}).status_code == 302
    assert (
        client.post(address("add"), {"files": [upload(b"PK\x03\x04....", "d.wav"), upload(b"", "e.wav")]}).status_code
        == 422
    )
    assert client.post(address("add"), {}).status_code == 422


def test_the_same_bytes_twice_are_refused(client_of: Any, bob: Any, voice: Any, address: Any) -> None:
    answer = post(client_of(bob), address("add"), upload(GOOD, "one.wav"), upload(GOOD, "again.wav"))
    assert answer.status_code == 207
    assert answer.json()["files"][1]["status"] == 409
    assert "called “one.wav”" in answer.json()["files"][1]["message"]
    assert voice.recordings.count() == 1


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd.wav", "passwd.wav"),
        ("C:\\Windows\\system32\\x.wav", "x.wav"),
        ("/absolute.wav", "absolute.wav"),
        ("a\x07b\u202ec.wav", "abc.wav"),
        ("<script>alert(1)</script>.wav", "script>.wav"),
        ("ä" * 300 + ".wav", "ä" * 200),
        ("..", "recording"),
    ],
)
def test_a_file_name_is_shown_and_never_a_path(
    client_of: Any, bob: Any, voice: Any, address: Any, name: str, shown: str
) -> None:
    assert tus_upload(client_of(bob), address, GOOD, name).status_code == 204
    recording = voice.recordings.get()
    assert recording.name == shown
    assert recording.file.name == f"{voice.workspace.file_prefix}/recordings/{recording.code}"
    page = client_of(bob).get(address("detail")).content.decode()
    assert "<script>alert(1)" not in page


def test_a_file_that_is_too_large_is_answered_413(
    client_of: Any, bob: Any, voice: Any, address: Any, settings: Any
) -> None:
    settings.UPLOAD_MAX_BYTES = 50_000
    assert post(client_of(bob), address("add"), upload(GOOD)).status_code == 413
    answer = Tus(client_of(bob)).post(address("uploads"), headers={"Upload-Length": "50001"})
    assert answer.status_code == 413
    assert "at most 0 MB are accepted" in answer.content.decode()


def test_a_viewer_cannot_add(client_of: Any, victor: Any, address: Any) -> None:
    assert post(client_of(victor), address("add"), upload(GOOD)).status_code == 403
    assert Tus(client_of(victor)).post(address("uploads"), headers={"Upload-Length": "5"}).status_code == 403


# --- tus -------------------------------------------------------------------------------------------------------------


class Tus:
    """A client that says which tus it speaks."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __getattr__(self, method: str) -> Any:
        def ask(url: str, data: bytes = b"", headers: dict[str, str] | None = None) -> Any:
            headers = {"Tus-Resumable": "1.0.0", "Content-Type": OFFSET_BYTES, **(headers or {})}
            return self.client.generic(method.upper(), url, data, content_type=OFFSET_BYTES, headers=headers)

        return ask


def begin(client: Any, address: Any, size: int, name: str = "speech.wav") -> str:
    encoded = base64.b64encode(name.encode()).decode()
    headers = {"Upload-Length": str(size), "Upload-Metadata": f"filename {encoded},filetype YXVkaW8="}
    answer = Tus(client).post(address("uploads"), headers=headers)
    assert answer.status_code == 201
    return str(answer["Location"])


def tus_upload(client: Any, address: Any, content: bytes, name: str) -> Any:
    url = begin(client, address, len(content), name)
    return Tus(client).patch(url, content, headers={"Upload-Offset": "0"})


def test_an_upload_goes_on_where_it_was_cut(client_of: Any, bob: Any, voice: Any, address: Any) -> None:
    client = client_of(bob)
    url = begin(client, address, len(GOOD), "cut.wav")
    first = Tus(client).patch(url, GOOD[:40_000], headers={"Upload-Offset": "0"})
    assert (first.status_code, first["Upload-Offset"]) == (204, "40000")
    # The browser went away and came back: it asks how far it was.
    asked = Tus(client_of(bob)).head(url)
    assert (asked.status_code, asked["Upload-Offset"], asked["Upload-Length"]) == (200, "40000", str(len(GOOD)))
    assert asked["Cache-Control"] == "no-store"
    last = Tus(client).patch(url, GOOD[40_000:], headers={"Upload-Offset": "40000"})
    assert last.status_code == 204
    recording = voice.recordings.get()
    assert last["Recording-Location"] == address("recording", recording.code)
    with recording.file.open() as kept:
        assert kept.read() == GOOD
    assert not Upload.objects.exists()


def test_parts_are_gone_once_the_recording_is_there(
    client_of: Any, bob: Any, voice: Any, address: Any, at_once: Any
) -> None:
    client = client_of(bob)
    url = begin(client, address, len(GOOD))
    Tus(client).patch(url, GOOD[:40_000], headers={"Upload-Offset": "0"})
    part = Upload.objects.get().parts[0]
    assert default_storage.exists(part)
    with at_once():
        Tus(client).patch(url, GOOD[40_000:], headers={"Upload-Offset": "40000"})
    assert not default_storage.exists(part)


def test_a_wrong_offset_is_a_conflict_and_keeps_nothing(client_of: Any, bob: Any, address: Any) -> None:
    client = client_of(bob)
    url = begin(client, address, 100)
    Tus(client).patch(url, b"x" * 10, headers={"Upload-Offset": "0"})
    answer = Tus(client).patch(url, b"x" * 10, headers={"Upload-Offset": "0"})
    assert answer.status_code == 409
    assert "stands at byte 10, not 0" in answer.content.decode()
    assert Tus(client).head(url)["Upload-Offset"] == "10"


def test_of_two_requests_with_the_same_bytes_one_is_kept(
    client_of: Any, bob: Any, address: Any, monkeypatch: Any
) -> None:
    from apps.voices.services import uploads

    client = client_of(bob)
    url = begin(client, address, 100)
    real = uploads.store

    def overtaken(name: str, path: Any) -> str:
        stored = real(name, path)
        Upload.objects.update(offset=10)  # the other request was quicker
        return stored

    monkeypatch.setattr(uploads, "store", overtaken)
    answer = Tus(client).patch(url, b"x" * 10, headers={"Upload-Offset": "0"})
    assert answer.status_code == 409
    folder = Upload.objects.get().folder
    assert default_storage.listdir(folder)[1] == []


def test_more_bytes_than_announced_are_refused(client_of: Any, bob: Any, address: Any) -> None:
    client = client_of(bob)
    url = begin(client, address, 10)
    assert Tus(client).patch(url, b"x" * 11, headers={"Upload-Offset": "0"}).status_code == 413
    assert Tus(client).head(url)["Upload-Offset"] == "0"


def test_a_bad_file_gets_its_sentence_with_its_last_byte(client_of: Any, bob: Any, voice: Any, address: Any) -> None:
    client = client_of(bob)
    answer = tus_upload(client, address, b"%PDF-1.7" + b"x" * 100, "voice.wav")
    assert answer.status_code == 422
    assert answer["Content-Type"].startswith("text/plain")
    assert answer.content.decode() == "This is a PDF document, not audio; choose a sound file."
    assert not Upload.objects.exists()
    assert not voice.recordings.exists()


def test_the_fate_can_be_asked_again_when_its_answer_was_lost(
    client_of: Any, bob: Any, voice: Any, address: Any, monkeypatch: Any
) -> None:
    from apps.errors import Refused
    from apps.voices.services import recordings

    client = client_of(bob)
    real = recordings.inspect

    def busy(path: Any) -> Any:
        raise Refused("Many files are being checked right now; send this one again in a minute.", status=503)

    monkeypatch.setattr(recordings, "inspect", busy)
    url = begin(client, address, len(GOOD))
    assert Tus(client).patch(url, GOOD, headers={"Upload-Offset": "0"}).status_code == 503
    monkeypatch.setattr(recordings, "inspect", real)
    assert Tus(client).patch(url, b"", headers={"Upload-Offset": str(len(GOOD))}).status_code == 204
    assert voice.recordings.count() == 1


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("patch", {}, 400),
        ("patch", {"Upload-Offset": "-1"}, 400),
        ("patch", {"Upload-Offset": "²"}, 400),
        ("patch", {"Upload-Offset": "0", "Tus-Resumable": "0.2.2"}, 412),
        ("delete", {}, 204),
        ("post", {}, 405),
    ],
)
def test_the_protocol_is_kept(
    client_of: Any, bob: Any, address: Any, method: str, headers: dict[str, str], status: int
) -> None:
    client = client_of(bob)
    url = begin(client, address, 10)
    assert getattr(Tus(client), method)(url, b"x", headers=headers).status_code == status


@pytest.mark.parametrize("length", ["", "abc", "-5", "1e3", "9" * 30])
def test_an_unusable_length_is_refused(client_of: Any, bob: Any, address: Any, length: str) -> None:
    assert Tus(client_of(bob)).post(address("uploads"), headers={"Upload-Length": length}).status_code == 400


def test_a_name_that_is_no_base64_is_refused(client_of: Any, bob: Any, address: Any) -> None:
    headers = {"Upload-Length": "10", "Upload-Metadata": "filename ***"}
    assert Tus(client_of(bob)).post(address("uploads"), headers=headers).status_code == 400


def test_what_is_spoken_here_can_be_asked(client_of: Any, bob: Any, address: Any, settings: Any) -> None:
    answer = client_of(bob).options(address("uploads"))
    assert answer.status_code == 204
    assert answer["Tus-Version"] == "1.0.0"
    assert answer["Tus-Extension"] == "creation,termination"
    assert answer["Tus-Max-Size"] == str(settings.UPLOAD_MAX_BYTES)


def test_another_workspaces_upload_is_not_there(
    client_of: Any, bob: Any, charlie: Any, charlies: Any, address: Any
) -> None:
    url = begin(client_of(bob), address, 10)
    assert Tus(client_of(charlie)).head(url).status_code == 404
    assert Tus(client_of(charlie)).head(url.replace("/acme/", "/charlies/")).status_code == 404


def test_an_upload_left_alone_for_a_day_is_swept(client_of: Any, bob: Any, address: Any, at_once: Any) -> None:
    from datetime import timedelta

    from django.utils import timezone

    client = client_of(bob)
    Tus(client).patch(begin(client, address, 10), b"12345", headers={"Upload-Offset": "0"})
    part = Upload.objects.get().parts[0]
    assert sweep_uploads() == 0
    Upload.objects.update(touched_at=timezone.now() - timedelta(days=2))
    with at_once():
        assert sweep_uploads() == 1
    assert not default_storage.exists(part)


def test_a_recording_can_be_heard_and_downloaded_under_its_name(
    client_of: Any, bob: Any, victor: Any, voice: Any, address: Any
) -> None:
    tus_upload(client_of(bob), address, GOOD, "naïve “name”.wav")
    url = address("recording-audio", Recording.objects.get().code)
    heard = received(client_of(victor).get(url))
    assert heard.headers["Content-Type"] == "audio/wav"
    assert heard.headers["Content-Disposition"].startswith("inline")
    saved = received(client_of(victor).get(url + "?download"))
    assert saved.headers["Content-Disposition"].startswith("attachment")
