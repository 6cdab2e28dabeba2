"""`make pictures`: every page of the console, and its states, in Chromium, for people to look at."""

import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, sync_playwright

from tests import families_made
from tests.conftest import ROOT, Running, serving
from tests.console.conftest import CHROMIUM
from tests.console.test_calibration import tell
from tests.console.test_page import PAGES, settled
from tests.console.test_refits import proposed
from tests.console.test_refits import tell as tell_refit

SIZES: Final = {"1400": {"width": 1400, "height": 900}, "390": {"width": 390, "height": 844}}
SHOWN: Final = (
    "calibration-1400-light",
    "playground-1400-light",
    "playground-390-dark",
    "model-1400-light",
    "refits-1400-light",
    "traffic-1400-dark",
)  # in docs/
FOLDER: Final = ROOT / "build" / "pictures"


Prepare = Callable[[Page], object]


def press(name: str) -> Prepare:
    """Press a button."""
    return lambda page: page.get_by_role("button", name=name).first.click()


def go_away(page: Page) -> None:
    """Answer nothing any more, after the first numbers."""
    page.locator(".figures").wait_for()
    page.route("**/metrics", lambda route: route.abort())


STATES: Final[dict[str, tuple[str, Prepare]]] = {
    "calibration-all": ("#/calibration", str),
    "calibration-evidence": (
        "#/calibration/digits/1",
        lambda page: page.get_by_role("region", name="Evidence").scroll_into_view_if_needed(),
    ),
    "model-unknown": ("#/models/nobody", str),
    "model-unproven": ("#/models/sparsemax/1", str),
    "playground-paste": ("#/playground/digits", press("Paste…")),
    "playground-refused": (
        "#/playground/digits",
        lambda page: page.get_by_role("spinbutton", name="logit of two as a number").fill("1e39"),
    ),
    "refits-all": ("#/refits", str),
    "refits-approve": ("#/refits/digits/1", press("Approve…")),
    "traffic-no-answer": ("#/traffic", go_away),
}
BARE: Final[dict[str, tuple[str, Prepare]]] = {
    "calibration-none": ("#/calibration", str),
    "traffic-off": ("#/traffic", str),
}
"""Of a service without a journal, and without counts."""
GUARDED: Final[dict[str, tuple[str, Prepare]]] = {"key": ("#/models", str)}


def take(browser: Browser, running: Running, name: str, size: str, scheme: str) -> None:
    """A picture of one page, at one size, in one scheme of colours."""

    def prepare(page: Page) -> None:
        settled(page, name)
        if name == "traffic":
            for i in range(400):
                running.predict({"logits": [[float(i % 7), 1.0, 0.5]] * (1 + i % 30)})
                if i % 80 == 0:
                    page.wait_for_timeout(2000)
            page.wait_for_timeout(2500)
        page.wait_for_timeout(500)  # the curve comes last

    take_state(browser, running, name, (PAGES[name], prepare), size, scheme)


def take_state(
    browser: Browser, running: Running, name: str, state: tuple[str, Prepare], size: str, scheme: str
) -> None:
    """A picture of an address, once what leads to a state was done there."""
    address, prepare = state
    with browser.new_context(viewport=SIZES[size], color_scheme=scheme) as context:  # type: ignore[arg-type] # light, dark
        page = context.new_page()
        page.goto(f"{running.url}/console/{address}")
        page.wait_for_timeout(1000)
        prepare(page)
        if name not in PAGES:
            page.wait_for_timeout(3000)  # the next look
        page.screenshot(path=FOLDER / f"{name}-{size}-{scheme}.png")


def main() -> None:
    """Take them all, and keep some for docs/console.md."""
    views = list(itertools.product(SIZES, ("light", "dark")))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        models = families_made.make(Path(folder) / "models")
        shutil.rmtree(models / "softmax")
        shutil.copytree(ROOT / "models", models, dirs_exist_ok=True)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        FOLDER.mkdir(parents=True, exist_ok=True)
        with serving(models=models, default_model="digits", journal=Path(folder)) as running:
            tell(running, 1000, sharper=1.8)
            tell_refit(running, proposed(2000))
            for name, view in itertools.product(PAGES, views):
                take(browser, running, name, *view)
            for (name, state), view in itertools.product(STATES.items(), views):
                take_state(browser, running, name, state, *view)
        for states, options in ((BARE, {"metrics": False}), (GUARDED, {"api_keys": "key"})):
            with serving(**options) as running:
                for (name, state), view in itertools.product(states.items(), views):
                    take_state(browser, running, name, state, *view)
        browser.close()
    for name in SHOWN:
        shutil.copy(FOLDER / f"{name}.png", ROOT / "docs" / "console")


if __name__ == "__main__":
    main()
