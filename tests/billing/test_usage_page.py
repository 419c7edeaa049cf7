"""What the usage page says is what the ledger holds, in few queries, to be had as a file too."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts import keys
from apps.accounts.models import Membership
from apps.billing.models import Subscription, UsageEvent
from apps.billing.services import ledger, usage
from apps.billing.services.subscriptions import subscription_of

ClientOf = Callable[[Any], Client]
PAGE = "/w/acme/billing/usage/"


@pytest.fixture
def creator(acme: Any) -> Any:
    """Acme on the plan Creator, since two months and some days."""
    anchor = timezone.now() - timedelta(days=65)
    type(acme).objects.filter(pk=acme.pk).update(created_at=anchor)
    acme.refresh_from_db()
    Subscription.objects.create(workspace=acme, plan="creator", anchor=anchor)
    return acme


@pytest.fixture
def spend(creator: Any) -> Callable[..., UsageEvent]:
    """Return a function that uses up so much of a meter; ``done`` False leaves it set aside."""
    count = iter(range(1000))

    def make(amount: int, *, meter: str = "convert_seconds", done: bool = True, **given: Any) -> UsageEvent:
        given.setdefault("kind", "conversion")
        event = ledger.reserve(workspace=creator, meter=meter, amount=amount, key=f"test:{next(count)}", **given)
        if done:
            ledger.settle(event.pk)
        return event

    return make


def key_of(workspace: Any, user: Any, name: str) -> Any:
    membership = Membership.objects.get(workspace=workspace, user=user)
    return keys.issue(membership=membership, name=name, scope="create")[0]


def test_what_is_used_set_aside_and_left_is_told(
    spend: Any, creator: Any, bob: Any, victor: Any, client_of: ClientOf
) -> None:
    allowance = subscription_of(creator).effective().limits["convert_seconds"]
    spend(3 * 60, user=bob)
    spend(42, user=bob, done=False)
    page = client_of(victor).get(PAGE)
    (sheet,) = [one for one in page.context["sheets"] if one.use.meter == "convert_seconds"]
    assert (sheet.use.used, sheet.use.reserved, sheet.allowance) == (180, 42, allowance)
    assert sheet.left == ledger.balance(creator, "convert_seconds").left == allowance - 222
    text = page.content.decode()
    assert "3 min used, 42 s set aside" in text


def test_the_parts_add_up_to_the_whole(spend: Any, creator: Any, alice: Any, bob: Any) -> None:
    key = key_of(creator, bob, "Studio machine")
    spend(60, user=alice)
    spend(30, user=bob, api_key=key)
    spend(10, user=bob, done=False, kind="cover")
    spend(5, user=bob, meter="train_minutes", kind="training")
    ledger.release(spend(500, user=bob, done=False).pk)
    found = usage.used_in(creator, subscription_of(creator).period())
    use = found["convert_seconds"]
    assert use.total == sum(use.days.values()) == 100
    assert [(part.name, part.amount) for part in use.members] == [("Alice", 60), ("Bob", 40)]
    assert [(part.name, part.amount) for part in use.keys] == [(f"Studio machine ({key.start}…)", 30)]
    assert [(part.name, part.amount) for part in use.kinds] == [("conversion", 90), ("cover", 10)]
    assert found["train_minutes"].total == 5 and found["train_minutes"].keys == []


def test_each_day_is_in_the_graph_and_in_its_table(spend: Any, creator: Any, bob: Any, client_of: ClientOf) -> None:
    event = spend(120, user=bob)
    begin = subscription_of(creator).period().start
    UsageEvent.objects.filter(pk=event.pk).update(created_at=begin)
    spend(60, user=bob)
    page = client_of(bob).get(PAGE)
    (sheet,) = [one for one in page.context["sheets"] if one.use.meter == "convert_seconds"]
    days = {bar.day: bar.amount for bar in sheet.chart.bars if bar.height}
    assert days == {begin.date(): "2 min", timezone.now().date(): "1 min"}
    highest = max(sheet.chart.bars, key=lambda bar: bar.height)
    assert (highest.day, highest.height) == (begin.date(), 120.0)
    assert len(sheet.chart.bars) in range(28, 33)
    text = page.content.decode()
    assert f"<title>{begin.date().day} {begin:%B}: 2 min</title>" in text
    assert "The same as a table" in text and "style=" not in text


def test_an_earlier_period_can_be_chosen(spend: Any, creator: Any, bob: Any, client_of: ClientOf) -> None:
    subscription = subscription_of(creator)
    choices = usage.periods(subscription)
    assert len(choices) == 3, "none from before there was a workspace"
    event = spend(77, user=bob)
    UsageEvent.objects.filter(pk=event.pk).update(created_at=choices[1].start + timedelta(days=3))
    now, before = client_of(bob).get(PAGE), client_of(bob).get(f"{PAGE}?period={choices[1].start:%Y-%m-%d}")
    assert "1 min 17 s" not in now.content.decode()
    text = before.content.decode()
    assert "1 min 17 s" in text and "Left of the plan" not in text, "what was left then is not known"
    for wrong in ("2001-01-01", "yesterday"):
        assert client_of(bob).get(f"{PAGE}?period={wrong}").status_code == 400


def test_twelve_periods_are_offered_at_most(creator: Any) -> None:
    old = timezone.now() - timedelta(days=900)
    type(creator).objects.filter(pk=creator.pk).update(created_at=old)
    Subscription.objects.update(anchor=old)
    found = usage.periods(Subscription.objects.select_related("workspace").get())
    assert len(found) == 12
    assert all(found[index + 1].end == found[index].start for index in range(11))


def test_what_was_given_beyond_the_plan_is_told(spend: Any, creator: Any, alice: Any, client_of: ClientOf) -> None:
    allowance = subscription_of(creator).effective().limits["convert_seconds"]
    ledger.grant(
        workspace=creator, meter="convert_seconds", amount=3600, source="staff", reason="Sorry", key="one", user=alice
    )
    spend(allowance + 600)
    page = client_of(alice).get(PAGE)
    (sheet,) = [one for one in page.context["sheets"] if one.use.meter == "convert_seconds"]
    assert (sheet.plan_left, sheet.granted, sheet.left) == (0, 3000, 3000)
    assert sheet.left == ledger.balance(creator, "convert_seconds").left
    assert usage.granted_left(creator) == {"convert_seconds": 3000}
    level = sheet.level
    assert level.used + level.granted == pytest.approx(100.0, abs=0.1)


def test_the_ledger_is_a_file_too(spend: Any, creator: Any, bob: Any, client_of: ClientOf) -> None:
    key = key_of(creator, bob, "=HYPERLINK()")
    spend(42, user=bob, api_key=key)
    answer = client_of(bob).get(f"{PAGE}?format=csv")
    assert answer["Content-Type"].startswith("text/csv") and "acme-usage-" in answer["Content-Disposition"]
    (row,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (row["meter"], row["unit"], row["state"], row["set_aside"], row["charged"]) == (
        "convert_seconds", "s", "settled", "42", "42",
    )  # fmt: skip
    assert row["user"] == bob.email and row["api_key"] == "'=HYPERLINK()", "no spreadsheet computes it"
    assert client_of(bob).get(f"{PAGE}?format=xml").status_code == 400


def test_a_long_ledger_has_pages(spend: Any, bob: Any, client_of: ClientOf) -> None:
    for _ in range(26):
        spend(1, user=bob)
    assert client_of(bob).get(PAGE).context["page"].paginator.num_pages == 2
    assert len(client_of(bob).get(f"{PAGE}?page=2").context["page"].object_list) == 1


def test_the_page_takes_as_many_queries_however_much_was_used(
    spend: Any, creator: Any, alice: Any, bob: Any, client_of: ClientOf
) -> None:
    client, counts = client_of(bob), []
    client.get(PAGE)
    for number in range(3):
        with CaptureQueriesContext(connection) as queries:
            client.get(PAGE)
        counts.append(len(queries))
        for user in (alice, bob):
            for meter in ("convert_seconds", "train_minutes"):
                spend(3, user=user, meter=meter, kind=f"kind {number}", api_key=key_of(creator, user, f"K{number}"))
    assert len(set(counts[1:])) == 1 and counts[-1] <= 20, counts


def test_nobody_else_sees_it(spend: Any, creator: Any, charlies: Any, charlie: Any, bob: Any, client_of: Any) -> None:
    spend(42, user=bob)
    assert "42 s" not in client_of(charlie).get("/w/charlies/billing/usage/").content.decode()
