"""At 80 and at 100 % of an allowance owner and admins are told: once for each, meter and period."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.billing import warnings
from apps.billing.models import Notice, Subscription, UsageEvent
from apps.billing.services import ledger

ClientOf = Callable[[Any], Client]


@pytest.fixture
def use(acme: Any, django_capture_on_commit_callbacks: Any) -> Callable[..., None]:
    """Return a function that uses so many of the 600 s of conversion that the plan Free has."""
    Subscription.objects.create(workspace=acme, plan="free", anchor=acme.created_at)
    count = iter(range(1000))

    def make(seconds: int) -> None:
        event = ledger.reserve(
            workspace=acme, meter="convert_seconds", amount=seconds, key=f"test:{next(count)}", kind="conversion"
        )
        with django_capture_on_commit_callbacks(execute=True):
            ledger.settle(event.pk)

    return make


def test_owner_and_admins_are_told_at_80_and_at_100(use: Any, acme: Any, alice: Any, adam: Any) -> None:
    use(479)
    assert mail.outbox == []
    use(1)
    assert sorted(letter.to[0] for letter in mail.outbox) == [adam.email, alice.email]
    letter = mail.outbox[0]
    assert letter.subject == "Most of this month's conversion is used in Acme"
    assert "80 % of your plan's 10 min of conversion is used. It begins anew on" in letter.body
    assert "http://127.0.0.1:8000/w/acme/billing/usage/" in letter.body and letter.alternatives
    mail.outbox.clear()
    use(60)
    assert mail.outbox == [], "told once"
    use(60)
    assert len(mail.outbox) == 2 and mail.outbox[0].subject.startswith("All of this month's conversion is used")


def test_one_leap_over_both_is_one_letter(use: Any, alice: Any, adam: Any) -> None:
    use(600)
    assert len(mail.outbox) == 2
    assert "All of your plan's 10 min of conversion is used." in mail.outbox[0].body
    assert sorted(Notice.objects.values_list("percent", flat=True)) == [80, 100]


def test_what_is_only_set_aside_is_not_used_yet(use: Any, acme: Any) -> None:
    event = ledger.reserve(workspace=acme, meter="convert_seconds", amount=600, key="under way")
    assert warnings.look(acme.pk, "convert_seconds") is None
    ledger.release(event.pk)
    assert not warnings.standings(acme) and mail.outbox == []


def test_the_next_period_begins_anew(use: Any, acme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use(500)
    end = Subscription.objects.get().period().end
    monkeypatch.setattr(timezone, "now", lambda: end)
    mail.outbox.clear()
    assert warnings.standings(acme) == []
    use(500)
    assert len(mail.outbox) == 2


def test_top_ups_are_no_part_of_the_allowance(use: Any, acme: Any) -> None:
    ledger.grant(workspace=acme, meter="convert_seconds", amount=6000, source="top_up", reason="Bought", key="one")
    use(600)
    mail.outbox.clear()
    use(3000)
    assert mail.outbox == []


def test_a_plan_without_limits_warns_of_nothing(use: Any, acme: Any, django_assert_max_num_queries: Any) -> None:
    Subscription.objects.update(plan="unlimited")
    use(100_000)
    with django_assert_max_num_queries(1):
        assert warnings.standings(acme) == []
    assert mail.outbox == [] and not Notice.objects.exists()


def test_a_mail_server_that_fails_undoes_nothing_and_the_next_use_tells(
    use: Any, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no mail server")

    with monkeypatch.context() as down:
        down.setattr("apps.accounts.mail.EmailMultiAlternatives.send", fail)
        use(500)
    assert UsageEvent.objects.get().state == "settled" and not Notice.objects.exists()
    use(10)
    assert len(mail.outbox) == 2 and Notice.objects.get().percent == 80


def test_one_letter_that_went_out_is_enough(use: Any, acme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, True])
    monkeypatch.setattr(warnings, "usage_letter", lambda user, facts: next(answers))
    use(500)
    use(10)
    assert Notice.objects.get().percent == 80


def test_another_plan_in_the_same_period_is_told_of_too(use: Any, acme: Any) -> None:
    use(600)
    mail.outbox.clear()
    Subscription.objects.update(plan="creator")
    use(13_800)
    assert len(mail.outbox) == 2 and "80 % of your plan's 5 h of conversion is used." in mail.outbox[0].body


def test_the_banner_stays_as_long_as_it_is_so(use: Any, acme: Any, bob: Any, alice: Any, client_of: ClientOf) -> None:
    sentence = "80 % of your plan"
    assert sentence not in client_of(bob).get("/w/acme/").content.decode()
    use(480)
    for page in ("/w/acme/", "/w/acme/billing/"):
        assert sentence in client_of(bob).get(page).content.decode()
    assert "See plans" in client_of(alice).get("/w/acme/").content.decode()
    assert "See plans" not in client_of(bob).get("/w/acme/").content.decode()
    Subscription.objects.update(plan="creator")
    assert sentence not in client_of(bob).get("/w/acme/").content.decode()


@pytest.mark.django_db(transaction=True)
def test_many_who_look_at_once_write_one_letter_each(acme: Any, bob: Any) -> None:
    Subscription.objects.create(workspace=acme, plan="free", anchor=acme.created_at)
    now = timezone.now()
    UsageEvent.objects.create(
        workspace=acme, meter="convert_seconds", key="all", state="settled", amount=600, from_plan=600, spent=600,
        created_at=now, ended_at=now, expires_at=now,
    )  # fmt: skip
    start, told = threading.Barrier(6), []

    def look() -> None:
        try:
            start.wait(timeout=10)
            told.append(warnings.look(acme.pk, "convert_seconds"))
        finally:
            connection.close()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(told, key=bool) == [None] * 5 + [100]
    assert len(mail.outbox) == 2
    assert sorted(Notice.objects.values_list("percent", flat=True)) == [80, 100]
