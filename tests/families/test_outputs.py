"""The outputs, and what they are made of."""

import pytest

from service.errors import InvalidValue
from service.families import SOFTMAX, Family, find_family
from service.families.outputs import GRAPH_OUTPUTS, OUTPUTS, graph_bits, graph_outputs, outputs_of

ALL = [find_family(name) for name in ("softmax", "sigmoid", "sparsemax", "entmax15")] + [find_family("entmax", 1.3)]


@pytest.mark.parametrize("output", SOFTMAX.made_of)
def test_the_bits_of_an_output_name_what_it_is_made_of(output: str) -> None:
    assert set(graph_outputs(graph_bits((output,)))) == set(SOFTMAX.made_of[output])


@pytest.mark.parametrize("family", ALL, ids=repr)
def test_all_outputs_together_want_the_whole_graph(family: Family) -> None:
    assert graph_outputs(graph_bits(tuple(family.made_of), family)) == GRAPH_OUTPUTS[:-1]
    assert graph_outputs(graph_bits(outputs_of(family, True), family, True)) == GRAPH_OUTPUTS


@pytest.mark.parametrize("family", ALL, ids=repr)
def test_every_family_says_what_each_output_is_made_of(family: Family) -> None:
    assert {*OUTPUTS} - {*outputs_of(family, False)} == {"mutual_information"}
    assert outputs_of(family, True) == OUTPUTS


def test_a_head_that_averages_nothing_has_no_mutual_information() -> None:
    with pytest.raises(InvalidValue, match="a head that averages no members has no mutual_information; expected prob"):
        graph_bits(("mutual_information",))
