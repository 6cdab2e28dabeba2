"""A real Chromium that looks at a real service; whatever goes wrong on the page fails the test."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from tests.conftest import ROOT, Running, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LONG = 20_000  # ms: a busy machine is no fault of what is tested
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Chromium, for one module: the sync API occupies the event loop of the thread."""
    if CHROMIUM is None:
        if request.config.getoption("thorough"):
            pytest.fail("there is no Chromium")
        pytest.skip("needs Chromium: apt-get install chromium")
    expect.set_options(timeout=LONG)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(family_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The shipped models, and a head of every family."""
    models = tmp_path_factory.mktemp("served") / "models"
    shutil.copytree(family_models, models)
    shutil.rmtree(models / "softmax")
    shutil.copytree(ROOT / "models", models, dirs_exist_ok=True)
    with serving(models=models, default_model="digits") as running:
        yield running


@contextmanager
def opened(browser: Browser, url: str, address: str = "", **context: Any) -> Iterator[Page]:
    """The console's page, in a browser of its own; no byte may come from elsewhere, and no error may happen."""
    options = {"viewport": {"width": 1400, "height": 900}, "permissions": ["clipboard-read", "clipboard-write"]}
    with browser.new_context(**options | context) as visit:
        visit.set_default_timeout(LONG)
        page = visit.new_page()
        errors: list[str] = []
        elsewhere: list[str] = []

        def listen(request: Request) -> None:
            if urlsplit(request.url).netloc != urlsplit(url).netloc and not request.url.startswith("data:"):
                elsewhere.append(request.url)

        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda it: errors.extend([it.text] if "Content Security Policy" in it.text else []))
        page.on("request", listen)
        page.goto(f"{url}/console/{address}")
        yield page
        assert errors == []
        assert elsewhere == []


def failures(page: Page) -> list[str]:
    """The requests of the page that fail from now on; one that is given up as the page is left does not."""
    failed: list[str] = []
    given_up = "net::ERR_ABORTED"
    page.on("requestfailed", lambda it: failed.extend([] if it.failure == given_up else [it.url]))
    page.on("response", lambda it: failed.extend([] if it.status < 400 else [f"{it.status} {it.url}"]))
    return failed


def wait_until(page: Page, condition: Callable[[], object], every: int = 10, within: int = LONG) -> None:
    """Let the page go on until something is so that the browser cannot see; it is looked at `every` so many ms."""
    for _ in range(within // every):
        if condition():
            return
        page.wait_for_timeout(every)
    pytest.fail("what was waited for did not come")


@pytest.fixture
def visit(browser: Browser, served: Running) -> Iterator[Open]:
    """Open a page of the console of `served`, or of another service by `url`."""
    with ExitStack() as stack:
        yield lambda address="", url=served.url, **context: stack.enter_context(
            opened(browser, url, address, **context)
        )
