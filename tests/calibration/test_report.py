"""The report beside a head: its numbers, and the page that shows them."""

import json
import re
from typing import Any

import pytest

from service.calibration.page import TITLES
from tests.calibration.test_affine import skewed
from tests.commands.test_fit import fitted, saved


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """report.json, parsed, and report.html."""
    folder = tmp_path_factory.mktemp("report")
    fitted(folder, "--data", str(saved(folder / "rows.npz", skewed(900))))
    written = folder / "models" / "own" / "1"
    return json.loads((written / "report.json").read_text()), (written / "report.html").read_text().replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_the_bins_give_the_equal_mass_error_before_and_after(report: tuple[Any, str]) -> None:
    told, _ = report
    for when in ("before", "after"):
        bins = told["reliability"][when]["bins"]
        gap = sum(one["rows"] * abs(one["confidence"] - one["accuracy"]) for one in bins) / 900
        assert gap == pytest.approx(told["metrics"][when]["ece_mass"], abs=1e-12)
        assert all(one["low"] <= one["accuracy"] <= one["high"] for one in bins)
        assert sum(told["reliability"][when]["histogram"]["rows"]) == 900


def test_the_choice_its_reasons_and_what_was_refused_are_told(report: tuple[Any, str]) -> None:
    told, page = report
    assert sum(one["chosen"] for one in told["candidates"]) == 1
    tried = {one["method"] for one in told["candidates"]} | told["refused"].keys()
    assert {"temperature", "vector", "vector+top", "matrix+entropy+top"} <= tried
    for method, reason in told["refused"].items():
        assert f"<b>{method}</b>: {reason}" in page
    assert told["changes"]["measured"] == 900
    assert f"{told['changes']['changed']:,} predictions of 900 change" in page


def test_the_page_needs_nothing_else_and_has_a_sentence_for_every_picture(report: tuple[Any, str]) -> None:
    _, page = report
    assert not re.search(r"(src|href)=\"?https?:|@import|<script", page)
    figures = re.findall(r"<figure>.*?</figure>", page, re.S)
    assert len(figures) == page.count("<svg") == 7
    assert all(re.search(r"<figcaption>[^<]{20,}\.</figcaption>", one) for one in figures)
    ids = re.findall(r' id="([^"]+)"', page)
    clips = {one for one in ids if ids.count(one) > 1 and f"url(#{one})" in page}
    assert not clips


def test_both_calibration_errors_name_their_bins_and_metrics_have_intervals(report: tuple[Any, str]) -> None:
    told, page = report
    assert "Calibration error, 15 bins of equal width" in page
    assert "Calibration error, 15 bins of equal mass" in page
    assert {*TITLES} - told["metrics"]["after"].keys() == {"impossible"}  # no row got 0
    for name in told["metrics"]["after"]:
        for when in ("before", "after"):
            low, high = told["intervals"][when][name]
            assert f"{low:.5f} to {high:.5f}" in page


def test_the_page_says_what_the_head_file_keeps_for_labels_that_come_later(report: tuple[Any, str]) -> None:
    told, page = report
    assert told["reference_curve"]["n"] == 900
    assert re.search(r"rows 60 % sure were right in [\d.]+ % \(standard error [\d.]+ %\), 90 % sure", page)
