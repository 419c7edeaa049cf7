"""The staff's pages in real Chromium: axe finds nothing, they fit a phone, the site's policy lets them be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, expect

from tests.stack import Stack

SEED = """
import django_rq
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from apps.accounts import services
from apps.accounts.models import User
from apps.jobs import orphans, presence
from apps.jobs.models import Fault, Job
from tests.holdings import fill

boss = User.objects.create_superuser("boss@example.org", "x", name="Steffi")
workspace = services.create_workspace(user=boss, name="A choir with a name that is rather long for a table")
fill(workspace, boss)
orphans.sweep_orphans()
services.audit(workspace=workspace, user=boss, action="staff.run_again", target="job Hello as Ada")
job = Job.objects.create(workspace=workspace, kind="conversion", title="Song", task="none", queue="gpu",
    status="failed", message="Something went wrong on our side (error 4711).", error_id="4711",
    started_at=timezone.now(), ended_at=timezone.now())
Fault.objects.create(job=job, attempt=1, error_id="4711", name="ValueError", traceback="Traceback\\n  in a line " * 9)
client = Client()
client.force_login(boss)
result = {"cookie": client.cookies[settings.SESSION_COOKIE_NAME].value, "paths": {
    "admin": reverse("admin:index"), "queues": reverse("staff:queues"), "storage": reverse("staff:storage"),
    "workspaces": reverse("staff:workspaces"), "workspace": reverse("staff:workspace", args=[workspace.code]),
    "failed job": reverse("admin:jobs_job_change", args=[job.pk])}}
"""
# Those of Django's own admin, inside its pages, are not ours to judge.
OURS = {"admin": ".staff-links", "failed job": "#faults-group pre"}
OPTIONS = {"preload": False, "resultTypes": ["violations"]}


@pytest.fixture(scope="module")
def staff(browser: Browser, stack: Stack) -> Iterator[tuple[BrowserContext, dict[str, str]]]:
    """A browser in which staff are logged in, and the addresses to look at."""
    seeded = stack.django(SEED)
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    context.add_cookies([{"name": "sessionid", "value": seeded["cookie"], "url": stack.url}])
    yield context, seeded["paths"]
    context.close()


@pytest.mark.parametrize("name", ["admin", "queues", "workspaces", "workspace", "storage", "failed job"])
def test_each_page_is_clean(name: str, staff: tuple[BrowserContext, dict[str, str]], stack: Stack) -> None:
    context, paths = staff
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    answer = page.goto(stack.url + paths[name])
    assert answer is not None and answer.status == 200
    part = OURS.get(name, "#content")
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        found = Axe().run(page, context=part, options=OPTIONS)
        assert found.violations_count == 0, f"{name}, {theme}\n{found.generate_report()}"
    page.set_viewport_size({"width": 360, "height": 800})
    if name not in OURS:
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} px too wide for a phone"
    assert not errors, errors
    page.close()


def test_staff_go_from_the_front_page_to_a_workspace_by_keyboard_and_links(
    staff: tuple[BrowserContext, dict[str, str]], stack: Stack
) -> None:
    context, paths = staff
    page = context.new_page()
    page.goto(stack.url + paths["admin"])
    page.get_by_role("link", name="What workspaces use").focus()
    page.keyboard.press("Enter")
    page.get_by_role("searchbox", name="Name or address").fill("choir")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="A choir with").click()
    expect(page.get_by_role("heading", name="What staff did")).to_be_visible()
    expect(page.get_by_text("staff.run_again")).to_be_visible()
    page.close()
