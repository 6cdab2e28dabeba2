"""Traffic: it counts what was sent, and looks only while it is looked at."""

from http.client import HTTPConnection
from typing import Final

from playwright.sync_api import Browser, Page, expect

from tests.conftest import Running, serving
from tests.console.conftest import Open, opened, wait_until
from tests.processes import Process, serve

HIDE: Final = "Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })"
SEE: Final = "delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))"


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
        for i in range(100):  # a connection each, so that both get some
            connection = HTTPConnection(process.url.removeprefix("http://"), timeout=30)
            body = b'{"logits": ["x"]}' if i in (7, 50, 99) else b'{"logits": [1, 2]}'
            connection.request("POST", "/v1/models/softmax/predict", body, {"Content-Type": "application/json"})
            connection.getresponse().read()
            connection.close()
        expect(page.locator(".figures")).to_contain_text("97 in")
        expect(page.get_by_role("region", name="Refused, by reason")).to_contain_text("3")


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
    page.evaluate(HIDE)
    page.wait_for_timeout(1000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(5000)
    assert asked == []
    page.evaluate(SEE)
    with page.expect_request("**/metrics"):
        pass


def test_without_counting_it_says_which_option_brings_it(browser: Browser) -> None:
    with serving(metrics=False) as running, opened(browser, running.url, "#/traffic") as page:
        expect(page.get_by_text("--no-metrics")).to_be_visible()
        expect(page.get_by_role("button", name="Hold")).to_have_count(0)


def test_no_answer_is_said_and_the_numbers_stay(visit: Open) -> None:
    page = visit("#/traffic")
    expect(page.locator(".figures")).to_be_visible()
    page.route("**/metrics", lambda route: route.abort())
    expect(page.get_by_text("No answer since")).to_be_visible()
    expect(page.locator(".stale .figures")).to_be_visible()
    page.unroute("**/metrics")
    expect(page.get_by_text("A look every 2 s")).to_be_visible()


CLOCK: Final = """(() => {
  const [rate, began, wait, ask] = [1000, Date.now(), setTimeout, fetch];
  window.looks = window.underWay = 0;
  window.setTimeout = (then, ms) => wait(then, ms / rate);
  window.fetch = (url, how) => {
    looks += String(url).endsWith("/metrics");
    underWay++;
    return ask(url, how).finally(() => underWay--);
  };
  Date.now = () => began + 2000 * looks;
})()"""
"""Waits are short, and a look at /metrics is 2 s after the last: playwright's own clock waits for no answer."""


def sizes(page: Page, process: Process, minute: int) -> tuple[int, int, int]:
    """Bytes of the page's objects, its nodes, and bytes of the service at that minute, while nothing is asked."""
    wait_until(page, lambda: page.evaluate("looks") >= 30 * minute, every=200, within=600_000)
    page.evaluate(HIDE)
    wait_until(page, lambda: page.evaluate("underWay") == 0)
    expect(page.locator(".chart .line")).to_have_count(2)
    chromium = page.context.new_cdp_session(page)
    for _ in range(3):
        chromium.send("HeapProfiler.collectGarbage")
    heap, counted = chromium.send("Runtime.getHeapUsage"), chromium.send("Memory.getDOMCounters")
    chromium.detach()
    page.evaluate(SEE)
    return heap["usedSize"], counted["nodes"], process.resident_bytes


def test_an_hour_of_it_grows_neither_page_nor_service(browser: Browser) -> None:
    with serve() as process, browser.new_page() as page:  # to listen to its 3,000 requests would take its time,
        page.add_init_script(CLOCK)
        page.goto(f"{process.url}/console/#/traffic")
        page.evaluate("document.body.style.visibility = 'hidden'")  # and so would painting it

        def least(*minutes: int) -> tuple[int, ...]:
            return tuple(map(min, *(sizes(page, process, minute) for minute in minutes)))

        heap, nodes, resident = least(19, 20)
        heap_later, nodes_later, resident_later = least(58, 59, 60)
        assert heap_later < heap + 150_000  # points of the looks since would be 300 kB more, the looks 100 MB
        assert nodes_later < 1.1 * nodes
        assert resident_later < resident + 2_000_000
