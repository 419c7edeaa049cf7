"""Recordings come in by the browser: through a broken connection, from the microphone, and by the keyboard."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.sounds import speech, wav_bytes
from tests.stack import Stack

SIGN_UP = """
import uuid
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from apps.accounts.models import User
from apps.accounts.services import create_workspace
from apps.voices.services.voices import create_voice
user = User.objects.create_user(f"{uuid.uuid4().hex}@example.org")
workspace = create_workspace(user=user, name="Choir")
voice = create_voice(workspace=workspace, user=user, name="Anna")
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.create()
result = [session.session_key, f"/w/{workspace.slug}/voices/{voice.code}/"]
"""


@pytest.fixture
def address(stack: Stack, page: Page) -> str:
    """The page of a new voice, whose maker is logged in."""
    return log_in(page, stack)


def write(path: Path, seconds: float, *, rate: int = 16000, seed: int = 0) -> str:
    path.write_bytes(wav_bytes(speech(seconds, rate=rate, seed=seed), rate))
    return str(path)


def lose(page: Page, numbers: set[int]) -> list[str]:
    """Cut the connection at these PATCH requests; return the offsets that are asked to be written, as they come."""
    offsets: list[str] = []

    def meddle(route: Route) -> None:
        if route.request.method == "PATCH":
            offsets.append(route.request.headers["upload-offset"])
            if len(offsets) in numbers:
                route.abort("connectionreset")
                return
        route.continue_()

    page.route("**/uploads/**", meddle)
    return offsets


@pytest.fixture
def quiet_page(browser: Browser) -> Any:
    """A page whose console may log: cut connections and refusals are logged by the browser itself."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["microphone"])
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


def log_in(page: Page, stack: Stack) -> str:
    session, path = stack.django(SIGN_UP)
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": stack.url}])
    return f"{stack.url}{path}"


def test_an_upload_goes_on_by_itself_after_the_connection_is_cut(
    quiet_page: Page, stack: Stack, tmp_path: Path
) -> None:
    page = quiet_page
    page.goto(log_in(page, stack))
    file = write(tmp_path / "long take.wav", 60.0, rate=48000)  # 5.8 MB: two parts
    offsets = lose(page, {2})
    page.get_by_label("Add recordings of this voice").set_input_files(file)
    expect(page.get_by_text("The connection is cut; going on by itself…")).to_be_visible()
    expect(page.locator("#recording-list").get_by_role("link", name="long take.wav")).to_be_visible()
    assert offsets == ["0", "4194304", "4194304"]  # the part that was lost, and not the one before it
    expect(page.locator("#preflight").get_by_text("Listening to 1 recording")).to_be_visible()
    expect(page.locator("#recording-list").get_by_text("usable")).to_be_visible(timeout=120_000)


def test_a_bad_file_is_told_beside_the_good_ones(quiet_page: Page, stack: Stack, tmp_path: Path) -> None:
    page = quiet_page
    page.goto(log_in(page, stack))
    bad = tmp_path / "song.mp3"
    bad.write_bytes(b"<!doctype html><title>404</title>")
    page.get_by_label("Add recordings of this voice").set_input_files([str(bad), write(tmp_path / "good.wav", 4.0)])
    expect(page.locator("#recording-list").get_by_role("link", name="good.wav")).to_be_visible()
    expect(page.get_by_role("alert").filter(has_text="This is a web page, not audio")).to_be_visible()
    expect(page.get_by_text("1 of 2 files added.")).to_be_attached()
    page.get_by_role("button", name="Dismiss the message about song.mp3").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_recording_is_made_in_the_page_while_reading(quiet_page: Page, stack: Stack) -> None:
    page = quiet_page
    address = log_in(page, stack)
    page.goto(address)
    page.get_by_role("link", name="Record here").click()
    expect(page.get_by_text("Every evening the harbour lights")).to_be_visible()
    page.get_by_role("button", name="Record", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("Microphone level")).to_be_visible()
    page.get_by_role("button", name="Next sentence").click()
    expect(page.get_by_text("Could you bring me the blue jug")).to_be_visible()
    page.wait_for_timeout(2500)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Keep this recording")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 recording made here so far")).to_be_visible()
    page.goto(address)
    page.locator("#recording-list").get_by_role("link", name=re.compile(r"^Recording 20")).click()
    page.get_by_text("What was read").click()
    expect(page.get_by_text(re.compile("harbour lights.*blue jug"))).to_be_visible()


def test_takes_are_heard_and_dropped_by_the_keyboard(page: Page, address: str, tmp_path: Path) -> None:
    page.goto(address)
    page.get_by_label("Add recordings of this voice").set_input_files(write(tmp_path / "takes.wav", 15.0))
    fold = page.locator("#recording-list summary")
    fold.wait_for(timeout=120_000)
    fold.focus()
    page.keyboard.press("Enter")
    take = page.locator("li[id^='take-']").first
    take.get_by_role("button", name=re.compile("^Play")).focus()
    page.keyboard.press("Enter")
    expect(take.get_by_role("button", name=re.compile("^Pause"))).to_be_visible()
    drop = take.get_by_role("button", name=re.compile("^Drop"))
    drop.focus()
    page.keyboard.press("Enter")
    expect(take.get_by_text("Take back in")).to_be_visible()
    expect(take.get_by_text("Dropped")).to_be_visible()


def test_without_javascript_files_are_still_added(browser: Browser, stack: Stack, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(log_in(page, stack))
    page.get_by_label("Add recordings of this voice").set_input_files(write(tmp_path / "plain.wav", 4.0))
    page.get_by_role("button", name="Add these files").click()
    expect(page.get_by_text("1 recording added.")).to_be_visible()
    expect(page.get_by_role("link", name="plain.wav")).to_be_visible()
    context.close()


def test_consent_is_given_without_javascript_in_two_looks(browser: Browser, stack: Stack) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(log_in(page, stack) + "consent/")
    page.get_by_label("Full name of the speaker").fill("Anna Example")
    page.get_by_role("button", name="Keep this consent").click()
    expect(page.get_by_text("I, Anna Example, agree that recordings of my own voice")).to_be_visible()
    page.get_by_label("I have read the statement and agree to it").check()
    page.get_by_role("button", name="Keep this consent").click()
    expect(page.get_by_text("In force")).to_be_visible()
    context.close()
