"""Nothing is trained without consent in force; its words are kept exactly."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import AuditEvent
from apps.errors import Refused
from apps.voices.models import Consent
from apps.voices.services.consents import statement_of, withdraw_consent
from apps.voices.services.training import make_instant, train
from tests.received import received
from tests.sounds import speech, wav_bytes
from tests.voices.conftest import upload

TRAIN = {"preset": "fast"}


def filled(voice: Any, terms: Any, **more: Any) -> dict[str, Any]:
    return {
        "full_name": terms.full_name,
        "whose": "own",
        "speech": "on",
        "singing": "on",
        "statement": statement_of(voice, terms),
        "agreed": "on",
        **more,
    }


def test_tick_stays_while_the_words_stay_and_goes_when_they_change(
    client_of: Any, bob: Any, voice: Any, terms: Any, address: Any
) -> None:
    preview = address("consent") + "?preview"
    same = client_of(bob).post(preview, filled(voice, terms)).content.decode()
    assert 'id="id_agreed" checked' in same
    changed = client_of(bob).post(preview, filled(voice, terms, commercial="on")).content.decode()
    assert 'id="id_agreed"' in changed and "checked" not in changed


def test_consent_is_kept_in_the_words_that_were_shown(
    client_of: Any, bob: Any, voice: Any, terms: Any, address: Any
) -> None:
    page = client_of(bob).post(
        address("consent") + "?preview", {"full_name": terms.full_name, "whose": "own", "speech": "on"}
    )
    assert "Anna Example, agree that recordings of my own voice" in page.content.decode()
    assert "for speech, not for commercial purposes" in page.content.decode()
    assert not Consent.objects.exists()

    answer = client_of(bob).post(address("consent"), filled(voice, terms))
    assert answer.status_code == 302
    kept = Consent.objects.get()
    assert kept.statement == statement_of(voice, terms)
    assert (kept.full_name, kept.given_by, kept.is_own_voice, kept.commercial) == ("Anna Example", bob, True, False)
    assert AuditEvent.objects.get(action="consent.given").data["statement"] == kept.statement


def test_a_statement_that_is_not_what_was_chosen_must_be_read_again(
    client_of: Any, bob: Any, voice: Any, terms: Any, address: Any
) -> None:
    answer = client_of(bob).post(address("consent"), filled(voice, terms, commercial="on"))
    assert answer.status_code == 422
    text = answer.content.decode()
    assert "Read the statement, which says what you chose" in text
    assert "also for commercial purposes" in text
    assert not Consent.objects.exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"agreed": ""}, "tick the box"),
        ({"full_name": ""}, "This field is required"),
        ({"speech": "", "singing": ""}, "Choose at least one use"),
        ({"expires_on": "2001-01-01"}, "This day is over"),
    ],
)
def test_an_incomplete_consent_is_refused_with_what_to_do(
    client_of: Any, bob: Any, voice: Any, terms: Any, address: Any, change: Any, sentence: str
) -> None:
    answer = client_of(bob).post(address("consent"), filled(voice, terms, **change))
    assert answer.status_code == 422
    assert sentence in answer.content.decode()
    assert not Consent.objects.exists()


def test_a_spoken_statement_is_kept_and_can_be_heard(
    client_of: Any, bob: Any, victor: Any, voice: Any, terms: Any, address: Any
) -> None:
    spoken = upload(wav_bytes(speech(2.0)), "../../consent.wav")
    assert client_of(bob).post(address("consent"), filled(voice, terms, spoken=spoken)).status_code == 302
    heard = received(client_of(victor).get(address("consent-audio", Consent.objects.get().code)))
    assert heard.status == 200
    assert heard.headers["Content-Type"] == "audio/wav"


def test_a_spoken_statement_that_is_no_sound_is_refused(
    client_of: Any, bob: Any, voice: Any, terms: Any, address: Any
) -> None:
    spoken = upload(b"%PDF-1.7 not a sound", "consent.wav")
    answer = client_of(bob).post(address("consent"), filled(voice, terms, spoken=spoken))
    assert answer.status_code == 422
    assert "This is a PDF document" in answer.content.decode()
    assert not Consent.objects.exists()


@pytest.mark.parametrize(
    "start",
    [
        lambda voice, user: train(voice=voice, user=user, options={}),
        lambda voice, user: make_instant(voice=voice, user=user),
    ],
)
def test_without_consent_nothing_is_trained(recorded: Any, bob: Any, start: Any) -> None:
    with pytest.raises(Refused, match="no consent in force") as refused:
        start(recorded, bob)
    assert refused.value.status == 403
    assert not recorded.models.exists()


def test_training_without_consent_is_answered_403(client_of: Any, bob: Any, recorded: Any, address: Any) -> None:
    assert client_of(bob).post(address("train"), TRAIN).status_code == 403


def test_a_withdrawn_consent_ends_training_and_stays_on_record(
    client_of: Any, bob: Any, recorded: Any, consent: Any, address: Any
) -> None:
    answer = client_of(bob).post(address("consent-withdraw", consent.code))
    assert answer.status_code == 302
    consent.refresh_from_db()
    assert consent.withdrawn_at is not None
    assert AuditEvent.objects.filter(action="consent.withdrawn").count() == 1
    with pytest.raises(Refused, match="no consent in force"):
        train(voice=recorded, user=bob, options={})
    assert "Record of consents" in client_of(bob).get(address("detail")).content.decode()


def test_withdrawing_twice_is_refused(bob: Any, consent: Any) -> None:
    withdraw_consent(consent=consent, user=bob)
    with pytest.raises(Refused, match="withdrawn before"):
        withdraw_consent(consent=consent, user=bob)


def test_withdrawing_cancels_a_training_that_waits(recorded: Any, bob: Any, consent: Any) -> None:
    # Nothing commits here, so the job stays queued.
    model = train(voice=recorded, user=bob, options={"preset": "fast"})
    withdraw_consent(consent=consent, user=bob)
    model.job.refresh_from_db()
    assert model.job.status == "cancelled"


def test_a_training_that_begins_after_the_withdrawal_fails_with_its_reason(
    recorded: Any, bob: Any, consent: Any, at_once: Any
) -> None:
    with at_once():
        model = train(voice=recorded, user=bob, options={"preset": "fast"})
        Consent.objects.update(withdrawn_at=timezone.now())
    model.job.refresh_from_db()
    model.refresh_from_db()
    assert model.job.status == "failed"
    assert "was withdrawn" in model.job.message
    assert not model.file


def test_an_expired_consent_is_not_in_force(recorded: Any, bob: Any, consent: Any) -> None:
    Consent.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert recorded.consent is None


def test_a_viewer_cannot_give_or_withdraw(client_of: Any, victor: Any, consent: Any, address: Any) -> None:
    assert client_of(victor).get(address("consent")).status_code == 403
    assert client_of(victor).post(address("consent-withdraw", consent.code)).status_code == 403
