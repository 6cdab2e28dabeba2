"""`make pictures`: every page of the console in Chromium, for people to look at."""

import shutil
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, sync_playwright

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


def take(browser: Browser, running: Running, name: str, size: str, scheme: str) -> None:
    """A picture of one page, at one size, in one scheme of colours."""
    with browser.new_context(viewport=SIZES[size], color_scheme=scheme) as context:  # type: ignore[arg-type] # light, dark
        page = context.new_page()
        page.goto(f"{running.url}/console/{PAGES[name]}")
        settled(page, name)
        if name == "traffic":
            for i in range(400):
                running.predict({"logits": [[float(i % 7), 1.0, 0.5]] * (1 + i % 30)})
                if i % 80 == 0:
                    page.wait_for_timeout(2000)
            page.wait_for_timeout(2500)
        page.wait_for_timeout(500)  # the curve comes last
        page.screenshot(path=FOLDER / f"{name}-{size}-{scheme}.png")


def main() -> None:
    """Take them all, and keep some for docs/console.md."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        models = families_made.make(Path(folder) / "models")
        shutil.rmtree(models / "softmax")
        shutil.copytree(ROOT / "models", models, dirs_exist_ok=True)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        FOLDER.mkdir(parents=True, exist_ok=True)
        with serving(models=models, default_model="digits", journal=Path(folder)) as running:
            tell(running, 1000, sharper=1.8)
            tell_refit(running, proposed(2000))
            for name in PAGES:
                for size in SIZES:
                    for scheme in ("light", "dark"):
                        take(browser, running, name, size, scheme)
        browser.close()
    for name in SHOWN:
        shutil.copy(FOLDER / f"{name}.png", ROOT / "docs" / "console")


if __name__ == "__main__":
    main()
