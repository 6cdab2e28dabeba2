"""What the graph computes, in ONNX Runtime."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from scipy.special import log_softmax

from service.errors import UsedWrongly
from service.heads.build import WIDENING, build, short_graph
from service.heads.masking import MASKING
from service.heads.reference import expected
from service.heads.stages import Stages
from service.metadata import Metadata
from tests.heads.running import Answers, head, rows, run, session
from tests.heads.test_nodes import KINDS, stages

GENERIC = head()
FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
TEMPERATURES = st.floats(1e-3, 1e3)
MaskedRows = tuple[NDArray[np.float32], NDArray[np.bool_]]


@st.composite
def some_rows(draw: st.DrawFn) -> MaskedRows:
    """Logits [n, k] and a mask of the same shape."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 9)))
    return draw(arrays.arrays(np.float32, shape, elements=FLOATS)), draw(arrays.arrays(bool, shape))


def test_only_the_logits_are_needed() -> None:
    """Any runtime that knows nothing of masks gives the calibrated answer."""
    answer = run(head(Stages(2.0)), logits=np.array([[4.0, 2.0, 0.2]], np.float32))
    np.testing.assert_allclose(answer["probabilities"], [[0.659001, 0.242433, 0.098566]], atol=1e-6)


@given(some_rows(), TEMPERATURES)
def test_a_masked_class_is_exactly_zero_and_the_rest_sum_to_one(
    logits_and_mask: MaskedRows, temperature: float
) -> None:
    """Probability 0, log-probability -inf; the allowed ones are a distribution, if there are any."""
    logits, mask = logits_and_mask
    answer = run(GENERIC, logits=logits, mask=mask, temperature=np.full((len(logits), 1), temperature))
    assert (answer["probabilities"][~mask] == 0).all()
    assert (answer["log_probabilities"][~mask] == -np.inf).all()
    np.testing.assert_allclose(answer["probabilities"].sum(1, dtype=float), mask.any(1), atol=1e-6)


@given(some_rows(), st.sampled_from([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38]))
def test_what_stands_under_the_mask_is_never_read(logits_and_mask: MaskedRows, poison: float) -> None:
    """NaN and infinity included."""
    logits, mask = logits_and_mask
    clean = run(GENERIC, logits=logits, mask=mask)
    poisoned = run(GENERIC, logits=np.where(mask, logits, np.float32(poison)), mask=mask)
    for name, values in clean.items():
        assert_array_equal(poisoned[name], values, name)
        assert not np.isnan(values).any()


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3.4e38])
def test_what_stands_under_the_mask_never_passes_the_bias(poison: float) -> None:
    """The bias is added before the mask, and nothing of it comes through."""
    logits, mask = rows(5, 7)
    biased = head(Stages(1.5, np.linspace(-3, 3, 7)), 7)
    clean = run(biased, logits=logits, mask=mask)
    poisoned = run(biased, logits=np.where(mask, logits, np.float32(poison)), mask=mask)
    for name, values in clean.items():
        assert_array_equal(poisoned[name], values, name)


@given(some_rows(), TEMPERATURES, st.integers(-1000, 1000))
def test_temperature_and_shift_leave_the_ranking(logits_and_mask: MaskedRows, temperature: float, shift: int) -> None:
    """Neither changes which of two probabilities is the larger; a tie may appear, an inversion not."""
    logits, mask = logits_and_mask
    warm = run(GENERIC, logits=logits, mask=mask, temperature=np.full((len(logits), 1), temperature))
    assert_array_equal(warm["scores"], run(GENERIC, logits=logits, mask=mask)["scores"])
    moved = run(GENERIC, logits=logits + np.float32(shift), mask=mask)
    for answer in (warm, moved):
        order = np.argsort(np.where(mask, logits, -np.inf), axis=1, kind="stable")
        assert (np.diff(np.take_along_axis(answer["probabilities"], order, 1), axis=1) >= 0).all()


@pytest.mark.parametrize("stages", [Stages(), Stages(1.5, np.zeros(5))], ids=["plain", "bias"])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("place", range(5))
def test_nan_in_an_allowed_class_is_never_a_finite_answer(stages: Stages, poison: float, place: int) -> None:
    """The whole row is NaN, its neighbours are untouched."""
    logits, _ = rows(3, 5)
    running = head(stages, 5)
    clean = run(running, logits=logits)
    logits[1, place] = poison
    answer = run(running, logits=logits)
    for name in ("probabilities", "log_probabilities"):
        assert np.isnan(answer[name][1]).all()
        assert_array_equal(answer[name][[0, 2]], clean[name][[0, 2]])


@pytest.mark.parametrize("stages", [Stages(), Stages(1.5, np.ones(4))], ids=["plain", "bias"])
def test_a_row_with_no_class_left_has_zeros_and_minus_infinity(stages: Stages) -> None:
    """All masked, or all -inf, or both; its neighbours are untouched."""
    logits = np.array([[1, 2, 3, 4], [-np.inf] * 4, [-np.inf, -np.inf, 1, 2], [0, 0, 0, 0]], np.float32)
    mask = np.array([[False] * 4, [True] * 4, [True, True, False, False], [True] * 4])
    answer = run(head(stages, 4), logits=logits, mask=mask)
    assert (answer["probabilities"][:3] == 0).all()
    for name in ("log_probabilities", "logsumexp", "scores"):
        assert (answer[name][:3] == -np.inf).all()
    assert (answer["probabilities"][3] == 0.25).all()


def test_one_class_is_certain() -> None:
    """K = 1: p = 1, log p = 0, whatever the logit."""
    answer = run(GENERIC, logits=np.array([[-3e38], [7.0]], np.float32))
    assert (answer["probabilities"] == 1).all()
    assert (answer["log_probabilities"] == 0).all()


@pytest.mark.parametrize("k", [3, 10, 1000, 250_000])
@pytest.mark.parametrize("temperature", [1e-3, 0.7, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("scale", [1, 1e4, 3e37])
def test_answers_are_right_to_the_last_digit(k: int, temperature: float, scale: float) -> None:
    """Against numpy in the widest float there is: 6e-8 of a probability, 4e-6 of a log-probability."""
    logits, mask = rows(1, k, scale=scale)
    check(logits, mask, temperature)


@pytest.mark.parametrize(
    "logits",
    [
        [0, -100],
        [3e38, -3e38],
        [-3e38, -3.1e38, -3.2e38],
        [-1.1e9, -1.2e9],
        [1e-45, 3e-45, 0, 1e-38],
        [2e9, 2e9 + 256],
    ],
    ids=str,
)
@pytest.mark.parametrize("temperature", [1e-3, 1.0, 1e3])
def test_answers_are_right_where_famous_ones_are_not(logits: list[float], temperature: float) -> None:
    """Large, tiny, far apart, all below any finite fill."""
    check(np.array([logits], np.float32), np.ones((1, len(logits)), bool), temperature)


def check(logits: NDArray[Any], mask: NDArray[np.bool_], temperature: float) -> None:
    """Hold a run against the reference; float32 cannot hold a log-probability of -1e5 to 4e-6."""
    temperatures = np.array([[temperature]])
    answer = run(GENERIC, logits=logits, mask=mask, temperature=temperatures)
    right = {name: values.astype(float) for name, values in expected(Stages(), logits, mask, temperatures).items()}
    np.testing.assert_allclose(answer["probabilities"], right["probabilities"], rtol=6e-8, atol=1e-45)
    for name in ("log_probabilities", "logsumexp"):
        there = np.abs(right[name]) <= np.finfo(np.float32).max
        np.testing.assert_allclose(answer[name][there], right[name][there], rtol=6e-8, atol=4e-6)
    assert abs(answer["probabilities"].sum(dtype=float) - 1) < 1e-6


def test_the_reference_agrees_with_scipy() -> None:
    """The reference is ours too: here it meets somebody else's."""
    logits, mask = rows(20, 13)
    ours = expected(Stages(1.3, np.arange(13.0)), logits, mask, np.full((20, 1), 1.3))
    theirs = log_softmax(np.where(mask, (logits.astype(float) + np.arange(13)) / 1.3, -np.inf), axis=1)
    np.testing.assert_allclose(ours["log_probabilities"].astype(float), theirs, rtol=1e-12)


def test_scores_tell_apart_what_float32_probabilities_cannot() -> None:
    """At a large temperature the probabilities tie, the scores do not."""
    logits = np.array([[1.0, 1.0 + 2e-7, 0.5]], np.float32)
    answer = run(GENERIC, logits=logits, temperature=np.array([[1e3]]))
    assert answer["probabilities"][0, 0] == answer["probabilities"][0, 1]
    assert answer["scores"].argmax() == 1


def test_logsumexp_is_of_the_calibrated_logits_of_the_allowed_classes() -> None:
    """The free energy, for telling strange inputs from known ones."""
    biased = head(Stages(2.0, np.array([1.0, 0, 0])), 3)
    answer = run(biased, logits=np.array([[1, 2, 9]], np.float32), mask=np.array([[True, True, False]]))
    np.testing.assert_allclose(answer["logsumexp"], [[np.log(2 * np.exp(1.0))]], rtol=1e-7)


@pytest.mark.parametrize("classes", [None, 1, 2, 7, 10])
def test_the_file_passes_the_checker_in_full(classes: int | None) -> None:
    """Shapes, types and defaults included."""
    onnx.checker.check_model(build(Stages(1.7), classes, Metadata()), full_check=True)


def test_no_padding_where_the_number_of_classes_is_known_and_even() -> None:
    """Nothing is paid for what is not needed."""
    operators = {node.op_type for node in build(Stages(), 10, Metadata()).graph.node}
    assert not operators & {"Pad", "Slice", "Shape", "Mod"}


def test_the_metadata_say_what_the_graph_does() -> None:
    """The temperature, the classes and whether the mask comes first are the graph's."""
    plain = told(build(Stages(1.7), None, Metadata(classes=4)))
    assert (plain.family, plain.classes, plain.temperature, plain.masks_first) == ("softmax", None, 1.7, True)
    biased = told(build(Stages(1.7, np.zeros(3)), 3, Metadata(labels=("a", "b", "c"))))
    assert (biased.classes, biased.labels, biased.masks_first) == (3, ("a", "b", "c"), False)


@pytest.mark.parametrize("classes", [None, 2, 4])
@pytest.mark.parametrize(("bias", "labels"), [(None, ("a", "b", "c")), (np.zeros(3), None)], ids=["labels", "bias"])
def test_classes_that_contradict_are_refused(
    classes: int | None, bias: NDArray[np.float64] | None, labels: tuple[str, ...] | None
) -> None:
    """One label and one number of the bias for each class."""
    with pytest.raises(UsedWrongly, match=r"there are 3 .* expected"):
        build(Stages(1.0, bias), classes, Metadata(labels=labels))


def told(model: onnx.ModelProto) -> Metadata:
    """The metadata inside."""
    return Metadata.from_props({prop.key: prop.value for prop in model.metadata_props})


HEADS = [
    *((kind, k, masks_first) for kind in KINDS for k in (5, 6) for masks_first in (False, True)),
    *(("plain", k, False) for k in (5, 6)),
    *((kind, None, False) for kind in ("plain", "laplace", "groups", "entropy")),
]


@pytest.mark.parametrize(("kind", "k", "masks_first"), HEADS)
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_the_short_graph_answers_the_same_bits(kind: str, k: int | None, masks_first: bool, masked: bool) -> None:
    """Where it takes no mask, -inf stands in the logits. Rows of K open are of an even width."""
    model = build(stages(kind, k or 6, masks_first=masks_first), k, Metadata())
    short = short_graph(model)
    onnx.checker.check_model(short, full_check=True)
    assert len(short.graph.node) < len(model.graph.node)
    assert [output.name for output in short.graph.output] == ["probabilities"]
    logits, mask = rows(9, k or 6)
    logits[3] = -np.inf
    logits[4, 2:4] = -np.inf
    mask[5] = False
    whole: Answers = {"logits": logits}
    cut = whole
    if masked:
        whole = {"logits": logits, "mask": mask}
        cut = {"logits": np.where(mask, logits, np.float32(-np.inf))} if told(model).masks_first else whole
    others: Answers = {"temperature": np.random.default_rng(0).uniform(0.2, 5, (9, 1))}
    if kind == "groups":
        others["group"] = np.arange(9)[:, np.newaxis] % 4
    if "top" in kind:  # the short graph answers at the fitted temperature
        others.pop("temperature")
    assert ("temperature" in {entry.name for entry in short.graph.input}) == ("top" not in kind)
    for more in ({}, others):
        pairs = ((session(model), whole | more), (session(short), cut | more))
        one, two = (running.run(["probabilities"], inputs)[0] for running, inputs in pairs)
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize(("kind", "k", "masks_first"), HEADS)
def test_the_short_graph_has_no_node_that_changes_nothing(kind: str, k: int | None, masks_first: bool) -> None:
    """No mask where the logits have it; no widening where K is open, as rows come in an even width."""
    model = build(stages(kind, k or 6, masks_first=masks_first), k, Metadata())
    left = {node.output[0]: node.op_type for node in short_graph(model).graph.node}
    takes_mask = "mask" in {entry.name for entry in short_graph(model).graph.input}
    assert takes_mask == (not told(model).masks_first) == bool(left.keys() & MASKING.keys())
    if k is None:
        assert not left.keys() & WIDENING.keys() - {"probabilities"}
        assert left["probabilities"] == "Cast"
    if kind == "plain":
        assert set(left.values()) & {"Pad", "Slice", "Shape"} == ({"Pad", "Slice"} if k == 5 else set())
