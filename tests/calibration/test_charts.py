"""The pictures of a report."""

import re
from typing import Any

import numpy as np
import pytest

from service.calibration import charts, likelihood
from service.heads.stages import Stages
from service.measures.reliability import mass_bins
from service.measures.scores import score
from tests.calibration.conftest import drawn


def test_text_stays_text_and_colours_are_the_pages() -> None:
    scores = score(drawn(900), Stages().predict)
    drawing = charts.svg(charts.reliability("After", scores, stretched=False), "one")
    assert re.search(r"<text [^>]*>right more often</text>", drawing)
    assert "var(--accent)" in drawing
    assert "var(--other)" not in drawing
    assert not re.search("|".join(charts.COLOURS), drawing)
    assert 'width="340"' in drawing


def test_every_bin_has_its_interval_as_a_line_and_nothing_is_filled_between() -> None:
    scores = score(drawn(900), Stages().predict)
    diagram, _ = charts.reliability("Before", scores, stretched=False).figure.axes
    lines: Any = diagram.collections[0]
    assert len(diagram.collections) == 1
    found = [(x[0], x[1]) for line in lines.get_segments() for x in line]
    assert np.allclose(found, [(one.confidence, end) for one in mass_bins(scores) for end in (one.low, one.high)])


def test_the_sentence_says_what_was_said_and_how_many_bins_are_off() -> None:
    scores = score(drawn(900), Stages().predict)
    off = sum(one.is_off for one in mass_bins(scores))
    assert off > 1
    chart = charts.reliability("Before", scores, stretched=False)
    assert chart.sentence.replace("\N{NO-BREAK SPACE}", " ") == (
        f"Before: said {100 * scores.confidence.mean():.1f} % on average, was right in "
        f"{100 * scores.correct.mean():.1f} %. {off} of 15 bins lie outside their 95 % interval, "
        "where chance alone puts 0.8."
    )
    assert len(chart.rows) == 15


@pytest.mark.parametrize("scale", [0.01, 1, 40])
def test_stretched_axes_hold_all_points_and_what_was_right_every_time_at_their_edge(scale: float) -> None:
    data = drawn(600)
    scores = score(data, Stages(1 / scale).predict)
    diagram: Any
    counts: Any
    diagram, counts = charts.reliability("After", scores, stretched=True).figure.axes
    low, high = diagram.get_xlim()
    assert diagram.get_ylim() == (low, high)
    for line in diagram.lines:
        assert (np.asarray(line.get_data()) >= low).all()
        assert (np.asarray(line.get_data()) <= high).all()
    assert sum(bar.get_height() for bar in counts.patches) == 600
    at = counts.get_xticks()
    assert (np.diff(at) >= 46 * (high - low) / charts.SIDE - 1e-9).all()


def test_the_numbers_of_the_likelihood_are_of_the_fitted_rows() -> None:
    data = drawn(2000)
    found = likelihood.measure(data, Stages(2.0, method="temperature"))
    assert found.best == pytest.approx(2, rel=1e-9)
    assert found.reached == pytest.approx(found.curve.min(), rel=1e-9)
    assert found.plain > found.reached
    assert f"T = {found.best:.3f}" in charts.likelihood(found, "temperature").sentence


def test_sets_of_many_classes_have_a_logarithmic_axis() -> None:
    sizes = {"lac": {0.1: 3.0, 0.2: 2.0}, "aps": {0.1: 40.0, 0.2: 20.0}}
    (axes,) = charts.sets(sizes, 10).figure.axes
    assert axes.get_yscale() == "log"
    (axes,) = charts.sets({"lac": {0.1: 3.0}}, 10).figure.axes
    assert axes.get_yscale() == "linear"
