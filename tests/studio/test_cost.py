"""What a start costs is said before it; what a plan does not hold is refused with what would help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.billing.models import Subscription, UsageEvent
from apps.billing.services import ledger
from apps.errors import Refused
from apps.studio.forms import ConversionForm, initial_of
from apps.studio.options import defaults
from apps.studio.services import submit_conversion
from tests.holdings import fill

ClientOf = Callable[[Any], Client]
COST = "/w/acme/convert/cost/"


@pytest.fixture
def free(acme: Any) -> Any:
    """Acme on the plan Free: 600 s of conversion, compressed files."""
    Subscription.objects.create(workspace=acme, plan="free", anchor=acme.created_at)
    return acme


def use(workspace: Any, seconds: int) -> None:
    ledger.settle(ledger.reserve(workspace=workspace, meter="convert_seconds", amount=seconds, key="used").pk)


def said(client: Client, address: str) -> str:
    text = client.get(address).content.decode()
    return " ".join(text.split("<span>", 1)[1].split("</span>", 1)[0].split()) if "<span>" in text else ""


def test_the_form_says_what_is_left_and_what_a_source_takes(
    free: Any, alice: Any, bob: Any, client_of: ClientOf
) -> None:
    held = fill(free, alice)
    use(free, 42)
    left = ledger.balance(free, "convert_seconds").left
    client = client_of(bob)
    minutes = f"{left // 60} min {left % 60} s"
    assert said(client, COST).startswith(f"You have {minutes} of conversion left until")
    assert said(client, f"{COST}?source={held['source'].code}").startswith(f"Uses 1 s of your {minutes} left until")
    assert said(client, f"{COST}?seconds=61.2").startswith(f"Uses 1 min 2 s of your {minutes} left until")
    too_much = client.get(f"{COST}?seconds=9999").content.decode()
    assert "cost-much" in too_much and "/w/acme/billing/" in too_much
    assert said(client, f"{COST}?seconds=nonsense").startswith("You have")
    page = client.get("/w/acme/convert/").content.decode()
    assert f"You have {minutes}" in page and "song.wav (1 s)" in page


def test_converting_again_says_it_at_once(free: Any, alice: Any, bob: Any, client_of: ClientOf) -> None:
    held = fill(free, alice)
    page = client_of(bob).get(f"/w/acme/conversions/{held['conversion'].code}/again/").content.decode()
    assert "Uses 1 s of your" in page


def test_another_workspaces_source_has_no_cost_here(
    free: Any, charlies: Any, charlie: Any, bob: Any, client_of: ClientOf
) -> None:
    other = fill(charlies, charlie)["source"]
    assert said(client_of(bob), f"{COST}?source={other.code}").startswith("You have")


def test_where_nothing_limits_it_only_the_cost_is_said(acme: Any, bob: Any, client_of: ClientOf) -> None:
    assert said(client_of(bob), COST) == ""
    assert said(client_of(bob), f"{COST}?seconds=5") == "Uses 5 s of conversion, which your plan does not limit."


def test_the_training_form_says_it_for_each_preset(free: Any, alice: Any, bob: Any, client_of: ClientOf) -> None:
    held = fill(free, alice)
    page = client_of(bob).get(f"/w/acme/voices/{held['voice'].code}/").content.decode()
    assert "uses at most" in page and "of training left until" in page and "Uses 1 min of your" in page


def test_a_refusal_says_what_it_would_take_and_what_helps(
    free: Any, form: dict[str, Any], alice: Any, bob: Any, client_of: ClientOf
) -> None:
    use(free, 599)
    answer = client_of(bob).post("/w/acme/convert/", form)
    text = answer.content.decode()
    assert answer.status_code == 402
    assert "<dt>It would take</dt><dd>2 s</dd>" in text and "<dt>Left</dt><dd>1 s</dd>" in text
    assert "Begins anew" in text and "ask them" in text and 'id="convert-form"' in text
    form["upload"].seek(0)
    text = client_of(alice).post("/w/acme/convert/", form).content.decode()
    assert "See plans and top-ups" in text
    assert not free.conversions.exists() and UsageEvent.objects.count() == 1


def test_htmx_gets_the_form_with_the_refusal_in_it(
    free: Any, form: dict[str, Any], bob: Any, client_of: ClientOf
) -> None:
    use(free, 599)
    answer = client_of(bob).post("/w/acme/convert/", form, headers={"HX-Request": "true"})
    text = answer.content.decode()
    assert answer.status_code == 402 and "<html" not in text
    assert text.index("It would take") < text.index('name="voice"') and "This takes 2 s of conversion" in text


def test_a_program_gets_the_figures(free: Any, alice: Any, bob: Any, client_of: ClientOf) -> None:
    held = fill(free, alice)
    left = ledger.balance(free, "train_minutes").left
    if left:
        ledger.reserve(workspace=free, meter="train_minutes", amount=left, key="all")
    from apps.voices.models import Take

    Take.objects.update(end=20.0)
    address = f"/w/acme/voices/{held['voice'].code}/instant/"
    answer = client_of(bob).post(address, headers={"Accept": "application/json"})
    assert answer.status_code == 402
    told = answer.json()
    assert (told["code"], told["meter"], told["wanted"], told["left"]) == ("quota_exceeded", "train_minutes", 1, 0)
    assert told["resets_at"] and told["request_id"] and told["message"].startswith("This takes 1 min of training")
    page = client_of(bob).post(address, headers={"HX-Request": "true"}).content.decode()
    assert "data-stays" in page and "It would take" in page


def test_formats_that_the_plan_does_not_make_are_shown_but_closed(free: Any, bob: Any, client_of: ClientOf) -> None:
    form = ConversionForm(free, initial=initial_of({"format": "flac"}))
    text = str(form["format"])
    assert '<option value="flac" disabled>FLAC, lossless (plan Creator)</option>' in text
    assert '<option value="mp3">MP3</option>' in text
    assert form["format"].value() == "wav16", "a preset that has it begins with one that can be made"
    Subscription.objects.update(plan="creator")
    assert "disabled" not in str(ConversionForm(free)["format"])


def test_such_a_format_is_refused(free: Any, form: dict[str, Any], mia: Any, bob: Any, client_of: ClientOf) -> None:
    answer = client_of(bob).post("/w/acme/convert/", {**form, "format": "flac"})
    assert answer.status_code == 402
    assert "FLAC, lossless needs the plan Creator or a larger one." in answer.content.decode()
    source = free.sources.get()
    with pytest.raises(Refused) as caught:
        submit_conversion(workspace=free, user=bob, voice=mia, source=source, options={**defaults(), "format": "wav24"})
    assert caught.value.status == 402
    Subscription.objects.update(plan="creator")
    submit_conversion(workspace=free, user=bob, voice=mia, source=source, options={**defaults(), "format": "flac"})
