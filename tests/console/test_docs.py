"""`/docs` in Chromium: what it takes to try a request, and what axe says of what is ours."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.console.conftest import Open

SWAGGERS = {"heading-order", "landmark-unique", "nested-interactive", "region", "scrollable-region-focusable"}
"""Rules that Swagger breaks in the elements that it builds."""


def open_docs(visit: Open, **context: object) -> Page:
    """`/docs`, once it lists the operations."""
    page = visit("../docs", **context)
    expect(page.locator(".opblock").first).to_be_visible()
    return page


def unfold(page: Page, name: str) -> None:
    """Unfold an operation by what its id begins with."""
    page.locator(f"[id^=operations-{name}] .opblock-summary-control").first.click()


def test_a_request_can_be_changed_and_sent_as_soon_as_it_is_unfolded(visit: Open) -> None:
    page = open_docs(visit)
    unfold(page, "predict-predict_model")
    expect(page.get_by_role("textbox", name="Request body")).to_be_editable()
    page.get_by_label("Example", exact=True).select_option("digits-alpha")
    page.get_by_role("button", name="Execute").click()
    answer = page.locator(".live-responses-table tr.response").first
    expect(answer.locator(".response-col_status")).to_contain_text("200")
    expect(answer).to_contain_text("prediction_set")


def test_predict_comes_first_and_the_schemas_are_folded(visit: Open) -> None:
    page = open_docs(visit)
    assert page.locator("h3.opblock-tag").evaluate_all("(tags) => tags.map((tag) => tag.dataset.tag)") == [
        "predict",
        "evaluate",
        "models",
        "open inference protocol",
        "operations",
    ]
    expect(page.locator("section.models")).to_be_visible()
    expect(page.locator("section.models.is-open")).to_have_count(0)


def test_axe_finds_nothing_that_is_ours(visit: Open) -> None:
    page = open_docs(visit)
    assert page.locator("html").get_attribute("lang") == "en"
    for name in ("predict-predict_model", "operations-healthz"):
        unfold(page, name)
    page.get_by_role("button", name="Execute").first.click()
    expect(page.locator(".live-responses-table").first).to_be_visible()
    found = Axe().run(page)
    assert {broken["id"] for broken in found.response["violations"]} <= SWAGGERS, found.generate_report()
