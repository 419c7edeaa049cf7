"""Every page in both themes: axe finds nothing, nothing sticks out of a phone, and no page logs an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.stack import Stack
from tests.test_tenancy import ANYBODY, ENTRANCES, FILES, PATTERNS, ROUTES, TABLE

ADDRESS, PASSWORD = "axe@example.org", "a-long-and-quiet-song"
# Answers that are no page of their own: for machines, or a fragment of another page.
MACHINES = {"pages:healthz", "pages:readyz", "pages:metrics", "voices:model-resources", "rest:openapi"}
NO_PAGES = {*MACHINES, *FILES, "jobs:card", "studio:cost", "billing:done"}
# The invitation has a token of its own, below.
OUR_PAGES = sorted(
    name for name, methods in TABLE.items() if "GET" in methods and name not in NO_PAGES | {"accounts:invitation"}
)
# allauth's pages whose address needs no code; the others are reached by a letter.
SECOND_FACTOR = ["mfa_index", "mfa_deactivate_totp", "mfa_view_recovery_codes", "mfa_generate_recovery_codes"]
FOREIGN = sorted(
    name
    for name in PATTERNS
    if ROUTES[name].startswith("accounts/")
    and "<" not in ROUTES[name]
    and "recovery_codes" not in name
    and name != "mfa_deactivate_totp"
)
MORE_PAGES = {
    "a workspace with nothing in it": "pages:workspace",
    "a list of no voices": "voices:list",
    "nothing to convert into": "studio:convert",
    "a list of no jobs": "jobs:list",
    "a list of no endpoints": "webhooks:list",
    "a list of no keys": "api:keys",
}
# axe would fetch every sheet again and put copies of it into the page, which the site's policy rightly refuses.
OPTIONS = {"preload": False, "resultTypes": ["violations"]}
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
SEED = """
import math
from datetime import timedelta
from django.core.files.base import ContentFile
from django.urls import reverse
from django.utils import timezone
from allauth.account.models import EmailAddress
from apps.accounts import services
from apps.accounts.models import Membership, User
from apps.jobs.models import Artifact, Job
from tests.holdings import fill
from tests.sounds import speech, wav_bytes
from tests.test_tenancy import TABLE, kwargs_for

def person(email, name):
    user = User.objects.create_user(email, password, name=name)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user

owner = person(address, "Ada")
workspace = services.create_workspace(user=owner, name="A studio with a name that is rather long")
empty = services.create_workspace(user=owner, name="Empty")
for role in ("viewer", "editor", "admin"):
    Membership.objects.create(workspace=workspace, user=person(f"{role}@example.org", role), role=role)
held = fill(workspace, owner)
_, token = services.invite(workspace=workspace, user=owner, email="guest@example.org", role="viewer")

peaks = [abs(math.sin(number / 3)) for number in range(200)]
times = [number / 20 for number in range(100)]
sound = wav_bytes(speech(2.0))
held["take"].peaks = peaks
held["take"].save()
model = held["model"]
model.metrics = {"similarity": 0.83}
model.curve = [{"step": step, "loss": 9 / step, "held_out": 10 / step} for step in range(10, 100, 10)]
model.notes = ["The newest checkpoint was damaged; going on from step 40."]
seconds = [float(second) for second in range(1, 60)]
figures = {"cpu_percent": 95.0, "memory_bytes": 8e8, "gpu_percent": 60.0, "gpu_memory_bytes": 4e9, "gpu_celsius": 61.0}
model.resources = {
    "machines": [{"name": "NVIDIA L4", "processor": "CPU", "cores": 8, "threads": 2, "gpu": "NVIDIA L4"}],
    "attempts": [{"started_at": "2026-01-01T10:00:00+00:00", "seconds": 60.0}] * 2, "seconds": 120.0,
    "stages": {"preparing": 20.0, "training": 90.0, "checking": 10.0},
    "figures": {name: {"mean": value / 2, "peak": value, "count": 59} for name, value in figures.items()},
    "samples": {"interval_seconds": 1.0, "seconds": seconds}
    | {name: [value * (1 + math.sin(at)) / 2 for at in seconds] for name, value in figures.items()},
}
model.save()
sample = Artifact(workspace=workspace, job=model.job, kind="sample", name="step 10.wav", size=len(sound))
sample.content_type, sample.data = "audio/wav", {"step": 10, "peaks": peaks, "seconds": 2.0}
sample.file.save("sample.wav", ContentFile(sound))
artifact = held["artifact"]
artifact.data |= {"peaks": peaks}
artifact.save()
conversion = held["conversion"]
conversion.metrics = {"similarity": 0.83, "f0_correlation": 0.99, "f0_rmse_cents": 12.0, "real_time_factor": 0.1}
conversion.curves = {"times": times, "source_f0": [200 + 50 * math.sin(at) for at in times],
    "result_f0": [None if 2 < at < 3 else 300 + 50 * math.sin(at) for at in times],
    "source_peaks": peaks}
conversion.save()
now = timezone.now()
back = "It was interrupted and goes on where it was."
for status, word in (("queued", "waits"), ("running", "runs"), ("failed", "failed"), ("cancelled", "was cancelled")):
    ended = now if status in ("failed", "cancelled") else None
    Job.objects.create(workspace=workspace, created_by=owner, kind="training", title=f"A job that {word}", task="none",
        queue="nowhere", status=status, progress=0.4 if status == "running" else 0.0, started_at=now, ended_at=ended,
        heartbeat_at=now + timedelta(days=1), message="The file ends too early; upload it again." if ended else back)
Job.objects.create(workspace=workspace, created_by=owner, kind="conversion", title="A job that is tried again",
    task="none", queue="nowhere", retries=1, not_before=now + timedelta(minutes=5),
    message="The storage could not be had; it goes on by itself.")
result = {"paths": {name: reverse(name, kwargs=kwargs_for(name, held)) for name in TABLE},
    "empty": {name: reverse(name, args=[empty.slug]) for name in empty_pages},
    "foreign": {name: reverse(name) for name in foreign},
    "invitation": {"open": reverse("accounts:invitation", args=[token])}}
"""

ACTIVATE = """
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from apps.accounts.models import User
user = User.objects.get(email=address)
TOTP.activate(user, generate_totp_secret())
RecoveryCodes.activate(user)
"""


@pytest.fixture(scope="module")
def places(stack: Stack) -> dict[str, dict[str, str]]:
    """Fill the site; return the addresses of a full workspace, of an empty one, and of allauth's pages."""
    given: dict[str, Any] = {"address": ADDRESS, "password": PASSWORD, "foreign": [*FOREIGN, *SECOND_FACTOR]}
    found: dict[str, dict[str, str]] = stack.django(SEED, empty_pages=sorted(set(MORE_PAGES.values())), **given)
    return found


def _context(browser: Browser) -> BrowserContext:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(60_000)  # the machine may be busy
    return context


@pytest.fixture(scope="module")
def nobody(browser: Browser) -> Iterator[BrowserContext]:
    """A browser in which nobody is logged in."""
    context = _context(browser)
    yield context
    context.close()


@pytest.fixture(scope="module")
def owner(browser: Browser, stack: Stack, places: dict[str, dict[str, str]]) -> Iterator[BrowserContext]:
    """A browser in which the full workspace's owner has just logged in."""
    context = _context(browser)
    page = context.new_page()
    page.goto(f"{stack.url}/accounts/login/")
    page.locator("[name=login]").fill(ADDRESS)
    page.locator("[name=password]").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Log in").click()
    expect(page.get_by_role("navigation", name="Workspace")).to_be_visible()
    page.close()
    yield context
    context.close()


def look(context: BrowserContext, address: str, *, status: int = 200) -> None:
    """Open the page and judge it by day, by night and on a phone."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    answer = page.goto(address)
    assert answer is not None
    assert answer.status == status, address
    if status != 200:
        errors.clear()  # Chromium logs every such answer
    judge(page)
    page.set_viewport_size({"width": 360, "height": 800})
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{address} is {wide} px too wide for a phone"
    assert not errors, errors
    page.close()


def judge(page: Page) -> None:
    """Let axe judge what is open: by all rules, then, in the other theme, by those that look at colours."""
    for theme, options in (("light", OPTIONS), ("dark", OPTIONS | {"runOnly": COLOUR_RULES})):
        page.emulate_media(color_scheme=theme)
        found = Axe().run(page, options=options)
        assert found.violations_count == 0, f"{page.url}, {theme}\n{found.generate_report()}"


@pytest.mark.parametrize("name", OUR_PAGES)
def test_every_page_of_ours_is_clean(
    name: str, places: dict[str, dict[str, str]], owner: BrowserContext, stack: Stack
) -> None:
    look(owner, stack.url + places["paths"][name])


@pytest.mark.parametrize(
    "name", [name for name in OUR_PAGES if TABLE[name]["GET"] == ANYBODY and "<" not in ROUTES[name]]
)
def test_every_public_page_is_clean(
    name: str, places: dict[str, dict[str, str]], nobody: BrowserContext, stack: Stack
) -> None:
    look(nobody, stack.url + places["paths"][name])


@pytest.mark.parametrize("what", MORE_PAGES)
def test_every_empty_page_is_clean(
    what: str, places: dict[str, dict[str, str]], owner: BrowserContext, stack: Stack
) -> None:
    look(owner, stack.url + places["empty"][MORE_PAGES[what]])


@pytest.mark.parametrize("name", FOREIGN)
def test_every_page_of_allauth_is_clean(
    name: str, places: dict[str, dict[str, str]], nobody: BrowserContext, owner: BrowserContext, stack: Stack
) -> None:
    look(nobody if name in ENTRANCES else owner, stack.url + places["foreign"][name])


def test_an_invitation_is_clean_for_who_has_no_account_yet(
    places: dict[str, dict[str, str]], nobody: BrowserContext, stack: Stack
) -> None:
    look(nobody, stack.url + places["invitation"]["open"])


def test_a_missing_page_is_clean(places: dict[str, dict[str, str]], owner: BrowserContext, stack: Stack) -> None:
    look(owner, stack.url + places["paths"]["pages:workspace"] + "nothing/", status=404)


def test_an_invalid_form_says_so_and_takes_the_focus(
    places: dict[str, dict[str, str]], owner: BrowserContext, stack: Stack
) -> None:
    page = owner.new_page()
    page.goto(stack.url + places["paths"]["voices:new"])
    name = page.get_by_role("textbox", name="Name")
    name.evaluate("field => field.required = false")  # else the browser itself refuses to send it
    page.get_by_role("main").get_by_role("button").first.click()
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_be_focused()
    judge(page)
    page.close()


def test_a_new_key_is_shown_cleanly_copied_and_not_shown_again(
    places: dict[str, dict[str, str]], owner: BrowserContext, stack: Stack
) -> None:
    owner.grant_permissions(["clipboard-read", "clipboard-write"], origin=stack.url)
    page = owner.new_page()
    page.goto(stack.url + places["paths"]["api:key-new"])
    page.get_by_role("textbox", name="Name").fill("nightly renders")
    page.get_by_role("spinbutton", name="Conversion, s").first.fill("600")
    page.get_by_role("button", name="Make the key").dblclick()
    key = page.get_by_label("Key", exact=True)
    expect(key).to_have_value(re.compile(r"^vc_[\w-]{43}$"))
    judge(page)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    secret = key.input_value()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    page.reload()
    expect(page.get_by_text("was made already")).to_be_visible()
    assert secret not in page.content()
    expect(page.get_by_text("nightly renders")).to_have_count(1)
    page.close()


def test_what_opens_over_a_page_is_clean_and_closes_by_escape(
    places: dict[str, dict[str, str]], owner: BrowserContext, stack: Stack
) -> None:
    page = owner.new_page()
    page.goto(stack.url + places["paths"]["voices:model"])
    for summary in ("Workspace:", "Your account"):
        menu = page.locator(f"summary[aria-label^='{summary}']")
        menu.click()
        judge(page)
        page.keyboard.press("Escape")
        expect(page.locator("details.menu[open]")).to_have_count(0)
        expect(menu).to_be_focused()
    page.get_by_role("button", name="Delete", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("cannot be undone")
    judge(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.url.endswith(places["paths"]["voices:model"])
    page.close()


def test_the_chosen_theme_stays(places: dict[str, dict[str, str]], nobody: BrowserContext, stack: Stack) -> None:
    page = nobody.new_page()
    page.emulate_media(color_scheme="light")
    page.goto(stack.url)
    page.get_by_role("button", name="Switch to dark theme").click()
    dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.goto(f"{stack.url}/accounts/login/")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == dark
    page.get_by_role("button", name="Switch to light theme").click()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != dark
    page.close()


def test_every_page_of_a_second_factor_is_clean(
    places: dict[str, dict[str, str]], owner: BrowserContext, stack: Stack
) -> None:
    # Last, because from here on the owner's log-in asks for a code.
    stack.django(ACTIVATE, address=ADDRESS)
    for name in SECOND_FACTOR:
        look(owner, stack.url + places["foreign"][name])
