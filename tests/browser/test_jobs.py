"""A job's card moves by itself: over the socket, and without it by asking."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.stack import Stack

LOG_IN = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from apps.accounts.models import User
user = User.objects.get(email="admin@localhost")
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
result = [settings.SESSION_COOKIE_NAME, session.session_key, user.workspaces.first().slug]
"""
SUBMIT = """
from django.urls import reverse
from apps.accounts.models import User
from apps.jobs.services import submit
from tests.jobs import bodies
workspace = User.objects.get(email="admin@localhost").workspaces.first()
job = submit(workspace=workspace, user=None, kind="test", title=title, task=getattr(bodies, body), queue="gpu")
result = reverse("jobs:detail", args=[workspace.slug, job.code])
"""

END_MANY = """
from django.utils import timezone
from apps.accounts.models import User
from apps.jobs.events import publish
from apps.jobs.models import Job, Status
workspace = User.objects.get(email="admin@localhost").workspaces.first()
for number in range(count):
    publish(Job.objects.create(workspace=workspace, kind="test", title=f"Piece {number}", task="none", queue="cpu",
        status=Status.FAILED if number == count - 1 else Status.DONE, ended_at=timezone.now()))
result = None
"""


@pytest.fixture
def home(stack: Stack, page: Page) -> str:
    """Log in as the first user; return the address of their workspace."""
    name, value, slug = stack.django(LOG_IN)
    page.context.add_cookies([{"name": name, "value": value, "url": stack.url}])
    return f"{stack.url}/w/{slug}/"


def submit(stack: Stack, body: str, title: str) -> str:
    return stack.url + stack.django(SUBMIT, body=body, title=title)


def test_a_card_moves_over_the_socket_and_its_button_stops_the_job(stack: Stack, page: Page, home: str) -> None:
    with page.expect_websocket(timeout=60_000) as opened:
        page.goto(submit(stack, "work_for_a_minute", "A long one"))
    assert opened.value.url.startswith("ws://")
    card = page.locator(".job", has_text="A long one")
    expect(card).to_have_attribute("data-status", "running", timeout=60_000)
    first = card.locator("progress").get_attribute("value")
    expect(card.locator("progress")).not_to_have_attribute("value", str(first))
    expect(card).to_contain_text("left")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_have_attribute("data-status", "cancelled", timeout=8_000)
    expect(card.get_by_role("button")).to_have_count(0)


def test_a_page_without_the_card_hears_that_the_job_ended_and_logs_no_error(
    stack: Stack, page: Page, home: str
) -> None:
    page.goto(home)
    page.wait_for_timeout(1000)
    submit(stack, "succeed", "Elsewhere")
    expect(page.locator("#toasts")).to_contain_text("Elsewhere is done.", timeout=60_000)


def test_of_many_jobs_that_end_at_once_the_first_are_named_and_the_rest_counted(
    stack: Stack, page: Page, home: str
) -> None:
    page.goto(home)
    page.wait_for_timeout(1000)
    stack.django(END_MANY, count=7)
    toasts = page.locator("#toasts .toast")
    # At least these four: a job of before may still be in the news.
    expect(toasts.last).to_contain_text(re.compile(r"[4-7] more jobs ended, 1 failed\."), timeout=60_000)
    expect(toasts).to_have_count(4)
    toasts.last.get_by_role("link", name="See all").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")


def test_without_a_socket_the_card_asks_by_itself(stack: Stack, page: Page, home: str) -> None:
    def cut(socket: WebSocketRoute) -> None:
        pass  # opened, never connected to the server: as behind a proxy that swallows what is sent

    page.route_web_socket("**/ws/**", cut)
    page.goto(submit(stack, "work_for_a_minute", "Without a socket"))
    card = page.locator(".job", has_text="Without a socket")
    page.goto(page.url)
    expect(card).to_have_attribute("data-status", "running", timeout=60_000)
    stack.django(
        "from apps.jobs.models import Job\nfrom apps.jobs.services import cancel\n"
        "cancel(Job.objects.get(title='Without a socket'))"
    )
    expect(card).to_have_attribute("data-status", "cancelled", timeout=20_000)
