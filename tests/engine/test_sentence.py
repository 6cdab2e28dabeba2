"""Sentences with what a file says of itself: short, and without what a terminal would obey."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.sentence import MOST, harmless


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("has 3 classes; expected 4", "has 3 classes; expected 4"),
        ("the node \x1b[31m is red\nand goes on", r"the node \x1b[31m is red and goes on"),
        ("\u202eoff", r"\u202eoff"),
        ("a" * MOST, "a" * MOST),
        ("a" * (MOST + 1), "a" * (MOST - 3) + "..."),
        (" " * 2 * MOST + "a", "..."),
    ],
)
def test_a_sentence_is_cut_and_escaped(sentence: str, told: str) -> None:
    assert harmless(sentence) == told


@given(st.text())
def test_what_comes_out_prints_and_stays_as_it_is(sentence: str) -> None:
    told = harmless(sentence)
    assert told.isprintable()
    assert len(told) <= MOST
    assert harmless(told) == told
