"""``up --demo-billing``: reach the limit, choose a plan, be declined, pay, go on; buy more; cancel; lose it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.sounds import speech, wav_bytes
from tests.stack import Stack, running, short_folder

# A workspace on the plan Free with a voice to convert into, and five seconds of conversion left.
OWNER = """
import tempfile
from pathlib import Path
import soundfile
from django.conf import settings
from django.core.files import File
from django.test import Client
from apps.accounts import services
from apps.accounts.models import User
from apps.billing.services import ledger
from apps.jobs.models import Job
from apps.voices.models import Consent, Voice, VoiceModel
from ml.engine import Engine
from tests.sounds import speech

user = User.objects.create_user("buyer@example.org", "x")
workspace = services.create_workspace(user=user, name="Choir")
voice = Voice.objects.create(workspace=workspace, name="Mia")
Consent.objects.create(voice=voice, statement="I agree.", full_name="Mia", is_own_voice=True)
folder = Path(tempfile.mkdtemp())
soundfile.write(folder / "take.flac", speech(8.0), 48000)
Engine(converter="toy").instant([folder / "take.flac"], folder / "mia.voice")
job = Job.objects.create(workspace=workspace, kind="training", title="Training", task="none", queue="gpu")
model = VoiceModel(voice=voice, job=job, version=1, kind="instant", engine="toy", seconds_of_audio=8.0)
with (folder / "mia.voice").open("rb") as handle:
    model.file.save("x", File(handle), save=False)
model.active = True
model.save()
left = ledger.balance(workspace, "convert_seconds").left
ledger.settle(ledger.reserve(workspace=workspace, meter="convert_seconds", amount=left - 5, key="used").pk)
client = Client()
client.force_login(user)
result = client.cookies[settings.SESSION_COOKIE_NAME].value
"""
MORE_VOICES = """
from apps.accounts.models import Workspace
for name in ("Anna", "Ben"):
    Workspace.objects.get(slug="choir").voices.create(name=name)
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
    with running(data, "--demo-billing", DEFAULT_PLAN="free") as site:
        yield site
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose refusals are wanted, and in which the site's policy must stop nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(30_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Security Policy" in said.text else None)
    yield page
    context.close()
    assert not errors, errors


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


def convert(page: Page, demo: Stack, sound: Path) -> None:
    page.goto(f"{demo.url}/w/choir/convert/")
    page.locator("#id_upload").set_input_files(sound)
    page.get_by_role("button", name="Convert", exact=True).click()


def test_from_the_limit_to_a_plan_and_back(demo: Stack, page: Page, tmp_path: Path) -> None:
    """All of it crosses from our forms to another origin and back, under the site's own policy."""
    assert "Plans are sold through a local Stripe" in demo.log.read_text()
    page.context.add_cookies([{"name": "sessionid", "value": demo.django(OWNER), "url": demo.url}])
    sound = tmp_path / "song.wav"
    sound.write_bytes(wav_bytes(speech(6.0)))
    convert(page, demo, sound)
    refusal = page.locator("#convert-form [role=alert]")
    expect(refusal).to_contain_text("This takes 6 s of conversion and 5 s is left")
    refusal.get_by_role("link", name="See plans").click()

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

    convert(page, demo, sound)
    expect(page.get_by_role("heading", name="Source and result")).to_be_visible(timeout=90_000)
    page.goto(f"{demo.url}/w/choir/billing/")
    page.locator("form[action$='/billing/top-up/'] button").first.click()
    page.get_by_role("button", name="Pay with a card that works").click()
    expect(page).to_have_url(f"{demo.url}/w/choir/billing/")
    wait_for(demo, "studio", "active", False, 10, 1)

    demo.django(MORE_VOICES)
    page.locator("form[action$='/billing/portal/'] button").click()
    page.get_by_role("button", name="Cancel at the end of the period").click()
    page.get_by_role("button", name="Back to the site").click()
    expect(page).to_have_url(f"{demo.url}/w/choir/billing/")
    wait_for(demo, "studio", "active", True, 10, 1)
    page.locator("form[action$='/billing/portal/'] button").click()
    page.get_by_role("button", name="Let the paid month pass").click()
    wait_for(demo, "", "cancelled", False, 1, 1)
    page.goto(f"{demo.url}/w/choir/voices/")
    expect(page.get_by_text("Locked", exact=True)).to_have_count(1)
    assert (demo.data / "demo-stripe" / "secret").stat().st_mode & 0o077 == 0
