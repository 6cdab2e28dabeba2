"""Models and their proof: what the report says is what is drawn, and new files are seen without a reload."""

import json
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import ROOT, serving
from tests.console.conftest import Open, opened

REPORT = json.loads((ROOT / "models/digits/1/report.json").read_text())


def test_every_model_has_its_line(visit: Open) -> None:
    page = visit("#/models")
    row = page.get_by_role("row", name="digits")
    expect(row).to_contain_text("one temperature")
    expect(row).to_contain_text("0.648 → 0.383")
    expect(page.get_by_role("row", name="sparsemax 1")).to_contain_text("any")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("digits")


def test_a_models_numbers_are_those_of_its_report(visit: Open) -> None:
    page = visit("#/models/digits/1")
    expect(page.get_by_text(f"{REPORT['rows']['measured']} held-out rows")).to_be_visible()
    expect(page.locator(".figures")).to_contain_text("0.648 → 0.383")
    page.get_by_text("Numbers").first.click()
    table = page.get_by_role("region", name="Bins of Before")
    expect(table.get_by_role("row")).to_have_count(1 + len(REPORT["reliability"]["before"]["bins"]))
    expect(page.get_by_text("11 of 15 bins lie outside").first).to_be_visible()
    expect(page.get_by_role("region", name="Calibration of each class").get_by_role("row")).to_have_count(11)
    expect(page.get_by_role("region", name="Calibrators that were tried")).to_contain_text("chosen")


def test_bins_are_walked_by_the_arrow_keys(visit: Open) -> None:
    page = visit("#/models/digits/1")
    diagram = page.get_by_role("img", name="Reliability diagram, After")
    diagram.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = page.get_by_role("status")
    expect(said).to_contain_text("Bin 2 of 15: 40 rows")
    expect(page.get_by_role("main").locator("p", has_text="Bin 2 of 15: 40 rows")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(said).to_contain_text("Bin 15 of 15")
    page.get_by_role("button", name="Stretched").click()
    expect(page.get_by_role("img", name="Reliability diagram, After")).to_contain_text("99.9 %")


def test_a_head_without_a_proof_says_how_to_get_one(visit: Open) -> None:
    page = visit("#/models/sparsemax")
    expect(page.get_by_text("calibrant fit --data validation.npz --name sparsemax")).to_be_visible()
    expect(page.get_by_text("far behind get exactly 0")).to_be_visible()


def test_an_unknown_model_is_refused_with_the_services_sentence(visit: Open) -> None:
    page = visit("#/models/nobody")
    expect(page.get_by_role("alert")).to_contain_text("there is no model of that name")
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of models that changes."""
    shutil.copytree(ROOT / "models", tmp_path / "models")
    return tmp_path / "models"


def test_a_new_version_appears_and_a_broken_one_is_named_without_a_reload(browser: Browser, models: Path) -> None:
    with (
        serving(models=models, watch=True) as running,
        opened(browser, running.url, "#/models") as page,
        opened(browser, running.url, "#/models/digits") as second,
    ):
        expect(page.get_by_role("row", name="digits")).to_contain_text("one temperature")
        shutil.copytree(models / "digits/1", models / "new")
        (models / "new").rename(models / "digits/2")
        expect(page.get_by_role("row", name="digits")).to_contain_text("2 of 2")
        expect(second.get_by_text("Version 2 is served now.")).to_be_visible()
        (models / "digits/3").mkdir()
        (models / "digits/3/model.onnx").write_bytes(b"no model")
        note = page.locator(".note.bad")
        expect(note).to_contain_text("digits/3 cannot be served")
        expect(note).to_contain_text("Version 2 is served instead.")
        expect(note).not_to_contain_text(str(models))
        expect(page.locator(".badge")).to_contain_text("1")


def test_without_models_the_page_says_what_brings_one(visit: Open) -> None:
    page = visit()
    page.route(
        "**/v1/models",
        lambda route: route.fulfill(json={"default": "softmax", "models": [], "failures": {}, "batching": {}}),
    )
    page.goto(page.url.partition("#")[0] + "#/models")
    expect(page.get_by_text("No model is served")).to_be_visible()
    page.get_by_role("link", name="Playground").click()
    expect(page.get_by_text("What a head makes of your logits would be here.")).to_be_visible()
