"""The outputs, and what they are made of."""

import pytest

from service.families import FAMILIES
from service.families.outputs import GRAPH_OUTPUTS, OUTPUTS, graph_bits, graph_outputs
from service.families.softmax import MADE_OF


@pytest.mark.parametrize("output", MADE_OF)
def test_the_bits_of_an_output_name_what_it_is_made_of(output: str) -> None:
    assert set(graph_outputs(graph_bits((output,)))) == set(MADE_OF[output])


def test_all_outputs_together_want_the_whole_graph() -> None:
    assert graph_outputs(graph_bits(tuple(MADE_OF))) == GRAPH_OUTPUTS


def test_every_family_says_what_each_output_is_made_of() -> None:
    assert all(set(OUTPUTS) <= set(family.MADE_OF) for family in FAMILIES.values())
