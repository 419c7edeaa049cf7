"""The limits of a plan as people meet them: said before, refused with a way out, locked voices, and what was used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.test_axe import judge
from tests.sounds import speech, wav_bytes
from tests.stack import Stack

ADDRESS, PASSWORD = "plans@example.org", "a-long-and-quiet-song"
# A workspace on the plan Free with five voices, most of its conversion used, one job's part set aside.
SEED = """
from datetime import timedelta
from django.utils import timezone
from allauth.account.models import EmailAddress
from apps.accounts import services
from apps.accounts.models import User
from apps.billing.models import Subscription, UsageEvent
from apps.billing.services import ledger, subscriptions
from apps.voices.models import Consent, Voice
from tests.holdings import fill

owner = User.objects.create_user(address, password, name="Ada")
EmailAddress.objects.create(user=owner, email=address, verified=True, primary=True)
workspace = services.create_workspace(user=owner, name="Small studio")
held = fill(workspace, owner)
UsageEvent.objects.filter(workspace=workspace).delete()
workspace.grants.all().delete()
now = timezone.now()
Subscription.objects.update_or_create(workspace=workspace, defaults={"plan": "free", "anchor": now - timedelta(days=20),
    "status": "none"})
type(workspace).objects.filter(pk=workspace.pk).update(created_at=now - timedelta(days=90))
for name in ("Anna, alto", "Ben", "Cleo", "Dora"):
    Voice.objects.create(workspace=workspace, name=name, created_by=owner)
Voice.objects.filter(pk=held["voice"].pk).update(created_at=now - timedelta(days=9))
subscription = subscriptions.subscription_of(workspace)
subscriptions.apply(subscription)
for day in range(20):
    amount = (7 * day) % 45 + 3
    event = ledger.reserve(workspace=workspace, meter="convert_seconds", amount=amount, user=owner,
        key=f"seed:{workspace.pk}:{day}", kind="conversion")
    ledger.settle(event.pk)
    UsageEvent.objects.filter(pk=event.pk).update(created_at=now - timedelta(days=day, hours=1))
event = ledger.reserve(workspace=workspace, meter="train_minutes", amount=12, key=f"seed:{workspace.pk}:t",
    kind="training", user=owner)
left = ledger.balance(workspace, "convert_seconds").left
event = ledger.reserve(workspace=workspace, meter="convert_seconds", amount=left - 9, key=f"seed:{workspace.pk}:last",
    kind="conversion", user=owner)
ledger.settle(event.pk)
ledger.reserve(workspace=workspace, meter="convert_seconds", amount=4, key=f"seed:{workspace.pk}:open",
    kind="conversion", user=owner)
locked = Voice.objects.get(workspace=workspace, name="Dora")
result = {"slug": workspace.slug, "locked": str(locked.code), "voice": str(held["voice"].code)}
"""


@pytest.fixture(scope="module")
def small(stack: Stack) -> dict[str, Any]:
    """What the seeded workspace is called, and its voices."""
    found: dict[str, Any] = stack.django(SEED, address=ADDRESS, password=PASSWORD)
    return found


@pytest.fixture(scope="module")
def owner(browser: Browser, stack: Stack, small: dict[str, Any]) -> Iterator[BrowserContext]:
    """A browser in which its owner has logged in."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(f"{stack.url}/accounts/login/")
    page.locator("[name=login]").fill(ADDRESS)
    page.locator("[name=password]").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    expect(page.get_by_role("navigation", name="Workspace")).to_be_visible()
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(owner: BrowserContext) -> Iterator[Page]:
    page = owner.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert not errors, errors


def song(folder: Path, seconds: float) -> Path:
    path = folder / f"{seconds:g} seconds.wav"
    path.write_bytes(wav_bytes(speech(seconds)))
    return path


def test_what_a_new_file_costs_is_said_as_soon_as_it_is_chosen(
    page: Page, stack: Stack, small: dict[str, Any], tmp_path: Path
) -> None:
    page.goto(f"{stack.url}/w/{small['slug']}/convert/")
    cost = page.locator("#cost")
    expect(cost).to_contain_text("You have 5 s of conversion left until")
    page.locator("#id_upload").set_input_files(song(tmp_path, 2.5))
    expect(cost).to_contain_text("Uses 3 s of your 5 s left until")
    page.locator("#id_upload").set_input_files(song(tmp_path, 6.0))
    expect(cost).to_contain_text("This takes 6 s of conversion and 5 s is left")
    judge(page)
    page.locator("#id_upload").set_input_files([])
    page.locator("#id_source").select_option(index=1)
    expect(cost).to_contain_text("Uses 1 s of your 5 s left until")


def test_a_refusal_stands_in_the_form_with_a_way_out(
    page: Page, stack: Stack, small: dict[str, Any], tmp_path: Path
) -> None:
    page.goto(f"{stack.url}/w/{small['slug']}/convert/")
    page.locator("#id_upload").set_input_files(song(tmp_path, 6.0))
    page.get_by_role("button", name="Convert", exact=True).click()
    refusal = page.locator("#convert-form [role=alert]")
    expect(refusal).to_contain_text("This takes 6 s of conversion and 5 s is left until")
    expect(refusal).to_contain_text("Begins anew")
    judge(page)
    refusal.get_by_role("link", name="See plans").click()
    expect(page.get_by_role("heading", name="Plans side by side")).to_be_visible()


def test_a_refusal_of_a_form_that_stays_is_put_before_it_with_the_focus(
    page: Page, stack: Stack, small: dict[str, Any]
) -> None:
    page.goto(f"{stack.url}/w/{small['slug']}/voices/new/")
    page.get_by_role("textbox", name="Name").fill("Eve")
    page.get_by_role("main").get_by_role("button").first.click()
    refusal = page.locator("[data-stays]")
    expect(refusal).to_contain_text("Your plan holds 2 voices and there are 5 already.")
    expect(refusal).to_be_focused()
    expect(page.get_by_role("textbox", name="Name")).to_have_value("Eve")
    page.get_by_role("main").get_by_role("button", name="Make this voice").click()
    expect(page.locator("[data-stays]")).to_have_count(1)
    judge(page)


def test_a_locked_voice_is_chosen_instead(page: Page, stack: Stack, small: dict[str, Any]) -> None:
    page.goto(f"{stack.url}/w/{small['slug']}/voices/")
    expect(page.get_by_text("Locked", exact=True)).to_have_count(3)
    judge(page)
    page.goto(f"{stack.url}/w/{small['slug']}/voices/{small['locked']}/")
    expect(page.get_by_text("This voice is locked.")).to_be_visible()
    judge(page)
    page.get_by_role("button", name="Use this one instead").click()
    page.get_by_role("dialog").get_by_role("button", name="Use this one instead").click()
    expect(page.get_by_text("“Dora” can be used now")).to_be_visible()
    expect(page.get_by_text("This voice is locked.")).to_have_count(0)


@pytest.mark.parametrize("path", ["", "usage/"])
def test_pages_of_a_plan_in_use_are_clean(page: Page, stack: Stack, small: dict[str, Any], path: str) -> None:
    page.goto(f"{stack.url}/w/{small['slug']}/billing/{path}")
    judge(page)
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
