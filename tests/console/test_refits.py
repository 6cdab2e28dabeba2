"""Refits: what another temperature would change, and how somebody lets it serve; the numbers are those of the API."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from service.api import refit
from service.journal.state import read_state, write_state
from service.live.proposal import Refit, describe
from service.live.refit import Shadow
from tests.conftest import ROOT, Running, serving
from tests.console.conftest import Open, failures, opened, wait_until
from tests.live.test_refit import labelled

DIGITS = "#/refits/digits/1"
FITTED = json.loads((ROOT / "models/digits/1/report.json").read_text())["calibrator"]["temperature"]
AT_NS = 1_790_000_000 * 10**9
Tell = Callable[..., Any]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Running]:
    """A service that keeps a journal, in which the tests say what the live process would."""
    with serving(journal=tmp_path) as running:
        yield running


def proposed(n: int, sharper: float = 1.6) -> Refit:
    """A refit that so many labels of a head that is too sharp were counted in."""
    found = Refit()
    found.propose("alarm", None, 0, 0, AT_NS)
    found.shadow = Shadow()
    found.shadow.update(labelled(n, sharper))
    return found


def tell(running: Running, state: Refit, **more: Any) -> Any:
    """Say that a refit stands there, beside what else is known, and return what the API says of it."""
    folder = running.service.settings.journal
    assert folder is not None
    page = describe(state, FITTED, "propose") | {"refusal": None, "command": None, **more}
    known = (read_state(folder) or {}).get("models", {}).get("digits/1", {})
    write_state(folder, {"models": {"digits/1": {"predictions": 1, **known, "refit": page}}})
    return running.client.get("/v1/models/digits/versions/1/refit").json()


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the live process will answer, each followed by what it was asked."""
    found: list[Any] = []

    async def ask(folder: Path, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        found.append(message)
        return dict(found.pop(0))

    monkeypatch.setattr(refit, "ask", ask)
    return found


def state(page: Page) -> Any:
    """The badge of the page."""
    return expect(page.locator(".head .state"))


def test_without_a_journal_it_says_which_option_brings_one(visit: Open) -> None:
    page = visit("#/refits")
    expect(page.get_by_text("calibrant serve --journal journal/")).to_be_visible()


def test_where_refits_are_off_it_says_how_to_have_them(browser: Browser, tmp_path: Path) -> None:
    with serving(journal=tmp_path, refit="off") as running, opened(browser, running.url, DIGITS) as page:
        state(page).to_contain_text("off")
        expect(page.get_by_text("--refit propose")).to_be_visible()
        expect(page.get_by_role("button", name="Propose…")).to_have_count(0)


def test_from_no_proposal_to_one_that_waits_for_approval(browser: Browser, journal: Running) -> None:
    with opened(browser, journal.url, DIGITS) as page:
        state(page).to_contain_text("none")
        expect(page.get_by_text("calibrant live propose digits/1")).to_be_visible()
        tell(journal, proposed(83))
        state(page).to_contain_text("collecting")
        expect(page.get_by_text("83 of 100 labels")).to_be_visible()
        tell(journal, proposed(130, sharper=1.0))
        state(page).to_contain_text("shadowing")
        expect(page.get_by_text("It may be approved once its evidence is 100.")).to_be_visible()
        expect(page.get_by_role("button", name="Approve…")).to_have_count(0)
        found = tell(journal, proposed(2000))
        state(page).to_contain_text("earned, waits for approval")
        expect(page.get_by_role("button", name="Approve…")).to_be_visible()
        for name in ("Serves now", "Proposed"):
            expect(page.get_by_role("img", name=f"Reliability diagram, {name}")).to_be_visible()
        shown = page.locator(".figures")
        expect(shown).to_contain_text(f"{FITTED:.3g} → {found['temperature']['proposed']:.3g}")
        expect(shown).to_contain_text(f"\N{MINUS SIGN}{-found['nll']['difference']:.2g}")
        expect(shown).to_contain_text(f"{found['nll']['rows']:,} rows unseen by both".replace(",", " "))
        expect(shown).to_contain_text("after an alarm")
        expect(page.get_by_role("region", name="What was decided").get_by_role("row")).to_have_count(
            1 + len(found["history"])
        )


def test_all_versions_are_listed_with_their_state(browser: Browser, journal: Running) -> None:
    tell(journal, proposed(2000))
    with opened(browser, journal.url, "#/refits") as page:
        expect(page.get_by_role("row", name="digits, version 1")).to_contain_text("earned")
        expect(page.get_by_role("row", name="softmax, version 1")).to_contain_text("none")
        page.get_by_role("link", name="digits, version 1").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("digits, version 1")


def test_it_is_approved_by_name_as_it_was_looked_at_and_not_by_accident(
    browser: Browser, journal: Running, decisions: list[Any]
) -> None:
    waiting = proposed(2000)
    found = tell(journal, waiting)
    tag = journal.client.get("/v1/models/digits/versions/1/refit").headers["etag"].strip('"')
    with opened(browser, journal.url, DIGITS) as page:
        approve = page.get_by_role("button", name="Approve…")
        approve.click()
        dialog = page.get_by_role("dialog", name="Approve the refit of digits, version 1")
        expect(dialog).to_contain_text(f"temperature {FITTED:.3g} becomes {found['temperature']['proposed']:.3g}")
        expect(dialog).to_contain_text(f"\N{MINUS SIGN}{-found['nll']['difference']:.2g}")
        expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        assert decisions == []
        failed = failures(page)
        approve.click()
        decisions.append({"version": "2"})
        dialog.get_by_label("Your name").fill("Ada")
        waiting.promote("2", "Ada", AT_NS)
        tell(journal, waiting)
        dialog.get_by_role("button", name="Approve").click()
        expect(dialog).to_have_count(0)
        assert decisions == [{"do": "promote", "by": "Ada", "force": False, "etag": tag, "model": "digits/1"}]
        state(page).to_contain_text("promoted")
        expect(page.get_by_text("Version 2 was written with it.")).to_be_visible()
        expect(page.get_by_role("img", name="Reliability diagram, Served before")).to_be_visible()
        expect(page.get_by_role("row", name="Ada")).to_contain_text("1 → 2")
        assert failed == []


def test_what_became_stale_meanwhile_is_not_approved(browser: Browser, journal: Running, decisions: list[Any]) -> None:
    tell(journal, proposed(2000))
    sentence = "the refit is another by now; expected the ETag of the newest"
    decisions.append({"refused": "stale", "message": sentence})
    with opened(browser, journal.url, DIGITS) as page:
        page.get_by_role("button", name="Approve…").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Your name").fill("Ada")
        dialog.get_by_role("button", name="Approve").click()
        expect(dialog.get_by_role("alert")).to_have_text(sentence)
        dialog.get_by_role("button", name="Cancel").click()
        state(page).to_contain_text("earned")


def test_a_page_of_another_origin_cannot_approve_it(
    browser: Browser, journal: Running, served: Running, decisions: list[Any]
) -> None:
    tell(journal, proposed(2000))
    with browser.new_page() as page:
        page.goto(f"{served.url}/healthz")
        with page.expect_response(f"{journal.url}/**") as refused:
            page.evaluate(
                """(url) => fetch(url, { method: "POST", mode: "no-cors", body: '{"by": "Mallory"}' })""",
                f"{journal.url}/v1/models/digits/versions/1/promote",
            )
        assert refused.value.status == 403
        assert decisions == []


def test_what_was_asked_before_a_decision_is_not_shown_after_it(
    browser: Browser, journal: Running, decisions: list[Any]
) -> None:
    waiting = proposed(2000)
    tell(journal, waiting)
    with opened(browser, journal.url, DIGITS) as page:
        state(page).to_contain_text("earned")
        held: list[Route] = []
        page.route("**/refit", lambda route: route.continue_() if held else held.append(route))
        wait_until(page, lambda: held)
        before = held[0].fetch()
        page.get_by_role("button", name="Dismiss…").click()
        decisions.append({})
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Your name").fill("Ada")
        waiting.dismiss("Ada", AT_NS)
        tell(journal, waiting)
        dialog.get_by_role("button", name="Dismiss").click()
        state(page).to_contain_text("dismissed")
        page.evaluate(
            """() => {
              window.seen = [];
              const note = () => window.seen.push(document.querySelector(".head").textContent);
              new MutationObserver(note).observe(document.querySelector(".head"), { childList: true, subtree: true });
            }"""
        )
        held[0].fulfill(response=before)
        wait_until(page, lambda: page.evaluate("window.seen.length"))  # the next look
        assert all("dismissed" in text for text in page.evaluate("window.seen"))


def test_who_has_a_key_needs_no_name(browser: Browser, tmp_path: Path, decisions: list[Any]) -> None:
    with serving(journal=tmp_path, api_keys="right") as running, opened(browser, running.url, DIGITS) as page:
        page.get_by_role("dialog").get_by_label("Key").fill("right")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Propose…").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("The name of your API key counts")
        decisions.append({})
        dialog.get_by_label("Your name").fill("Ada")
        dialog.get_by_role("button", name="Propose").click()
        expect(dialog).to_have_count(0)
        assert decisions.pop()["do"] == "propose"


def test_it_is_proposed_and_dismissed_by_name(browser: Browser, journal: Running, decisions: list[Any]) -> None:
    with opened(browser, journal.url, DIGITS) as page:
        for name, do, then in (("Propose", "propose", proposed(10)), ("Dismiss", "dismiss", Refit())):
            page.get_by_role("button", name=f"{name}…").click()
            dialog = page.get_by_role("dialog")
            decisions.append({})
            dialog.get_by_label("Your name").fill("Ada")
            tell(journal, then)
            dialog.get_by_role("button", name=name).click()
            expect(dialog).to_have_count(0)
            assert decisions.pop()["do"] == do
        state(page).to_contain_text("none")


def test_what_only_lacks_labels_is_not_called_refused(browser: Browser, journal: Running) -> None:
    tell(journal, proposed(83), refusal="there are 0 labels; expected at least 200 for the method temperature")
    with opened(browser, journal.url, DIGITS) as page:
        state(page).to_contain_text("collecting")
        expect(page.get_by_text("It may not serve yet: there are 0 labels")).to_be_visible()


def test_what_must_not_be_promoted_says_why(browser: Browser, journal: Running) -> None:
    tell(journal, proposed(2000), refusal="there are 120 labels; expected at least 200 for the method temperature")
    with opened(browser, journal.url, DIGITS) as page:
        state(page).to_contain_text("must not be promoted")
        expect(page.get_by_text("expected at least 200 for the method temperature")).to_be_visible()
        expect(page.get_by_role("button", name="Approve…")).to_have_count(0)
        expect(page.get_by_role("button", name="Dismiss…")).to_be_visible()


def test_where_the_models_folder_cannot_be_written_the_command_stands_there(browser: Browser, journal: Running) -> None:
    command = "calibrant live promote digits/1 --journal journal --models models"
    tell(journal, proposed(2000), command=command)
    with opened(browser, journal.url, DIGITS) as page:
        expect(page.get_by_text(command)).to_be_visible()
        expect(page.get_by_role("button", name="Approve…")).to_have_count(0)


@pytest.mark.parametrize("address", [DIGITS, "#/refits"])
@pytest.mark.parametrize("width", [1400, 390, 320])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    browser: Browser, journal: Running, address: str, width: int
) -> None:
    tell(journal, proposed(2000))
    size = {"width": width, "height": 844}
    scheme = "dark" if width == 390 else "light"
    with opened(browser, journal.url, address, viewport=size, color_scheme=scheme) as page:
        expect(page.locator(".state").first).to_contain_text("earned")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
