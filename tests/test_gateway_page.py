"""The live page in headless Chromium: what it shows, that it can be used without a mouse, and on a phone."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from nanostream.gateway.config import GatewayConfig
from nanostream.gateway.server import serving
from nanostream.recipe import Recipe
from nanostream.testing import FakeSynth

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.slow,
    # Playwright leaves its loop to be collected.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
TOKEN = "a-token-of-the-tests-own"  # noqa: S105 - it opens nothing
RECIPES = (Recipe.preset("tio2-sem"), Recipe.preset("agnw-sem"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = os.environ.get("NANOSTREAM_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("there is no Chromium here: apt-get install chromium, or name one in NANOSTREAM_CHROMIUM")
    with sync_playwright() as playwright:
        # In a container Chromium has no user namespace for its sandbox; it sees nothing but our own page.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    settings = GatewayConfig(recipes=RECIPES, port=0, workers=0, synth=FakeSynth, allow_recipes=True)
    with serving(settings) as address:
        yield address


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def page(browser: Browser, address: str, complaints: list[str]) -> Iterator[Page]:
    """The page, with what its console and its network complained of."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda told: complaints.append(told.text) if told.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: check_inside(asked.url, address, complaints))
    page.goto(address)
    yield page
    page.close()
    assert not complaints


def check_inside(url: str, address: str, complaints: list[str]) -> None:
    if not url.startswith((address, "data:", "blob:")):
        complaints.append(f"asked for {url}")


def test_newest_samples_and_figures_are_live(page: Page) -> None:
    """Samples come by themselves, with masks over them, and the figures move; nothing from outside is asked for."""
    expect(page.locator("#wall li")).to_have_count(3, timeout=20_000)
    for image in page.locator("#wall img").all():
        assert image.evaluate("one => one.complete && one.naturalWidth") == 256
    expect(page.locator("#workers")).to_have_text("1 of 1")
    expect(page.locator("#delivered")).to_have_text(re.compile(r"[1-9]"))
    expect(page.locator("#problem")).to_be_hidden()


def test_recipe_and_sliders_change_what_is_rendered(page: Page) -> None:
    """Another recipe and a moved slider are what the next samples and the snippets are of."""
    expect(page.locator("#wall li").first).to_be_visible(timeout=20_000)
    page.get_by_label("Recipe", exact=True).select_option("agnw-sem")
    expect(page.locator("#wall img").first).to_have_attribute("alt", re.compile("agnw-sem"), timeout=20_000)
    slider = page.get_by_label("median diameter")
    slider.focus()
    page.keyboard.press("ArrowRight")
    shown = re.compile(r"agnw-sem,scene\.sizes\.median_nm=[0-9.]+, seed 0")
    expect(page.locator("#wall img").first).to_have_attribute("alt", shown, timeout=20_000)
    expect(page.locator("#snippets")).to_contain_text("/v1/agnw-sem,scene.sizes.median_nm=")
    page.get_by_role("button", name="Back to the recipe's own").click()
    expect(page.locator("#snippets")).not_to_contain_text("median_nm")


def test_sliders_ends_are_accepted(page: Page) -> None:
    """Whatever end a slider is moved to, the gateway renders it."""
    expect(page.locator("#wall li").first).to_be_visible(timeout=20_000)
    count = page.locator("#sliders input").count()
    assert count > 2
    for key in ("Home", "End"):
        for at in (0, count // 2, count - 1):
            slider = page.locator("#sliders input").nth(at)
            slider.focus()
            page.keyboard.press(key)
            field = (slider.get_attribute("id") or "").removeprefix("knob-")
            shown = re.compile(re.escape(field))
            expect(page.locator("#wall img").first).to_have_attribute("alt", shown, timeout=20_000)
    expect(page.locator("#problem")).to_be_hidden()


def test_overlay_and_pause(page: Page) -> None:
    """The overlay's slider makes masks clear or solid, and a paused page asks for no more."""
    expect(page.locator("#wall li").first).to_be_visible(timeout=20_000)
    page.get_by_label("Mask overlay").focus()
    page.keyboard.press("End")
    assert page.locator(".overlay").first.evaluate("one => one.style.opacity") == "1"
    button = page.get_by_role("button", name="Pause")
    button.click()
    expect(page.get_by_role("button", name="Go on")).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(1500)
    before = page.locator("#wall li").count()
    page.wait_for_timeout(2500)
    assert page.locator("#wall li").count() == before


def test_keyboard_reaches_every_control(page: Page) -> None:
    """Tab goes through all controls in order, each with a name for a screen reader and a visible focus."""
    expect(page.locator("#wall li").first).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Pause").click()
    page.evaluate("document.activeElement.blur()")
    wanted = page.evaluate("""() => [...document.querySelectorAll('a, button, input, select, summary, pre')]
        .filter(one => one.checkVisibility()).length""")
    seen = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate("""() => { const one = document.activeElement;
            return [one.tagName, one.getAttribute('aria-label') || one.id || one.textContent,
                    getComputedStyle(one).outlineStyle].join('|') }""")
        )
    controls = {one for one in seen if not one.startswith("BODY")}
    assert len(controls) >= wanted - 1
    assert all(one.endswith(("|solid", "|auto")) for one in controls), controls
    assert not page.evaluate(NAMELESS)


NAMELESS = """() => [...document.querySelectorAll('button, input, select, a')].filter(one =>
    one.checkVisibility() && !(one.labels && one.labels.length) && !one.textContent.trim()
    && !one.getAttribute('aria-label')).map(one => one.outerHTML)"""


def test_structure_is_readable_to_a_screen_reader(page: Page) -> None:
    """The page has a language, a title, one main heading, named regions, images with words, and a named graph."""
    expect(page.locator("#wall li").first).to_be_visible(timeout=20_000)
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.title()
    assert page.get_by_role("heading", level=1).count() == 1
    for name in ("Now", "What is rendered", "Newest samples", "How to connect"):
        expect(page.get_by_role("region", name=name)).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Samples rendered a second"))).to_be_visible()
    assert all(image.get_attribute("alt") is not None for image in page.locator("img").all())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser: Browser, address: str, scheme: Any) -> None:
    """Text stands out from its ground by at least 4.5 to 1 in light and dark (WCAG 2.2, 1.4.3)."""
    page = browser.new_page(color_scheme=scheme)
    page.goto(address)
    expect(page.locator("#snippets pre").first).to_be_visible(timeout=20_000)
    assert page.evaluate(CONTRAST) >= 4.5
    page.close()


CONTRAST = """() => {
  const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((one) => one / 255)
      .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (one) => { while (one) { const color = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$/.test(color)) return color; one = one.parentElement; } return 'rgb(255, 255, 255)'; };
  const names = 'h1, h2, h3, p, dt, dd, label, output, button, a, pre, summary, figcaption';
  const texts = [...document.querySelectorAll(names)]
      .filter((one) => one.checkVisibility() && one.textContent.trim() && !one.classList.contains('skip'));
  return Math.min(...texts.map((one) => { const [a, b] = [light(getComputedStyle(one).color), light(ground(one))];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }));
}"""


def test_phone_needs_no_scrolling_sideways(browser: Browser, address: str) -> None:
    """At 360 pixels nothing runs over the edge, and every control is large enough for a finger."""
    page = browser.new_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.goto(address)
    expect(page.locator("#wall li").first).to_be_visible(timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate("""() => [...document.querySelectorAll('button, input, select, summary')]
        .filter(one => one.checkVisibility() && one.getBoundingClientRect().height < 24).map(one => one.outerHTML)""")
    assert not small
    page.close()


def test_token_is_asked_for_and_used(browser: Browser) -> None:
    """With a token set the page asks for it, says when it is wrong, and shows samples once it is right."""
    settings = GatewayConfig(recipes=RECIPES[:1], port=0, workers=0, synth=FakeSynth, token=TOKEN)
    with serving(settings) as address:
        page = browser.new_page()
        page.goto(address)
        field = page.get_by_label("Token of this gateway")
        expect(field).to_be_focused(timeout=20_000)
        expect(page.locator("#knobs")).to_be_hidden()
        field.fill("another-token-than-theirs")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("token", timeout=20_000)
        field.fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#wall li").first).to_be_visible(timeout=20_000)
        expect(field).to_be_hidden()
        expect(page.locator("#problem")).to_be_hidden(timeout=20_000)
        assert TOKEN not in page.content()
        page.close()


@pytest.mark.parametrize("token", [None, TOKEN])
def test_snippets_run_as_they_stand(browser: Browser, tmp_path: pathlib.Path, token: str | None) -> None:
    """What the page says about connecting works when it is copied, with a token in the environment and without."""
    settings = GatewayConfig(recipes=RECIPES[:1], port=0, workers=0, synth=FakeSynth, token=token, shard_size=4)
    with serving(settings) as address:
        page = browser.new_page()
        page.goto(address)
        if token is not None:
            page.get_by_label("Token of this gateway").fill(token)
            page.keyboard.press("Enter")
        expect(page.locator("#snippets code")).to_have_count(4, timeout=20_000)
        snippets = dict(
            zip(page.locator("h3").all_text_contents(), page.locator("code").all_text_contents(), strict=True)
        )
        page.close()
        environment = {**os.environ, **({} if token is None else {"NANOSTREAM_TOKEN": token})}
        run = functools.partial(subprocess.run, cwd=tmp_path, env=environment, check=True, timeout=120)
        for name, text in snippets.items():
            assert token is None or token not in text
            if name == "One sample":
                run(["sh", "-c", text])
                assert sorted(np.load(tmp_path / "17.npz", allow_pickle=False)) == ["image", "mask", "meta"]
            else:
                # The streams do not end, so a first batch has to do.
                run([sys.executable, "-c", text + "\n    print('read')\n    break" if "for " in text else text])
