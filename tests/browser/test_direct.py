"""A site whose files lie in a bucket: recordings go from Chromium straight to the store, and sound comes from it."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import swift
from tests.browser.test_voices import log_in, write
from tests.sounds import tone, wav_bytes
from tests.stack import Stack, running, short_folder

pytestmark = pytest.mark.slow
OPEN = """
from apps.voices.models import Upload
result = Upload.objects.count()
"""
PLAYING = "document.querySelector('.player[data-peaks] audio')"
KEPT = """
from apps.voices.models import Recording, Upload
row = Recording.objects.get(name=name)
with row.file.open() as kept:
    result = [row.size, row.sha256, row.file.name, kept.read(4).decode(), Upload.objects.count()]
"""


@pytest.fixture(scope="module")
def store() -> Iterator[swift.Server]:
    swift.skip_unless_installed()
    with swift.server() as server:
        yield server


@pytest.fixture(scope="module")
def site(store: swift.Server) -> Iterator[Stack]:
    data = short_folder()
    with running(data, **store.settings) as started:
        yield started
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Page]:
    """A page whose console may log: refused and cut connections are logged by the browser itself."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def requests_of(page: Page) -> list[tuple[str, str]]:
    """Return a list that fills with the method and address of what the page asks for."""
    seen: list[tuple[str, str]] = []
    page.on("request", lambda request: seen.append((request.method, request.url)))
    return seen


def sent_to(seen: list[tuple[str, str]], origin: str, *methods: str) -> list[str]:
    return [urlsplit(url).path for method, url in seen if url.startswith(origin) and method in methods]


def test_a_recording_goes_straight_to_the_store_and_is_heard_from_there(
    page: Page, site: Stack, store: swift.Server, tmp_path: Path
) -> None:
    page.goto(log_in(page, site))
    seen = requests_of(page)
    file = Path(write(tmp_path / "long take.wav", 60.0, rate=48000))  # 5.8 MB: two parts, if it came in parts
    page.get_by_label("Add recordings of this voice").set_input_files(str(file))
    row = page.locator("#recording-list")
    expect(row.get_by_role("link", name="long take.wav")).to_be_visible(timeout=60_000)
    [put] = sent_to(seen, store.endpoint, "PUT")
    assert "/uploads/" in put and put.endswith("/whole")
    assert sent_to(seen, site.url, "PATCH", "PUT") == [], "no byte of it passed through the site"
    size, _, name, head, left = site.django(KEPT, name="long take.wav")
    assert (size, head, left) == (file.stat().st_size, "RIFF", 0)
    assert name in {item["Key"] for item in store.client().list_objects_v2(Bucket=store.bucket)["Contents"]}
    expect(row.get_by_text("usable")).to_be_visible(timeout=120_000)
    row.get_by_role("link", name="long take.wav").click()
    with page.expect_response(lambda answer: answer.url.startswith(store.endpoint)) as heard:
        page.get_by_role("button", name="Play").first.click()
    assert heard.value.status in (200, 206)
    page.wait_for_function("() => [...document.querySelectorAll('audio')].some((audio) => audio.currentTime > 0.2)")


class EndingAddresses(BaseHTTPRequestHandler):
    """Sends /sound on to an address that counts up, as the site does; only the newest that is allowed plays."""

    protocol_version = "HTTP/1.1"
    sound = wav_bytes(tone(300.0, rate=48000), 48000)  # 29 MB: more than browsers read ahead
    given, ended = 0, 0

    def log_message(self, *parts: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        kind = type(self)
        if self.path == "/sound":
            kind.given += 1
            return self.say(302, {"Location": f"/{kind.given}", "Cache-Control": "private, no-store"})
        if int(self.path[1:]) <= kind.ended:
            return self.say(403, {})
        first = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        last = len(kind.sound) - 1
        self.say(
            206, {"Content-Range": f"bytes {first}-{last}/{last + 1}", "Content-Type": "audio/wav"}, last + 1 - first
        )
        with contextlib.suppress(OSError):  # the browser has heard enough
            for start in range(first, last + 1, 65536):
                self.wfile.write(kind.sound[start : start + 65536])
                time.sleep(0.02)  # slowly, so that the rest is not there yet when it is jumped to

    def say(self, status: int, headers: dict[str, str], length: int = 0) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def ending() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), EndingAddresses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/sound"
    server.shutdown()


def test_sound_whose_address_has_ended_goes_on_from_another(
    browser: Browser, site: Stack, ending: str, tmp_path: Path
) -> None:
    context = browser.new_context(bypass_csp=True)  # this store is none of the site's
    page = context.new_page()
    page.goto(log_in(page, site))
    page.get_by_label("Add recordings of this voice").set_input_files(write(tmp_path / "long.wav", 4.0, seed=3))
    expect(page.locator("#recording-list").get_by_text("usable")).to_be_visible(timeout=120_000)
    page.locator("#recording-list").get_by_role("link", name="long.wav").click()
    take = page.locator(".player[data-peaks]").first  # drawn without being fetched
    expect(take.locator(".player-wave")).to_be_visible()
    page.evaluate(f"{PLAYING}.src = '{ending}'")
    take.get_by_role("button", name="Play").click()
    page.wait_for_function(f"() => {PLAYING}.currentTime > 0.2")
    EndingAddresses.ended = EndingAddresses.given
    page.evaluate(f"{PLAYING}.currentTime = 200")
    page.wait_for_function(f"() => {PLAYING}.currentTime > 200.2 && !{PLAYING}.paused", timeout=20_000)
    assert EndingAddresses.given == EndingAddresses.ended + 1
    before, EndingAddresses.ended = (
        EndingAddresses.given,
        1000,
    )  # and a sound that is gone for good is not asked for again and again
    page.evaluate(f"{PLAYING}.currentTime = 10")
    expect(page.get_by_text("This sound could not be played.")).to_be_visible()
    assert EndingAddresses.given == before + 1
    context.close()


def test_when_the_store_cannot_be_reached_the_recording_comes_in_parts(
    visit: Page, site: Stack, store: swift.Server, tmp_path: Path
) -> None:
    visit.goto(log_in(visit, site))
    visit.route(f"{store.endpoint}/**", lambda route: route.abort("connectionrefused"))
    seen = requests_of(visit)
    files = [write(tmp_path / f"{name}.wav", 4.0, seed=seed) for seed, name in enumerate(("first", "second", "third"))]
    visit.get_by_label("Add recordings of this voice").set_input_files(files)
    for name in ("first", "second", "third"):
        expect(visit.locator("#recording-list").get_by_role("link", name=f"{name}.wav")).to_be_visible()
    assert len(sent_to(seen, site.url, "PATCH")) == 3
    assert 1 <= len(sent_to(seen, store.endpoint, "PUT")) <= 2, "two at once, then nobody tries again"
    assert site.django(KEPT, name="third.wav")[4] == 0, "what was given up is forgotten"


def test_a_file_that_is_no_sound_is_told_in_its_row(visit: Page, site: Stack, tmp_path: Path) -> None:
    visit.goto(log_in(visit, site))
    bad = tmp_path / "song.mp3"
    bad.write_bytes(b"<!doctype html><title>404</title>")
    visit.get_by_label("Add recordings of this voice").set_input_files([str(bad), write(tmp_path / "good.wav", 4.0)])
    expect(visit.locator("#recording-list").get_by_role("link", name="good.wav")).to_be_visible()
    expect(visit.get_by_role("alert").filter(has_text="This is a web page, not audio")).to_be_visible()


def test_an_upload_that_is_cancelled_leaves_nothing(
    visit: Page, site: Stack, store: swift.Server, tmp_path: Path
) -> None:
    visit.goto(log_in(visit, site))
    held: list[Any] = []
    visit.route(f"{store.endpoint}/**", lambda route: held.append(route))  # on its way, until somebody gives up
    visit.get_by_label("Add recordings of this voice").set_input_files(write(tmp_path / "never.wav", 4.0))
    expect(visit.get_by_role("button", name="Cancel never.wav")).to_be_visible()
    visit.wait_for_timeout(2000)
    assert len(held) == 1 and site.django(OPEN) == 1
    visit.get_by_role("button", name="Cancel never.wav").click()
    expect(visit.get_by_role("alert").filter(has_text="Cancelled.")).to_be_visible()
    visit.wait_for_timeout(1000)
    assert site.django(OPEN) == 0
