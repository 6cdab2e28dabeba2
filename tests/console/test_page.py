"""What holds on every page: keys, prefixes, transports, budgets, keyboard, small screens, colours, accessibility."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.conftest import ROOT, Running, serving
from tests.console.conftest import Open, failures, opened
from tests.processes import serve

PAGES = {
    "playground": "#/playground/digits",
    "sigmoid": "#/playground/sigmoid-affine-a",
    "ensemble": "#/playground/ensemble-logits",
    "models": "#/models",
    "model": "#/models/digits/1",
    "traffic": "#/traffic",
    "calibration": "#/calibration/digits/1",
    "refits": "#/refits/digits/1",
}
SETTLED = {
    "playground": ".best",
    "sigmoid": ".best",
    "ensemble": ".best",
    "models": "tbody tr",
    "model": ".bin",
    "traffic": ".figures",
    "calibration": ".figures, .empty",
    "refits": ".figures, .empty",
}


def settled(page: Page, name: str) -> None:
    """Wait until the page shows what it is for."""
    expect(page.locator(SETTLED[name]).first).to_be_visible()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_axe_finds_nothing(visit: Open, name: str, look: str) -> None:
    size = {"width": 390, "height": 844} if look == "phone" else {"width": 1400, "height": 900}
    page = visit(PAGES[name], viewport=size, color_scheme="dark" if look == "dark" else "light")
    settled(page, name)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("name", PAGES)
def test_320_pixels_do_without_sideways_scrolling(visit: Open, name: str) -> None:
    page = visit(PAGES[name], viewport={"width": 320, "height": 640})
    settled(page, name)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_all_is_reached_by_tab_and_the_focus_is_seen(visit: Open) -> None:
    page = visit(PAGES["playground"])
    settled(page, "playground")
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        at = page.evaluate(
            """(() => {
              const at = document.activeElement;
              const seen = getComputedStyle(at).outlineStyle !== "none";
              return [at.getAttribute("aria-label") ?? at.id ?? "", at.textContent.slice(0, 20), seen];
            })()"""
        )
        assert at[2] or at[0] == "" or "Skip" in at[1], at
        reached |= set(at[:2])
    assert {"Temperature", "Copy", "zero may be chosen", "logit of nine", "Skip to the page", "Models"} <= reached


def test_the_skip_link_leads_to_the_page(visit: Open) -> None:
    page = visit(PAGES["models"])
    settled(page, "models")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.url.endswith("#/models")


def test_nothing_moves_where_that_is_asked_for(visit: Open) -> None:
    page = visit(PAGES["playground"], reduced_motion="reduce")
    settled(page, "playground")
    assert page.locator(".fill").first.evaluate("(e) => getComputedStyle(e).transitionDuration") == "0s"


def test_colours_are_chosen_and_kept(visit: Open) -> None:
    page = visit(PAGES["models"])
    page.get_by_label("Colours").select_option("dark")
    page.reload()
    expect(page.get_by_label("Colours")).to_have_value("dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 15, 20)"


def test_a_key_is_asked_for_and_stays_in_the_tab(browser: Browser) -> None:
    with serving(api_keys="right") as running, opened(browser, running.url, PAGES["playground"]) as page:
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("This key is not accepted")).to_be_visible()
        dialog.get_by_label("Key").fill("right")
        page.keyboard.press("Enter")
        settled(page, "playground")
        for kind in ("curl", "Python", "pandas"):
            page.get_by_role("button", name=kind).click()
            program = page.locator("pre").inner_text()
            assert "CALIBRANT_KEY" in program
            assert "right" not in program
        assert "right" not in page.url
        assert page.evaluate("JSON.stringify(localStorage)").count("right") == 0
        assert page.evaluate("document.cookie") == ""
        with opened(browser, running.url, PAGES["playground"]) as other:
            expect(other.get_by_role("dialog")).to_be_visible()


def test_a_service_that_goes_and_comes_back_is_noticed(visit: Open) -> None:
    page = visit(PAGES["playground"])
    expect(page.locator("#health.good")).to_have_text("Ready")
    page.route("**/readyz", lambda route: route.abort())
    expect(page.locator("#health.bad")).to_contain_text("No answer since")
    page.unroute("**/readyz")
    expect(page.locator("#health.good")).to_have_text("Ready")


@contextmanager
def prefixed(url: str) -> Iterator[str]:
    """A proxy that has the service at /some/where."""

    class Proxy(BaseHTTPRequestHandler):
        def forward(self) -> None:
            if not self.path.startswith("/some/where/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            kept = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
            answer = httpx.request(
                self.command, url + self.path.removeprefix("/some/where"), headers=kept, content=body, timeout=30
            )
            self.send_response(answer.status_code)
            for key, value in answer.headers.items():
                if key not in ("content-length", "content-encoding", "transfer-encoding"):
                    self.send_header(key, value)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = forward  # noqa: N815 - as http.server calls them

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/some/where"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_it_works_under_a_prefix(browser: Browser, served: Running) -> None:
    with prefixed(served.url) as url, opened(browser, url, PAGES["playground"]) as page:
        settled(page, "playground")
        assert "/some/where/v1/models/digits" in page.locator("pre").inner_text()


@pytest.mark.parametrize("options", [["--workers", "2"], ["--no-fast-http"]], ids=" ".join)
def test_it_works_however_the_service_runs(browser: Browser, options: list[str]) -> None:
    with serve(*options) as process, opened(browser, process.url, PAGES["playground"]) as page:
        settled(page, "playground")


def test_all_files_together_have_at_most_150_kilobytes() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "service/console").rglob("*") if path.is_file()) <= 150_000


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_there_after_20_requests(visit: Open, name: str) -> None:
    page = visit(PAGES[name])
    settled(page, name)
    asked = page.evaluate(
        """["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind)).map(({name}) => name)"""
    )
    # what is asked again every few seconds counts once, and so does what is asked of each model
    assert 8 <= len({re.sub(r"/v1/models/[^/]+$", "/v1/models/each", name) for name in asked}) <= 20


@pytest.mark.parametrize("name", ["playground", "model", "traffic"])
def test_a_page_takes_at_most_100_ms_of_script(visit: Open, name: str) -> None:
    page = visit(PAGES[name])
    settled(page, name)
    chromium = page.context.new_cdp_session(page)
    chromium.send("Performance.enable", {"timeDomain": "threadTicks"})  # of its own CPU time: others do not count
    page.reload()
    settled(page, name)
    spent = {each["name"]: each["value"] for each in chromium.send("Performance.getMetrics")["metrics"]}
    assert 0 < spent["ScriptDuration"] <= 0.1  # it takes about 10 ms


@pytest.mark.parametrize("keeps_journal", [False, True])
def test_nothing_is_asked_for_that_is_not_there(
    browser: Browser, family_models: Path, tmp_path: Path, keeps_journal: bool
) -> None:
    journal = tmp_path if keeps_journal else None
    with serving(models=family_models, journal=journal) as running, opened(browser, running.url) as page:
        failed = failures(page)
        for name in ("models", "model", "traffic", "calibration", "refits", "playground"):
            address = PAGES[name].replace("digits", "softmax")
            page.goto(f"{running.url}/console/{address}")
            settled(page, name) if name != "model" else expect(
                page.get_by_text("was exported, not fitted")
            ).to_be_visible()
        page.wait_for_load_state("networkidle")
        assert failed == []


def test_a_page_that_could_not_be_loaded_is_loaded_once_the_service_is_back(visit: Open) -> None:
    page = visit(PAGES["models"])
    settled(page, "models")
    page.route(re.compile("/traffic.js"), lambda route: route.abort())
    page.get_by_role("link", name="Traffic").click()
    expect(page.get_by_role("alert")).to_have_text("the service does not answer")
    page.unroute(re.compile("/traffic.js"))
    page.get_by_role("button", name="Ask again").click()
    settled(page, "traffic")


def test_no_file_names_another_origin() -> None:
    for path in (ROOT / "service/console").rglob("*"):
        if path.is_file():
            names = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))
            assert names <= {"http://www.w3.org/2000/svg"}, path
