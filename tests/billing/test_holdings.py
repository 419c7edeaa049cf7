"""What a workspace may hold: voices, seats, bytes; nothing is added beyond it, and nothing is taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.urls import reverse

from apps.accounts import services as people
from apps.billing.errors import QuotaExceeded
from apps.billing.services import holdings
from apps.billing.services.subscriptions import apply, subscription_of
from apps.errors import Refused
from apps.studio.services import add_source
from apps.voices.models import Recording, Upload
from apps.voices.services import uploads
from apps.voices.services.recordings import add_recording
from apps.voices.services.voices import create_voice
from tests.holdings import fill
from tests.sounds import tone, wav_bytes


def put_on(workspace: Any, plan: str) -> None:
    """Give the workspace the plan, as staff do."""
    subscription = subscription_of(workspace)
    subscription.plan = plan
    subscription.save()
    apply(subscription)
    workspace.refresh_from_db()


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function: bytes -> plans have so much storage."""
    from apps.billing import plans

    def set_room(size: int) -> None:
        monkeypatch.setattr(
            plans.Plan, "limits", property(lambda plan: {"storage_bytes": size, "voices": 2, "seats": 4}), raising=False
        )

    return set_room


@pytest.fixture
def sent() -> Iterator[Callable[[bytes], TemporaryUploadedFile]]:
    """Return a function: bytes -> a file as a form brings it."""
    files = []

    def make(content: bytes) -> TemporaryUploadedFile:
        file = TemporaryUploadedFile("song.wav", "audio/wav", len(content), None)
        file.write(content)
        file.flush()
        files.append(file)
        return file

    yield make
    for file in files:
        file.close()


def test_every_file_of_a_workspace_is_counted_once(acme: Any, alice: Any, charlies: Any, charlie: Any) -> None:
    fill(charlies, charlie)
    held = fill(acme, alice)
    sized = sum(held[name].size for name in ("recording", "model", "source", "artifact", "upload"))
    assert holdings.stored_bytes(acme) == sized > 0
    assert {"recordings", "sources", "made files"} <= {kind.name for kind in holdings.kinds()}


def test_an_empty_workspace_holds_nothing(acme: Any) -> None:
    assert holdings.stored_bytes(acme) == 0


def test_counting_all_files_is_one_query(acme: Any, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        holdings.stored_bytes(acme)


def test_voices_up_to_the_limit_and_no_further(acme: Any, bob: Any) -> None:
    put_on(acme, "free")
    for name in ("Anna", "Ben"):
        create_voice(workspace=acme, user=bob, name=name)
    with pytest.raises(QuotaExceeded) as caught:
        create_voice(workspace=acme, user=bob, name="Cleo")
    no = caught.value
    assert (no.status, no.meter, no.wanted, no.left, no.resets_at) == (402, "voices", 1, 0, None)
    assert no.message == (
        "Your plan holds 2 voices and there are 2 already. Delete one first, or choose a larger plan."
    )
    assert acme.voices.count() == 2
    acme.voices.first().delete()
    create_voice(workspace=acme, user=bob, name="Cleo")


def test_a_plan_without_a_limit_has_none(acme: Any, bob: Any) -> None:
    put_on(acme, "unlimited")
    for number in range(5):
        create_voice(workspace=acme, user=bob, name=f"Voice {number}")


def test_the_page_says_what_a_plan_holds(acme: Any, bob: Any, client_of: Any) -> None:
    put_on(acme, "free")
    for name in ("Anna", "Ben"):
        create_voice(workspace=acme, user=bob, name=name)
    answer = client_of(bob).post(reverse("voices:new", args=["acme"]), {"name": "Cleo"})
    assert answer.status_code == 402
    assert "there are 2 already" in answer.content.decode()


def test_a_recording_that_does_not_fit_leaves_nothing_behind(
    acme: Any, bob: Any, room: Callable[[int], None], tmp_path: Path
) -> None:
    voice = create_voice(workspace=acme, user=bob, name="Anna")
    path = tmp_path / "one.wav"
    path.write_bytes(wav_bytes(tone(1.0)))
    size = path.stat().st_size
    room(size - 1)
    with pytest.raises(QuotaExceeded) as caught:
        add_recording(voice=voice, user=bob, path=path, name="one.wav")
    assert (caught.value.wanted, caught.value.left) == (size, size - 1)
    assert not Recording.objects.exists()
    assert stored_files(acme) == []


def test_a_file_on_its_way_has_its_place_from_the_start(acme: Any, bob: Any, room: Callable[[int], None]) -> None:
    voice = create_voice(workspace=acme, user=bob, name="Anna")
    room(1000)
    upload = uploads.begin(voice=voice, user=bob, name="one.wav", size=700)
    with pytest.raises(QuotaExceeded):
        uploads.begin(voice=voice, user=bob, name="two.wav", size=301)
    uploads.begin(voice=voice, user=bob, name="three.wav", size=300)
    uploads.abandon(upload)
    uploads.begin(voice=voice, user=bob, name="two.wav", size=700)


def test_what_was_announced_is_not_counted_twice_when_it_arrives(
    acme: Any, bob: Any, room: Callable[[int], None], tmp_path: Path
) -> None:
    voice = create_voice(workspace=acme, user=bob, name="Anna")
    sound = wav_bytes(tone(1.0))
    room(len(sound))
    upload = uploads.begin(voice=voice, user=bob, name="one.wav", size=len(sound))
    path = tmp_path / "part"
    path.write_bytes(sound)
    with path.open("rb") as source:
        upload = uploads.append(upload=upload, offset=0, source=source)
    recording = uploads.finish(upload=upload)
    assert not Upload.objects.exists()
    assert holdings.stored_bytes(acme) == recording.size == len(sound)


def test_a_source_that_does_not_fit_is_refused(
    acme: Any, bob: Any, room: Callable[[int], None], sent: Callable[[bytes], TemporaryUploadedFile]
) -> None:
    sound = wav_bytes(tone(1.0))
    room(len(sound) - 1)
    with pytest.raises(QuotaExceeded, match="of your plan's .* of storage is left"):
        add_source(workspace=acme, user=bob, upload=sent(sound))
    assert stored_files(acme) == []
    room(len(sound))
    source = add_source(workspace=acme, user=bob, upload=sent(sound))
    assert add_source(workspace=acme, user=bob, upload=sent(sound)) == source, "the same bytes take no more room"


def stored_files(workspace: Any) -> list[str]:
    """The workspace's files in the storage."""
    from django.core.files.storage import default_storage

    root = Path(default_storage.path(workspace.file_prefix))
    return [str(path) for path in root.rglob("*") if path.is_file()]


def test_the_default_plan_holds_from_the_first_page_on(acme: Any, bob: Any, client_of: Any, settings: Any) -> None:
    settings.DEFAULT_PLAN = "free"
    client_of(bob).get("/w/acme/")
    acme.refresh_from_db()
    assert (acme.seats, acme.voice_limit, acme.job_limit, acme.retention_days) == (1, 2, 1, 14)


def test_a_default_plan_without_limits_leaves_those_that_staff_set(acme: Any, bob: Any, client_of: Any) -> None:
    acme.job_limit = 7
    acme.save()
    client_of(bob).get("/w/acme/")
    acme.refresh_from_db()
    assert (acme.seats, acme.job_limit) == (None, 7)


def test_members_and_open_invitations_take_seats(acme: Any, alice: Any) -> None:
    acme.seats = 5
    acme.save()
    people.invite(workspace=acme, user=alice, email="dora@example.org", role="viewer")
    with pytest.raises(Refused, match="has 5 seats, and all are taken") as caught:
        people.invite(workspace=acme, user=alice, email="eve@example.org", role="viewer")
    assert caught.value.status == 402
    people.invite(workspace=acme, user=alice, email="dora@example.org", role="editor")  # again: still one seat
    people.withdraw(invitation=acme.invitations.get(), user=alice)
    people.invite(workspace=acme, user=alice, email="eve@example.org", role="viewer")


def test_a_link_into_a_full_workspace_waits_for_a_seat(acme: Any, alice: Any, charlie: Any, bob: Any) -> None:
    _, token = people.invite(workspace=acme, user=alice, email=charlie.email, role="viewer")
    acme.seats = 4
    acme.save()
    with pytest.raises(Refused, match="all are taken. Ask its owner") as caught:
        people.accept(token=token, user=charlie)
    assert caught.value.status == 402
    assert people.open_invitation(token).is_open
    people.remove_member(membership=acme.memberships.get(user=bob), user=alice)
    assert people.accept(token=token, user=charlie).role == "viewer"


def test_who_is_a_member_already_takes_no_seat(acme: Any, alice: Any, charlie: Any) -> None:
    _, token = people.invite(workspace=acme, user=alice, email=charlie.email, role="viewer")
    acme.memberships.create(user=charlie, role="editor")
    acme.seats = 4
    acme.save()
    assert people.accept(token=token, user=charlie).role == "editor"
