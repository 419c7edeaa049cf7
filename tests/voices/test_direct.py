"""Files that a browser puts into the object store itself: taken in once, byte for byte as announced, or not at all."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connections
from django.utils import timezone

from apps.errors import Refused
from apps.jobs import orphans
from apps.voices.models import Recording, Upload
from apps.voices.services import direct, uploads
from apps.voices.services.uploads import sweep_uploads
from tests.sounds import speech, wav_bytes

GOOD = wav_bytes(speech(3.0, rate=16000), 16000)
slow = pytest.mark.slow


def announce(client: Any, address: Any, size: int = len(GOOD), name: str = "speech.wav") -> Any:
    return client.post(address("direct"), {"name": name, "size": size})


def put(place: dict[str, Any], content: bytes = GOOD) -> int:
    """Send the bytes as a browser does; return the store's status."""
    request = urllib.request.Request(place["url"], content, place["headers"], method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def sent(client: Any, address: Any, content: bytes = GOOD, name: str = "speech.wav") -> dict[str, Any]:
    """Announce a file and put it into the store; return what was agreed."""
    place: dict[str, Any] = announce(client, address, len(content), name).json()
    assert put(place, content) == 200
    return place


def test_a_site_whose_files_lie_in_a_folder_says_no_and_names_the_other_way(
    client_of: Any, bob: Any, address: Any
) -> None:
    if direct.is_offered():
        pytest.skip("these tests run on a bucket now")
    page = client_of(bob).get(address("detail")).content.decode()
    assert "data-upload=" in page and "data-direct=" not in page
    answer = announce(client_of(bob), address)
    assert (answer.status_code, "in parts" in answer.content.decode()) == (409, True)
    assert not Upload.objects.exists()


@pytest.mark.parametrize("data", [{}, {"name": "a.wav"}, {"name": "a.wav", "size": "1e3"}, {"name": "a", "size": -1}])
def test_an_announcement_that_says_no_size_is_refused(
    client_of: Any, bob: Any, address: Any, data: dict[str, Any]
) -> None:
    answer = client_of(bob).post(address("direct"), data)
    assert answer.status_code == 400
    assert answer["Content-Type"].startswith("text/plain")


def test_pieces_that_no_upload_names_are_removed_a_day_later(
    voice: Any, bob: Any, at_once: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser may still be sending when its upload is forgotten, and a kill may leave a part."""
    prefix = f"{voice.workspace.file_prefix}/uploads"
    left = default_storage.save(f"{prefix}/{uuid4()}/whole", ContentFile(b"x"))
    upload = Upload.objects.create(voice=voice, user=bob, name="a.wav", size=1)
    wanted = default_storage.save(f"{prefix}/{upload.code}/whole", ContentFile(b"x"))
    monkeypatch.setattr(orphans, "FOLDERS_AT_ONCE", 10_000)
    sweep_uploads()
    assert default_storage.exists(left), "it may be on its way"
    monkeypatch.setattr(orphans, "GRACE", timedelta(seconds=-60))
    assert sweep_uploads() >= 1
    assert not default_storage.exists(left) and default_storage.exists(wanted)


@slow
def test_what_was_put_into_the_store_becomes_the_recording_without_leaving_it_again(
    client_of: Any, bob: Any, voice: Any, address: Any, storage: Any, at_once: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(bob)
    assert f'data-direct="{address("direct")}"' in client.get(address("detail")).content.decode()
    answer = announce(client, address, name="../naïve.wav")
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    assert put(answer.json()) == 200
    monkeypatch.setattr(storage, "_save", None)  # nothing is sent from here: what becomes the recording is copied there
    with at_once():
        monkeypatch.setattr("apps.voices.tasks.slice_recording", lambda pk: None)
        done = client.post(answer.json()["finish"])
    assert done.status_code == 204, done.content
    recording = voice.recordings.get()
    assert done["Recording-Location"] == address("recording", recording.code)
    assert (recording.name, recording.size, recording.container) == ("naïve.wav", len(GOOD), "wav")
    with storage.open(recording.file.name) as kept:
        assert kept.read() == GOOD
    assert not Upload.objects.exists()
    assert storage.listdir(f"{voice.workspace.file_prefix}/uploads") == ([], [])


@slow
def test_a_file_that_is_no_sound_gets_its_sentence_and_is_gone(
    client_of: Any, bob: Any, voice: Any, address: Any, storage: Any, at_once: Any
) -> None:
    client = client_of(bob)
    with at_once():
        answer = client.post(sent(client, address, b"%PDF-1.7" + b"x" * 100)["finish"])
    assert answer.status_code == 422
    assert answer.content.decode() == "This is a PDF document, not audio; choose a sound file."
    assert not Upload.objects.exists() and not voice.recordings.exists()
    assert storage.listdir(f"{voice.workspace.file_prefix}/uploads") == ([], [])


@slow
def test_a_file_that_did_not_arrive_or_not_whole_is_refused(
    client_of: Any, bob: Any, voice: Any, address: Any, storage: Any
) -> None:
    client = client_of(bob)
    missing = client.post(announce(client, address).json()["finish"])
    assert (missing.status_code, "has not arrived" in missing.content.decode()) == (409, True)
    place = announce(client, address).json()
    storage.save(Upload.objects.get().parts[0], ContentFile(GOOD[:-1]))  # as a store would that checks no length
    short = client.post(place["finish"])
    assert short.status_code == 409
    assert f"{len(GOOD) - 1} bytes arrived of {len(GOOD)}" in short.content.decode()
    assert not voice.recordings.exists() and not Upload.objects.exists()


@slow
def test_more_than_is_accepted_is_refused_before_it_is_sent(
    client_of: Any, bob: Any, address: Any, storage: Any, settings: Any
) -> None:
    settings.UPLOAD_MAX_BYTES = len(GOOD) - 1
    answer = announce(client_of(bob), address)
    assert (answer.status_code, Upload.objects.exists()) == (413, False)
    assert announce(client_of(bob), address, 0).status_code == 422


@slow
def test_what_is_exchanged_while_it_is_checked_does_not_become_the_recording(
    client_of: Any, bob: Any, voice: Any, address: Any, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.voices.services import recordings

    client, real = client_of(bob), recordings.inspect
    place = sent(client, address)

    def meanwhile(path: Any) -> Any:
        found = real(path)
        assert put(place, b"x" * len(GOOD)) == 200  # the signed address still works
        return found

    monkeypatch.setattr(recordings, "inspect", meanwhile)
    answer = client.post(place["finish"])
    assert (answer.status_code, "exchanged" in answer.content.decode()) == (409, True)
    assert not voice.recordings.exists() and not Upload.objects.exists()


@slow
def test_when_all_checks_are_taken_the_file_waits_and_is_taken_in_later(
    client_of: Any, bob: Any, voice: Any, address: Any, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.voices.services import recordings

    def busy(path: Any) -> Any:
        raise Refused("Many files are being checked right now; send this one again in a minute.", status=503)

    client, real = client_of(bob), recordings.inspect
    place = sent(client, address)
    monkeypatch.setattr(recordings, "inspect", busy)
    assert client.post(place["finish"]).status_code == 503
    monkeypatch.setattr(recordings, "inspect", real)
    assert client.post(place["finish"]).status_code == 204
    assert voice.recordings.count() == 1


@slow
def test_an_upload_is_taken_in_by_one_request_at_a_time(client_of: Any, bob: Any, address: Any, storage: Any) -> None:
    client = client_of(bob)
    place = sent(client, address)
    Upload.objects.update(claimed_at=timezone.now() - direct.CLAIM_LASTS + timedelta(minutes=1))
    answer = client.post(place["finish"])
    assert (answer.status_code, "being checked already" in answer.content.decode()) == (409, True)
    Upload.objects.update(claimed_at=timezone.now() - direct.CLAIM_LASTS - timedelta(minutes=1))
    assert client.post(place["finish"]).status_code == 204, "its claimer has died"
    assert client.post(place["finish"]).status_code == 404


@slow
@pytest.mark.django_db(transaction=True)
def test_of_many_who_finish_at_once_one_makes_the_recording(
    client_of: Any, bob: Any, voice: Any, address: Any, storage: Any, settings: Any
) -> None:
    settings.JOBS_INLINE = False
    place = sent(client_of(bob), address)
    start, seen = threading.Barrier(4), []
    clients = [client_of(bob) for _ in range(4)]

    def finish(client: Any) -> None:
        try:
            start.wait(30)
            seen.append(client.post(place["finish"]).status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=finish, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(seen)[0] == 204 and set(seen[:]) <= {204, 404, 409} and seen.count(204) == 1, seen
    assert Recording.objects.count() == 1 and not Upload.objects.exists()
    with Recording.objects.get().file.open() as kept:
        assert kept.read() == GOOD


@slow
def test_parts_and_whole_files_are_not_mixed(client_of: Any, bob: Any, voice: Any, address: Any, storage: Any) -> None:
    client = client_of(bob)
    place = announce(client, address).json()
    tus = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
    kind = "application/offset+octet-stream"
    assert client.generic("PATCH", place["upload"], GOOD, kind, headers=tus).status_code == 409
    parts = uploads.begin(voice=voice, user=bob, name="a.wav", size=10)
    assert client.post(address("direct-finish", parts.code)).status_code == 409
    assert Upload.objects.count() == 2


@slow
def test_a_cancelled_upload_leaves_nothing(
    client_of: Any, bob: Any, voice: Any, address: Any, storage: Any, at_once: Any
) -> None:
    client = client_of(bob)
    place = sent(client, address)
    with at_once():
        assert client.delete(place["upload"], headers={"Tus-Resumable": "1.0.0"}).status_code == 204
    assert storage.listdir(f"{voice.workspace.file_prefix}/uploads") == ([], [])


@slow
def test_an_upload_left_alone_for_a_day_is_swept_with_its_object(
    client_of: Any, bob: Any, voice: Any, address: Any, storage: Any, at_once: Any
) -> None:
    sent(client_of(bob), address)
    Upload.objects.update(touched_at=timezone.now() - timedelta(days=2))
    with at_once():
        assert sweep_uploads() == 1
    assert not Upload.objects.exists()
    assert storage.listdir(f"{voice.workspace.file_prefix}/uploads") == ([], [])


@slow
def test_another_workspace_can_neither_finish_nor_cancel_it(
    client_of: Any, bob: Any, charlie: Any, charlies: Any, address: Any, storage: Any
) -> None:
    place = sent(client_of(bob), address)
    stranger = client_of(charlie)
    for url in (place["finish"], place["finish"].replace("/acme/", "/charlies/")):
        assert stranger.post(url).status_code == 404
    assert Upload.objects.get().claimed_at is None
