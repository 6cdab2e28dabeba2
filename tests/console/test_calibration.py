"""Calibration: the states of a version whose labels come back, and the numbers of its page in the API."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from service.api import calibration
from service.journal.state import write_state
from tests.conftest import Running, serving
from tests.console.conftest import Open, opened
from tests.live.made import drawn, told

DIGITS = "#/calibration/digits/1"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Running]:
    """A service that keeps a journal, in which the tests say what the live process would."""
    with serving(journal=tmp_path) as running:
        yield running


def tell(running: Running, n: int, sharper: float = 1.0) -> Any:
    """Say that so many labels came, of two groups, for a head that is sharper than it should be."""
    rows = drawn(2 * n, 0, sharper)
    rows = rows[rows["confidence"] > 0.2][:n]  # of ten classes the best has a tenth at least
    rows["index"] = np.arange(n)
    rows["group"] = np.array(["north", "south"], object)[np.arange(n) % 2]
    assert running.service.settings.journal is not None
    state = told(rows)
    write_state(running.service.settings.journal, state)
    return state["models"]["digits/1"]


def test_without_a_journal_it_says_which_option_brings_one(visit: Open) -> None:
    page = visit("#/calibration")
    expect(page.get_by_text("calibrant serve --journal journal/")).to_be_visible()


def test_from_no_label_to_the_alarm(browser: Browser, journal: Running) -> None:
    with opened(browser, journal.url, DIGITS) as page:
        state = page.locator(".state")
        expect(state).to_contain_text("none")
        expect(page.get_by_text("No label has come back yet.")).to_be_visible()
        tell(journal, 83)
        expect(state).to_contain_text("collecting, 83 of 200 labels")
        expect(page.get_by_role("img", name="Reliability diagram, Live")).to_have_count(0)
        found = tell(journal, 1000)
        expect(state).to_contain_text("watching")
        expect(page.get_by_role("img", name="Reliability diagram, Live")).to_be_visible()
        expect(page.get_by_role("img", name="Reliability diagram, As fitted")).to_be_visible()
        ece = found["report"]["ece"]
        expect(page.locator(".figures")).to_contain_text(f"{100 * ece['value']:.1f} %")
        expect(page.locator(".figures")).to_contain_text(f"{100 * ece['low']:.1f} % to {100 * ece['high']:.1f} %")
        tell(journal, 1000, sharper=1.8)
        expect(state).to_contain_text("alarm")
        expect(page.get_by_role("region", name="Monitors").get_by_text("■ alarm").first).to_be_visible()
        expect(page.get_by_role("img", name="The largest evidence after each label")).to_contain_text("alarm")
        evidence = page.get_by_role("region", name="Evidence")
        evidence.get_by_text("Numbers").click()  # of the whole epoch, though the page was opened later
        expect(evidence.get_by_role("row", name=re.compile("^100 "))).to_be_visible()


def test_all_versions_are_listed_with_their_state(browser: Browser, journal: Running) -> None:
    tell(journal, 1000, sharper=1.8)
    with opened(browser, journal.url, "#/calibration") as page:
        expect(page.get_by_role("row", name="digits, version 1")).to_contain_text("alarm")
        expect(page.get_by_role("row", name="softmax, version 1")).to_contain_text("none")
        page.get_by_role("link", name="digits, version 1").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("digits, version 1")


def test_a_group_has_its_own_numbers(browser: Browser, journal: Running) -> None:
    tell(journal, 1000)
    with opened(browser, journal.url, DIGITS) as page:
        page.get_by_label("Group").select_option("north")
        expect(page.locator(".figures")).to_contain_text("500")
        expect(page.get_by_role("region", name="Monitors")).to_contain_text("group north")


def test_an_alarm_is_acknowledged_by_name_and_not_by_accident(
    browser: Browser, journal: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []

    async def acknowledge(_: Path, name: str, by: str) -> int:
        seen.append((name, by))
        return 1

    monkeypatch.setattr(calibration, "acknowledge", acknowledge)
    tell(journal, 1000, sharper=1.8)
    with opened(browser, journal.url, DIGITS) as page:
        page.get_by_role("button", name="Acknowledge…").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        assert seen == []
        page.get_by_role("button", name="Acknowledge…").click()
        dialog.get_by_label("Your name").fill("Ada")
        dialog.get_by_role("button", name="Acknowledge").click()
        expect(dialog).to_have_count(0)
        assert seen == [("digits/1", "Ada")]


@pytest.mark.parametrize("address", [DIGITS, "#/calibration"])
@pytest.mark.parametrize("width", [1400, 390, 320])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    browser: Browser, journal: Running, address: str, width: int
) -> None:
    tell(journal, 1000, sharper=1.8)
    size = {"width": width, "height": 844}
    scheme = "dark" if width == 390 else "light"
    with opened(browser, journal.url, address, viewport=size, color_scheme=scheme) as page:
        expect(page.locator(".state").first).to_contain_text("alarm")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
