"""The pages of voices, as members see them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.storage import default_storage

from apps.accounts.models import AuditEvent
from apps.jobs.models import Artifact, Job
from apps.voices.models import Recording, Take, Voice
from apps.voices.services import training
from apps.voices.services.voices import delete_voice

LIST = "/w/acme/voices/"


def test_an_empty_list_says_how_to_begin(client_of: Any, acme: Any, bob: Any, victor: Any) -> None:
    page = client_of(bob).get(LIST).content.decode()
    assert "No voices yet" in page
    assert "Make the first voice" in page
    assert "Make the first voice" not in client_of(victor).get(LIST).content.decode()


def test_a_voice_is_made_by_its_form(client_of: Any, bob: Any, acme: Any) -> None:
    answer = client_of(bob).post(LIST + "new/", {"name": "  Anna, alto ", "description": ""})
    voice = Voice.objects.get()
    assert answer.headers["Location"] == f"{LIST}{voice.code}/"
    assert (voice.name, voice.workspace, voice.created_by) == ("Anna, alto", acme, bob)


def test_two_voices_of_one_name_are_refused_and_what_was_typed_stays(client_of: Any, bob: Any, voice: Any) -> None:
    answer = client_of(bob).post(LIST + "new/", {"name": "Anna", "description": "the second"})
    assert answer.status_code == 422
    assert "There is a voice called “Anna” already" in answer.content.decode()
    assert "the second" in answer.content.decode()


def test_another_workspace_may_use_the_same_name(client_of: Any, charlie: Any, charlies: Any, voice: Any) -> None:
    assert client_of(charlie).post("/w/charlies/voices/new/", {"name": "Anna"}).status_code == 302


def test_a_voice_can_be_renamed(client_of: Any, bob: Any, voice: Any, address: Any) -> None:
    assert client_of(bob).post(address("edit"), {"name": "Anne", "description": "x"}).status_code == 302
    voice.refresh_from_db()
    assert voice.name == "Anne"


def test_the_list_tells_what_each_voice_lacks(
    client_of: Any, victor: Any, recorded: Any, consent: Any, django_assert_max_num_queries: Any
) -> None:
    client = client_of(victor)
    client.get(LIST)
    with django_assert_max_num_queries(8):
        page = client.get(LIST).content.decode()
    assert "72 s</span> usable" in page
    assert "No model yet" in page
    assert "Consent missing" not in page


def test_the_voices_page_teaches_while_it_is_empty(client_of: Any, bob: Any, voice: Any, address: Any) -> None:
    page = client_of(bob).get(address("detail")).content.decode()
    for words in ("No recordings yet", "Nothing is trained without the speaker", "No models yet", "First give consent"):
        assert words in page


def test_the_voices_page_shows_everything_in_few_queries(
    client_of: Any,
    bob: Any,
    recorded: Any,
    consent: Any,
    address: Any,
    at_once: Any,
    django_assert_max_num_queries: Any,
) -> None:
    with at_once():
        training.make_instant(voice=recorded, user=bob)
    client = client_of(bob)
    client.get(address("detail"))
    with django_assert_max_num_queries(18):
        page = client.get(address("detail")).content.decode()
    assert "In force" in page
    assert "Train this voice" in page
    assert "Active</span>" in page
    assert "not yet timed here" in page


def test_a_viewer_is_shown_no_button_that_would_be_refused(
    client_of: Any, victor: Any, recorded: Any, consent: Any, address: Any
) -> None:
    page = client_of(victor).get(address("detail")).content.decode()
    main = page.split("<main")[1].split("</main>")[0]
    assert "<form" not in main


def test_a_models_page_shows_card_curve_and_samples(
    client_of: Any, bob: Any, victor: Any, recorded: Any, consent: Any, address: Any, at_once: Any
) -> None:
    with at_once():
        model = training.train(voice=recorded, user=bob, options={"preset": "fast", "steps": 30})
    page = client_of(victor).get(address("model", model.code)).content.decode()
    model.refresh_from_db()
    assert model.sha256 in page
    assert f'data-plot="curve-{model.code}"' in page
    assert page.count('class="player player-small"') == len(model.curve)
    fragment = client_of(victor).get(address("model", model.code), headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in fragment
    models = {"HX-Request": "true", "HX-Target": "models"}
    changed = client_of(bob).get(address("detail"), headers=models).content.decode()
    assert "Version 1" in changed and "<html" not in changed
    actions = changed.split('id="voice-actions"')[1]
    assert 'hx-swap-oob="true"' in actions and "Convert into this voice" in actions


@pytest.mark.parametrize("name", ["train", "consent", "record", "preflight", "edit"])
def test_every_form_has_a_page_of_its_own(client_of: Any, bob: Any, voice: Any, address: Any, name: str) -> None:
    answer = client_of(bob).get(address(name))
    assert answer.status_code == 200
    assert "<html" in answer.content.decode()


def test_no_page_has_inline_script_or_style(
    client_of: Any, bob: Any, recorded: Any, consent: Any, address: Any
) -> None:
    import re

    for name in ("detail", "train", "consent", "record"):
        page = client_of(bob).get(address(name)).content.decode()
        assert not re.search(r"\sstyle=|\son[a-z]+=", page)
        for script in re.findall(r"<script\b[^>]*>", page):
            assert " src=" in script or 'type="application/json"' in script


def test_deleting_a_voice_removes_every_row_and_file_of_it(
    client_of: Any, adam: Any, bob: Any, recorded: Any, consent: Any, address: Any, at_once: Any
) -> None:
    with at_once():
        model = training.train(voice=recorded, user=bob, options={"preset": "fast", "steps": 30})
    model.refresh_from_db()
    files = [
        model.file.name,
        recorded.recordings.get().file.name,
        *Take.objects.values_list("file", flat=True),
        *Artifact.objects.values_list("file", flat=True),
    ]
    assert all(default_storage.exists(name) for name in files)
    with at_once():
        assert client_of(adam).post(address("delete")).status_code == 302
    assert not (Voice.objects.exists() or Recording.objects.exists() or Job.objects.exists())
    assert not any(default_storage.exists(name) for name in files)
    assert AuditEvent.objects.get(action="voice.deleted").target == "Anna"


def test_only_admins_delete_a_voice(client_of: Any, bob: Any, voice: Any, address: Any) -> None:
    assert client_of(bob).post(address("delete")).status_code == 403
    assert Voice.objects.exists()


def test_deleting_a_voice_stops_its_training(recorded: Any, consent: Any, bob: Any) -> None:
    training.train(voice=recorded, user=bob, options={"preset": "fast", "steps": 30})
    delete_voice(voice=recorded, user=bob)
    assert not Job.objects.exists()
