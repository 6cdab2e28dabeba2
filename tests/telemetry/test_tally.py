"""The table of counts: every line is counted, exchanged and added up."""

import json
from typing import Any

import numpy as np
import pytest

from service.telemetry.tally import TABLE, ByLabel, Distribution, Histogram, Latest, Silence, Sum, Tally, do_nothing


def test_a_histogram_puts_each_value_below_its_bound() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    histogram.add(np.array([0.5, 1.0, 1.5, 4.0, 9.0]))
    assert histogram.counts.tolist() == [2, 1, 1, 1]
    assert histogram.sum == 16.0


@pytest.fixture
def tally() -> Tally:
    """A tally that has counted something on every line."""
    tally = Tally(do_nothing)
    tally.samples.answered(3, 0.125, 0.25, 0.5, 1.0)
    tally.samples.answered(5, 0.125, 0.25, 0.5, 1.0)
    tally.samples.ran(8, 0.5)
    tally.samples.ran(8, 0.25)
    tally.refused(422, 0.5)
    tally.rejected["bad_logit"] += 1
    tally.warned["unknown_group"] += 1
    tally.samples.confidences.append(0.75)
    tally.n_journaled += 4
    tally.n_dropped += 1
    tally.n_unsent += 1
    tally.add_up()
    return tally


def test_every_line_of_the_table_is_counted(tally: Tally) -> None:
    fresh = Tally(do_nothing).state()
    assert list(fresh) == list(TABLE)
    assert [name for name, state in tally.state().items() if state == fresh[name]] == []


def exchanged(tally: Tally) -> dict[str, Any]:
    """The state of a tally, as another process reads it."""
    state: dict[str, Any] = json.loads(json.dumps(tally.state()))
    return state


def test_what_another_process_counted_comes_back_as_it_was(tally: Tally) -> None:
    copy = Tally(do_nothing)
    copy.merge(exchanged(tally))
    assert copy.state() == tally.state()
    assert copy.codes == {200: 2, 422: 1}  # numbers, though JSON has only strings as keys
    assert (copy.sizes, copy.size_s) == ({8: 2}, {8: 0.75})


def test_two_processes_are_added_by_the_kind_of_each_line(tally: Tally) -> None:
    both = Tally(do_nothing)
    both.merge(exchanged(tally))
    both.merge(exchanged(tally))
    for name, count in TABLE.items():
        one, two = getattr(tally, name), getattr(both, name)
        match count:
            case Sum():
                assert two == 2 * one
            case Latest():
                assert two == one
            case ByLabel():
                assert two == {label: 2 * n for label, n in one.items()}
            case Distribution():
                assert two.counts.tolist() == (2 * one.counts).tolist()
                assert two.sum == 2 * one.sum
            case _:
                pytest.fail(f"{name} is of a kind that nobody adds up here")


def test_tallies_share_nothing(tally: Tally) -> None:
    other = Tally(do_nothing)
    before = exchanged(other)
    other.merge(exchanged(tally))
    assert exchanged(Tally(do_nothing)) == before


def test_silence_counts_nothing() -> None:
    silence = Silence()
    silence.samples.answered(1, 0.1, 0.1, 0.1, 0.1)
    silence.samples.ran(1, 0.1)
    silence.refused(422, 0.1)
    silence.add_up()
    assert silence.state() == Tally(do_nothing).state()
