"""Players, comparisons and plots in real Chromium: by mouse and by keyboard, in both themes, and without JavaScript."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.sounds import speech, wav_bytes
from tests.stack import Stack

ADDRESS, PASSWORD = "listener@example.org", "a-long-and-quiet-song"
SECONDS = 6.0
SEED = """
from allauth.account.models import EmailAddress
from django.core.files.base import ContentFile
from django.urls import reverse
from apps.accounts import services
from apps.accounts.models import User
from tests.holdings import fill
from tests.sounds import speech, wav_bytes

user = User.objects.create_user(address, password, name="Lis")
EmailAddress.objects.create(user=user, email=address, verified=True, primary=True)
workspace = services.create_workspace(user=user, name="Listening")
held = fill(workspace, user)
conversion, artifact, source = held["conversion"], held["artifact"], held["source"]
for row, sound in ((source, speech(seconds, f0=110.0)), (artifact, speech(seconds, f0=220.0))):
    row.file.save("sound.wav", ContentFile(wav_bytes(sound)), save=False)
source.duration = seconds
peaks = [number % 10 / 10 for number in range(200)]
artifact.data |= {"seconds": seconds, "samples": int(48000 * seconds), "peaks": peaks}
source.save()
artifact.save()
times = [number / 50 for number in range(int(50 * seconds))]
conversion.curves = {"times": times, "source_f0": [110.0 + number % 7 for number in range(len(times))],
    "result_f0": [0.0 if number < 20 else 220.0 for number in range(len(times))],
    "source_peaks": peaks}
conversion.metrics = {"similarity": 0.8}
conversion.save()
slug = workspace.slug
result = {"conversion": reverse("studio:conversion", args=[slug, conversion.code]),
    "convert": reverse("studio:convert", args=[slug])}
"""
AUDIOS = """[...document.querySelectorAll('.compare audio')].map(one => (
    {time: one.currentTime, paused: one.paused, muted: one.muted, state: one.readyState}))"""
DRAWING = "document.querySelector('.player-wave > div').shadowRoot.querySelector('canvas').toDataURL()"


@pytest.fixture(scope="module")
def places(stack: Stack) -> dict[str, str]:
    """Addresses of a finished conversion and of the convert page."""
    found: dict[str, str] = stack.django(SEED, address=ADDRESS, password=PASSWORD, seconds=SECONDS)
    return {name: stack.url + path for name, path in found.items()}


def log_in(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/accounts/login/")
    page.locator("[name=login]").fill(ADDRESS)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[name=password]").press("Enter")
    page.wait_for_url("**/w/**")


@pytest.fixture
def heard(page: Page, stack: Stack, places: dict[str, str]) -> Page:
    """The conversion's page, with its comparison ready."""
    log_in(page, stack)
    page.goto(places["conversion"])
    page.wait_for_selector(".compare.is-ready")
    until(page, "document.querySelector('.player-wave > div')?.shadowRoot.querySelector('canvas')")
    return page


def audios(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate(AUDIOS)
    return found


def until(page: Page, expression: str, given: object = None) -> None:
    """Wait for an expression of JavaScript: Playwright's own waiting evaluates strings, which the site forbids."""
    limit = time.monotonic() + 15
    while not page.evaluate(expression, given):
        assert time.monotonic() < limit, expression
        page.wait_for_timeout(50)


def until_at(page: Page, seconds: float) -> None:
    until(page, f"[...document.querySelectorAll('.compare audio')].every(one => one.currentTime > {seconds})")


def until_moved_to(page: Page, seconds: float) -> None:
    """The browser may lose a move that overtakes another; the player then asks again, so it takes a moment."""
    settled = f"Math.abs(one.currentTime - {seconds}) < 0.01 && !one.seeking"
    until(page, f"[...document.querySelectorAll('.compare audio')].every(one => {settled})")


def test_waveforms_are_drawn_without_fetching_the_sound(page: Page, stack: Stack, places: dict[str, str]) -> None:
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url) if request.resource_type == "media" else None)
    log_in(page, stack)
    page.goto(places["conversion"])
    until(page, "document.querySelector('.player-wave > div')?.shadowRoot.querySelector('canvas')")
    expect(page.locator(".player-time")).to_have_text("0:00 / 0:06")
    assert fetched == []
    assert all(one["state"] == 0 for one in audios(page))


def test_the_keyboard_plays_moves_and_switches(heard: Page) -> None:
    slider = heard.get_by_role("slider", name="Position in Result")
    slider.focus()
    heard.keyboard.press("Space")
    until_at(heard, 0.5)
    expect(heard.get_by_role("button", name="Pause Source and result")).to_be_visible()
    heard.keyboard.press("Space")
    expect(heard.get_by_role("button", name="Play Source and result")).to_be_visible()
    heard.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuenow", "0.0")
    heard.keyboard.press("ArrowRight")
    heard.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "2 seconds of 6 seconds")
    heard.keyboard.press("ArrowLeft")
    until_moved_to(heard, 1.0)
    heard.keyboard.press("End")
    expect(slider).to_have_attribute("aria-valuenow", "6.0")
    heard.keyboard.press("a")
    assert [one["muted"] for one in audios(heard)] == [False, True]
    heard.keyboard.press("x")
    assert [one["muted"] for one in audios(heard)] == [True, False]


def test_source_and_result_run_together_and_one_is_heard(heard: Page) -> None:
    heard.get_by_role("button", name="Play Source and result").click()
    until_at(heard, 2.0)
    heard.get_by_role("radio", name="Source").check(force=True)
    until_at(heard, 3.5)
    now = audios(heard)
    assert abs(now[0]["time"] - now[1]["time"]) < 0.15
    assert [one["muted"] for one in now] == [False, True]
    assert not any(one["paused"] for one in now)
    expect(heard.get_by_role("button", name="Play Source and result")).to_be_visible(timeout=15_000)
    assert all(one["paused"] for one in audios(heard))
    heard.get_by_role("button", name="Play Source and result").click()
    until(heard, "document.querySelector('.compare audio').currentTime < 3")


def test_a_click_in_either_waveform_moves_both(heard: Page) -> None:
    box = heard.locator(".player-wave").first.bounding_box()
    assert box
    heard.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until_at(heard, 2.0)
    assert [one["time"] for one in audios(heard)] == pytest.approx([3.0, 3.0], abs=0.1)


def test_speed_and_volume_hold_for_both(heard: Page) -> None:
    heard.locator(".compare .player-options summary").click()
    heard.get_by_label("Speed of Source and result").select_option("1.5")
    heard.get_by_label("Volume of Source and result").fill("0.5")
    both = "[...document.querySelectorAll('.compare audio')].map(one => [one.playbackRate, one.volume])"
    assert heard.evaluate(both) == [[1.5, 0.5], [1.5, 0.5]]
    heard.keyboard.press("Escape")
    expect(heard.get_by_label("Speed of Source and result")).to_be_hidden()


def test_waveforms_follow_the_theme(heard: Page) -> None:
    heard.emulate_media(color_scheme="light")
    light = heard.evaluate(DRAWING)
    heard.emulate_media(color_scheme="dark")
    until(heard, f"light => {DRAWING} !== light", light)


def test_the_pitch_plot_has_words_and_a_table(heard: Page) -> None:
    plot = heard.get_by_role("img", name="Pitch of source and result")
    expect(plot).to_be_visible()
    assert plot.locator("path.curve").count() == 2
    assert plot.locator("path.curve-1").get_attribute("d").count("M") == 1
    heard.get_by_text("The same as a table").click()
    rows = heard.get_by_role("region", name="Table: Pitch of source and result").get_by_role("row")
    expect(rows.nth(1)).to_have_text("0110–")
    assert 20 < rows.count() <= 62


def test_one_sound_plays_at_a_time(page: Page, stack: Stack, places: dict[str, str]) -> None:
    log_in(page, stack)
    page.goto(places["conversion"])
    page.wait_for_selector(".compare.is-ready")
    page.get_by_role("button", name="Play Source and result").click()
    until_at(page, 0.3)
    page.evaluate("""() => {
        const other = new Audio(document.querySelector('.compare audio').src);
        document.body.append(other);
        return other.play();
    }""")
    until(page, "[...document.querySelectorAll('.compare audio')].every(one => one.paused)")


def test_a_refused_form_keeps_the_file_that_was_chosen(
    browser: Browser, stack: Stack, places: dict[str, str], tmp_path: Path
) -> None:
    # A page of its own: the browser logs each answer of 4xx as an error, and this one is wanted.
    with browser.new_context() as context:
        _refuse(context.new_page(), stack, places, tmp_path)


def _refuse(page: Page, stack: Stack, places: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine.wav").write_bytes(wav_bytes(speech(1.0)))
    log_in(page, stack)
    page.goto(places["convert"])
    page.locator("#id_upload").set_input_files(str(tmp_path / "mine.wav"))
    page.get_by_label("As many semitones as I say").check()
    with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        page.get_by_role("button", name="Convert", exact=True).click()
    assert answered.value.status == 422
    expect(page.get_by_text("Say by how many semitones")).to_be_visible()
    assert page.evaluate("document.querySelector('#id_upload').files[0]?.name") == "mine.wav"


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A page without JavaScript."""
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


def test_without_javascript_there_are_the_browsers_own_players(
    plain: Page, stack: Stack, places: dict[str, str]
) -> None:
    log_in(plain, stack)
    plain.goto(places["conversion"])
    sounds = plain.locator("audio[controls]")
    expect(sounds).to_have_count(2)
    for index in range(2):
        address = sounds.nth(index).get_attribute("src") or ""
        answer = plain.request.get(stack.url + address, headers={"Range": "bytes=0-3"})
        assert (answer.status, answer.body()) == (206, b"RIFF")
