"""The page about the API in real Chromium: all of it opened, under the site's policy, by axe's rules, on a phone."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.browser.test_axe import judge
from tests.stack import Stack


def test_all_of_it_can_be_read_and_nothing_breaks_the_policy(browser: Browser, stack: Stack) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.set_default_timeout(60_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith(stack.url) else None)
    page.goto(f"{stack.url}/api/v1/docs")
    expect(page.get_by_role("heading", name="API", exact=True)).to_be_visible()
    assert page.locator("main details").count() > 80
    page.locator("main details").evaluate_all("all => all.forEach(one => one.open = true)")
    expect(page.locator("#create_conversion")).to_contain_text("ConversionPage".removesuffix("Page"))
    judge(page)
    page.set_viewport_size({"width": 360, "height": 800})
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{wide} px too wide for a phone"
    assert said == []
    assert foreign == []
    page.close()


def test_it_is_there_without_javascript(browser: Browser, stack: Stack) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{stack.url}/api/v1/docs")
    page.locator("#watch_job summary").click()
    expect(page.locator("#watch_job")).to_contain_text("text/event-stream")
    context.close()
