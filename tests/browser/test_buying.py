"""``up --demo-billing``: choose a plan on the site, be declined, pay, have it; buy more; cancel on the portal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.stack import Stack, running, short_folder

OWNER = """
from django.conf import settings
from django.test import Client
from apps.accounts import services
from apps.accounts.models import User

user = User.objects.create_user("buyer@example.org", "x")
services.create_workspace(user=user, name="Choir")
client = Client()
client.force_login(user)
result = client.cookies[settings.SESSION_COOKIE_NAME].value
"""
STATE = """
from apps.billing.models import Grant, StripeEvent, Subscription
row = Subscription.objects.get(workspace__slug="choir")
result = [row.plan, row.status, row.cancels_at is not None, row.workspace.seats, Grant.objects.count(),
    StripeEvent.objects.filter(handled_at=None).count()]
"""


@pytest.fixture(scope="module")
def demo() -> Iterator[Stack]:
    data = short_folder()
    with running(data, "--demo-billing") as site:
        yield site
    shutil.rmtree(data, ignore_errors=True)


def settled(demo: Stack) -> list[object]:
    """Return how the choir stands, once every event that was told has been handled."""
    found: list[list[object]] = []

    def quiet() -> bool:
        found[:] = [demo.django(STATE)]
        return found[0][-1] == 0

    demo.wait_until(quiet, seconds=60)
    return found[0]


def wait_for(demo: Stack, *wanted: object) -> None:
    demo.wait_until(lambda: settled(demo)[: len(wanted)] == list(wanted), seconds=60)


def choose(page: Page, plan: str) -> None:
    forms = page.locator("form[action$='/billing/checkout/']")
    forms.filter(has=page.locator(f"[name=plan][value={plan}]")).locator("button").click()


def test_a_plan_is_bought_used_and_cancelled(demo: Stack, page: Page) -> None:
    """All of it crosses from our forms to another origin and back, under the site's own policy."""
    assert "Plans are sold through a local Stripe" in demo.log.read_text()
    cookie = demo.django(OWNER)
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": demo.url}])
    page.goto(f"{demo.url}/w/choir/billing/")
    choose(page, "studio")
    expect(page.get_by_role("heading", name="Pay")).to_be_visible()
    expect(page.get_by_text("49.00 USD a month")).to_be_visible()
    page.get_by_role("button", name="Back").click()
    expect(page).to_have_url(f"{demo.url}/w/choir/billing/")
    choose(page, "studio")
    page.get_by_role("button", name="Pay with a card that is declined").click()
    expect(page.get_by_role("alert")).to_have_text("Your card was declined.")
    page.get_by_role("button", name="Pay with a card that works").click()
    expect(page.get_by_text("the plan is Studio")).to_be_visible()
    wait_for(demo, "studio", "active", False, 10)
    page.locator("form[action$='/billing/top-up/'] button").first.click()
    page.get_by_role("button", name="Pay with a card that works").click()
    expect(page).to_have_url(f"{demo.url}/w/choir/billing/")
    wait_for(demo, "studio", "active", False, 10, 1)
    page.locator("form[action$='/billing/portal/'] button").click()
    page.get_by_role("button", name="Cancel at the end of the period").click()
    page.get_by_role("button", name="Back to the site").click()
    expect(page).to_have_url(f"{demo.url}/w/choir/billing/")
    wait_for(demo, "studio", "active", True, 10, 1)
    assert (demo.data / "demo-stripe" / "secret").stat().st_mode & 0o077 == 0
