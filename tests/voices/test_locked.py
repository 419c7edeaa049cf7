"""A workspace with more voices than its plan holds: the others are locked, kept in full, and can be chosen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from apps.billing.models import Subscription
from apps.errors import Refused
from apps.studio.options import defaults
from apps.studio.services import submit_conversion
from apps.voices.models import Voice
from apps.voices.services import locks, training, uploads
from apps.voices.services.recordings import add_recording
from tests.holdings import fill
from tests.received import received

NAMES = ("Anna", "Ben", "Cleo", "Dora")


@pytest.fixture
def voices(acme: Any, bob: Any) -> dict[str, Any]:
    """Four voices, the first the oldest, in a workspace whose plan holds two."""
    Subscription.objects.create(workspace=acme, plan="free", anchor=acme.created_at)
    acme.voice_limit = 2
    acme.save()
    made = {name: Voice.objects.create(workspace=acme, name=name, created_by=bob) for name in NAMES}
    for age, voice in enumerate(made.values()):
        Voice.objects.filter(pk=voice.pk).update(created_at=timezone.now() - timedelta(days=10 - age))
    return made


def locked_names(workspace: Any) -> set[str]:
    return set(Voice.objects.filter(pk__in=locks.locked_of(workspace)).values_list("name", flat=True))


def test_the_oldest_stay_usable(acme: Any, voices: dict[str, Any]) -> None:
    assert locked_names(acme) == {"Cleo", "Dora"}
    assert locks.is_locked(voices["Dora"]) and not locks.is_locked(voices["Anna"])
    assert Voice.objects.count() == 4, "nothing is deleted"


def test_a_larger_plan_unlocks_them(acme: Any, voices: dict[str, Any], django_assert_num_queries: Any) -> None:
    for limit in (4, None):
        acme.voice_limit = limit
        assert not locks.locked_of(acme)
    with django_assert_num_queries(0):
        locks.locked_of(acme)


def test_a_locked_voice_makes_nothing_new(acme: Any, bob: Any, voices: dict[str, Any], tmp_path: Path) -> None:
    voice = voices["Dora"]
    voice.workspace = acme
    path = tmp_path / "one.wav"
    path.write_bytes(b"RIFF")
    for start in (
        lambda: training.train(voice=voice, user=bob, options={"preset": "fast"}),
        lambda: training.make_instant(voice=voice, user=bob),
        lambda: add_recording(voice=voice, user=bob, path=path, name="one.wav"),
        lambda: uploads.begin(voice=voice, user=bob, name="one.wav", size=10),
    ):
        with pytest.raises(Refused, match="“Dora” is locked: your plan holds 2 voices") as caught:
            start()
        assert caught.value.status == 402


def test_a_locked_voice_is_not_converted_into(acme: Any, alice: Any, voices: dict[str, Any]) -> None:
    held = fill(acme, alice)  # the newest voice
    with pytest.raises(Refused, match="is locked") as caught:
        submit_conversion(workspace=acme, user=alice, voice=held["voice"], source=held["source"], options=defaults())
    assert caught.value.status == 402


def test_it_is_seen_heard_and_deleted_as_ever(acme: Any, alice: Any, voices: dict[str, Any], client_of: Any) -> None:
    held = fill(acme, alice)
    voice, client = held["voice"], client_of(alice)
    assert locks.is_locked(voice)
    page = client.get(reverse("voices:detail", args=["acme", voice.code])).content.decode()
    assert "This voice is locked." in page and "Use this one instead" in page
    assert "Train this voice" not in page and "Convert into this voice" not in page and "Record here" not in page
    sound = client.get(reverse("voices:recording-audio", args=["acme", voice.code, held["recording"].code]))
    assert received(sound).status == 200
    assert client.post(reverse("voices:delete", args=["acme", voice.code])).status_code == 302
    assert not Voice.objects.filter(pk=voice.pk).exists()


def test_pages_tell_which_are_locked_and_offer_none_of_them(
    acme: Any, alice: Any, bob: Any, voices: dict[str, Any], client_of: Any
) -> None:
    held = fill(acme, alice)
    page = client_of(bob).get(reverse("voices:list", args=["acme"])).content.decode()
    assert page.count("#lock") == 3
    convert = client_of(bob).get(reverse("studio:convert", args=["acme"])).content.decode()
    assert str(held["voice"].code) not in convert.partition("studio/presets")[0]
    record = client_of(bob).get(reverse("voices:record", args=["acme", held["voice"].code]))
    assert record.status_code == 402 and "is locked" in record.content.decode()


def test_one_is_chosen_instead_of_another(acme: Any, bob: Any, voices: dict[str, Any], client_of: Any) -> None:
    address = reverse("voices:choose", args=["acme", voices["Dora"].code])
    answer = client_of(bob).post(address, follow=True).content.decode()
    assert "“Dora” can be used now, and “Ben” is locked instead." in answer
    assert locked_names(acme) == {"Ben", "Cleo"}
    event = acme.audit_events.get(action="voice.chosen")
    assert (event.user, event.target, event.data["instead"]) == (bob, "Dora", str(voices["Ben"].code))


def test_choosing_a_usable_one_changes_nothing(acme: Any, bob: Any, voices: dict[str, Any]) -> None:
    assert locks.choose(voice=voices["Anna"], user=bob) is None
    assert locked_names(acme) == {"Cleo", "Dora"}
    assert not acme.audit_events.filter(action="voice.chosen").exists()


def test_taking_turns_ends_where_the_plan_does(
    acme: Any, bob: Any, voices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(name: str) -> Any:
        return locks.choose(voice=Voice.objects.get(name=name), user=bob)

    assert choose("Dora").name == "Ben"
    assert choose("Cleo").name == "Anna"
    with pytest.raises(Refused, match="Other voices were chosen 2 times since") as caught:
        choose("Anna")
    assert caught.value.status == 402 and locked_names(acme) == {"Anna", "Ben"}
    # Deleting what was chosen gives no choice back, and the next period does.
    Voice.objects.get(name="Dora").delete()
    assert locked_names(acme) == {"Ben"}
    with pytest.raises(Refused):
        choose("Ben")
    end = Subscription.objects.get().period().end
    monkeypatch.setattr(timezone, "now", lambda: end)
    assert choose("Ben").name == "Anna"


def test_what_was_begun_before_the_lock_goes_on(
    acme: Any, bob: Any, recorded: Any, consent: Any, at_once: Callable[[], Any]
) -> None:
    with at_once():
        model = training.make_instant(voice=recorded, user=bob)
        acme.voice_limit = 0
        acme.save()
    model.refresh_from_db()
    assert model.file and model.job.status == "done"
