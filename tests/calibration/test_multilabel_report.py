"""The report beside a sigmoid head: its numbers, and the page that shows them."""

import json
import re
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.calibration import charts
from service.calibration.multilabel_page import TITLES
from service.cli import main
from service.datasets.dataset import Floats
from service.measures.multilabel import Points
from tests.calibration.multilabel import tagged

NAMES = [f"tag <{i}>" for i in range(14)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """report.json, parsed, and report.html, of 14 classes."""
    folder = tmp_path_factory.mktemp("report")
    data = tagged(900, 14)
    np.savez(folder / "rows.npz", logits=data.logits, labels=data.targets, classes=np.array(NAMES))
    options = ["--data", str(folder / "rows.npz"), "--family", "sigmoid", "--to", str(folder / "head.onnx")]
    assert main(["fit", *options]) == 0
    page = (folder / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    return json.loads((folder / "report.json").read_text()), page


def test_the_bins_give_the_micro_error_and_those_of_each_class(report: tuple[Any, str]) -> None:
    told, _ = report
    for when in ("before", "after"):
        bins = told["reliability"][when]["bins"]
        gap = sum(one["rows"] * abs(one["confidence"] - one["accuracy"]) for one in bins) / (900 * 14)
        assert gap == pytest.approx(told["metrics"][when]["ece"], abs=1e-12)
        for one in told["classes"]:
            gap = sum(b["rows"] * abs(b["confidence"] - b["accuracy"]) for b in one["bins"][when]) / one["rows"]
            assert gap == pytest.approx(one[f"ece_{when}"], abs=1e-12)
        mean = np.mean([one[f"ece_{when}"] for one in told["classes"]])
        assert mean == pytest.approx(told["metrics"][when]["ece_macro"], abs=1e-12)


def test_every_number_is_told(report: tuple[Any, str]) -> None:
    told, page = report
    assert (told["head"], told["family"], told["rows"]["held_out"]) == ("head.onnx", "sigmoid", "out of fold")
    assert [one["label"] for one in told["classes"]] == NAMES
    first = told["classes"][0]
    assert first["scale"] == told["calibrator"]["slope"][0]
    assert first["bias"] == told["calibrator"]["bias"][0]
    assert (first["threshold"], first["rows"]) == (0.5, 900)
    assert [one["method"] for one in told["candidates"] if one["chosen"]] == ["vector"]
    assert {*TITLES} == told["metrics"]["after"].keys()
    for name in TITLES:
        for when in ("before", "after"):
            low, high = told["intervals"][when][name]
            assert f"{low:.5f} to {high:.5f}" in page


def test_the_page_needs_nothing_else_and_draws_the_least_calibrated_classes(report: tuple[Any, str]) -> None:
    told, page = report
    assert not re.search(r"(src|href)=\"?https?:|@import|<script", page)
    figures = re.findall(r"<figure>.*?</figure>", page, re.S)
    assert len(figures) == page.count("<svg") == 4 + 12
    assert all(re.search(r"<figcaption>[^<]{20,}\.</figcaption>", one) for one in figures)
    assert "The 12 least calibrated of 14 classes" in page
    worst = max(told["classes"], key=lambda one: one["ece_after"])["label"]
    assert f"<figcaption>{escape(worst)}: after, said " in figures[4]
    for name in NAMES:
        assert name not in page
        assert escape(name) in page


def test_the_page_says_what_it_is_of_in_labels(report: tuple[Any, str]) -> None:
    told, page = report
    assert f"{told['changes']['changed']:,} predictions of 12,600 change" in page
    for text in ("the 12,600 labels", "Micro calibration error", "Macro calibration error", "probability, in log-odds"):
        assert text in page
    assert "confidence" not in page


def test_a_class_that_was_rarely_right_has_fewer_points() -> None:
    random = np.random.default_rng(0)
    p = random.random(2000)
    often, rarely = (charts.class_reliability("a", one, one) for one in (points(p, 1.0), points(p, 0.05)))
    assert len(often.rows) == 15
    assert len(rarely.rows) == 3
    assert rarely.sentence == "a: after, said 49.9\N{NO-BREAK SPACE}% on average, was right in 2.5\N{NO-BREAK SPACE}%."


def points(p: Floats, share: float) -> Points:
    """Labels that are right at `share` of their probability."""
    random = np.random.default_rng(1)
    return Points(p, random.random(len(p)) < share * p, np.ones(len(p)))


def test_all_classes_are_drawn_where_they_are_few(tmp_path: Path) -> None:
    data = tagged(300, 3, masked=True)
    assert data.mask is not None
    np.savez(tmp_path / "rows.npz", logits=data.logits, labels=data.targets, mask=data.mask)
    options = ["--data", str(tmp_path / "rows.npz"), "--family", "sigmoid", "--to", str(tmp_path / "head.onnx")]
    assert main(["fit", *options]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "Each class: grey squares" in page
    assert page.count("<svg") == 7
    rows = [one["rows"] for one in json.loads((tmp_path / "report.json").read_text())["classes"]]
    assert rows == data.mask.sum(axis=0).tolist()
