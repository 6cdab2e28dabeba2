"""Traffic: it counts what was sent, and looks only while it is looked at."""

import httpx
from playwright.sync_api import Browser, Page, expect

from tests.conftest import Running, serving
from tests.console.conftest import Open, opened
from tests.processes import serve


def figure(page: Page, name: str) -> str:
    """The number below a name, and what is said of it."""
    return page.locator(".figures > div", has_text=name).inner_text()


def send(client: Running, good: int, bad: int) -> None:
    for i in range(good + bad):
        body = {"logits": [1.0, 2.0]} if i < good else {"logits": ["x"]}
        client.client.post("/v1/models/softmax/predict", json=body)


def test_it_counts_what_was_sent(visit: Open, served: Running) -> None:
    page = visit("#/traffic")
    expect(page.get_by_text("No request came while this page was open.")).to_be_visible()
    send(served, 97, 3)
    expect(page.get_by_role("region", name="Refused, by reason")).to_contain_text("3")
    expect(page.locator(".figures")).to_contain_text("97 in")
    expect(page.get_by_role("region", name="Requests a second by version")).to_contain_text("softmax, version 1")
    expect(page.get_by_role("img", name="Latency")).to_be_visible()


def test_it_counts_all_workers(browser: Browser) -> None:
    with serve("--workers", "2") as process, opened(browser, process.url, "#/traffic") as page:
        expect(page.locator(".figures")).to_be_visible()
        for _ in range(20):  # a connection each, so that both get some
            httpx.post(f"{process.url}/v1/models/softmax/predict", json={"logits": [1.0, 2.0]}, timeout=30)
        expect(page.locator(".figures")).to_contain_text("20 in")


def test_hold_holds(visit: Open, served: Running) -> None:
    page = visit("#/traffic")
    expect(page.locator(".figures")).to_be_visible()
    page.get_by_role("button", name="Hold").click()
    before = figure(page, "Refused")
    send(served, 0, 2)
    page.wait_for_timeout(5000)
    assert figure(page, "Refused") == before
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("region", name="Refused, by reason")).to_contain_text("2")


def test_a_hidden_page_asks_nothing(visit: Open) -> None:
    page = visit("#/traffic")
    expect(page.locator(".figures")).to_be_visible()
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })")
    page.wait_for_timeout(1000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(5000)
    assert asked == []
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    with page.expect_request("**/metrics"):
        pass


def test_without_counting_it_says_which_option_brings_it(browser: Browser) -> None:
    with serving(metrics=False) as running, opened(browser, running.url, "#/traffic") as page:
        expect(page.get_by_text("--no-metrics")).to_be_visible()


def test_no_answer_is_said_and_the_numbers_stay(visit: Open) -> None:
    page = visit("#/traffic")
    expect(page.locator(".figures")).to_be_visible()
    page.route("**/metrics", lambda route: route.abort())
    expect(page.get_by_text("No answer since")).to_be_visible()
    expect(page.locator(".stale .figures")).to_be_visible()
    page.unroute("**/metrics")
    expect(page.get_by_text("A look every 2 s")).to_be_visible()


def test_an_hour_of_it_grows_neither_page_nor_service(browser: Browser) -> None:
    with serving() as running, opened(browser, running.url) as page:
        page.clock.install()
        page.goto(f"{running.url}/console/#/traffic")
        expect(page.locator("main")).to_contain_text("Traffic")
        sizes = []
        for _ in range(3):
            for _ in range(150):  # five minutes
                page.clock.run_for(2000)
            expect(page.locator(".figures")).to_be_visible()
            page.evaluate("globalThis.gc?.()")
            sizes.append(page.evaluate("document.querySelectorAll('*').length"))
        assert max(sizes) < 1.2 * min(sizes) + 600  # the rows of the folded tables: 150 looks at most
