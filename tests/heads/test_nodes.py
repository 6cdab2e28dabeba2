"""The calibrator stages in the graph: equal to the reference, the same in any batch, deaf to masked garbage."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from service.errors import HeadError, UsedWrongly
from service.heads.build import build
from service.heads.entropy import EntropyTemperature
from service.heads.publish import serialize
from service.heads.reference import TOLERANCES, check, expected
from service.heads.stages import Stages
from service.heads.top import TopLabel
from service.metadata import Metadata
from tests.heads.running import head, rows, run, session

TOP = TopLabel(-0.3, (0.6, 1.5, 0.2), (-0.5, 1.2))
LINE = EntropyTemperature(0.4, 0.6, -1.5, 0.9, 1e-8, 4.0)
KINDS = (
    "scale", "matrix", "log scale", "log matrix", "entropy", "scale entropy", "log matrix entropy", "laplace",
    "matrix entropy laplace", "groups", "top", "log matrix entropy top", "laplace top", "groups top",
)  # fmt: skip


def stages(kind: str, k: int, *, masks_first: bool = False) -> Stages:
    """Parameters of a kind for k classes."""
    random = np.random.default_rng(k)
    words = kind.split()
    return Stages(
        temperature=1.0 if len(words) > 1 else 1.7,
        bias=random.normal(size=k) if {"scale", "matrix"} & set(words) else None,
        scale=random.uniform(0.3, 2, k) if "scale" in words else None,
        matrix=np.eye(k) + random.normal(size=(k, k)) / k if "matrix" in words else None,
        log_input=2.3 if "log" in words else None,
        entropy=LINE if "entropy" in words else None,
        laplace=0.01 if "laplace" in words else 0.0,
        top=TOP if "top" in words else None,
        group_temperatures=np.array([0.5, 3.0]) if "groups" in words else None,
        masks_first=masks_first,
    )


@pytest.mark.parametrize("k", [1, 2, 3, 10, 101])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masks_first", [False, True])
def test_the_graph_equals_the_reference(kind: str, k: int, masks_first: bool) -> None:
    own = stages(kind, k, masks_first=masks_first)
    running = head(own, k)
    logits, mask = rows(40, k)
    temperature = np.random.default_rng(1).uniform(0.5, 2, (40, 1))
    found = run(running, logits=logits, mask=mask, temperature=temperature)
    answers = expected(own, logits, mask, temperature)
    filled = mask.any(axis=1)
    assert np.abs(found["probabilities"] - answers["probabilities"]).max() < 1.2e-7
    logs, wanted = (x["log_probabilities"][filled][mask[filled]] for x in (found, answers))
    assert np.allclose(logs, wanted, *TOLERANCES["log_probabilities"])


@pytest.mark.parametrize("k", [1, 2, 3, 7, 10, 101, 128])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_a_row_alone_and_in_a_batch_are_the_same_to_the_bit(kind: str, k: int, masked: bool) -> None:
    model = build(stages(kind, k), k, Metadata())
    for name in ("p_known" if "top" in kind else "p", "log_p"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, None))
    running = session(model)
    for n in (1, 2, 3, 5, 17, 64):
        inputs = dict(zip(("logits", "mask"), rows(n, k, seed=n), strict=True))
        if kind == "groups":
            inputs["group"] = np.random.default_rng(n).integers(0, 3, (n, 1))
        if not masked:
            del inputs["mask"]
        together = run(running, **inputs)
        for row in range(n):
            alone = run(running, **{name: values[row : row + 1] for name, values in inputs.items()})
            for name, values in alone.items():
                assert values[0].tobytes() == together[name][row].tobytes(), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_under_the_mask_is_never_read(kind: str, garbage: float) -> None:
    running = head(stages(kind, 5), 5)
    logits, mask = rows(20, 5)
    answers = [run(running, logits=np.where(mask, logits, np.float32(fill)), mask=mask) for fill in (-np.inf, garbage)]
    for name in ("probabilities", "log_probabilities"):
        assert answers[0][name].tobytes() == answers[1][name].tobytes(), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_that_masks_first_reads_nothing_under_the_mask(kind: str) -> None:
    running = head(stages(kind, 5, masks_first=True), 5)
    logits, mask = rows(20, 5)
    answers = [run(running, logits=np.where(mask, logits, np.float32(fill)), mask=mask) for fill in (0, 1e30)]
    assert answers[0]["probabilities"].tobytes() == answers[1]["probabilities"].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_leaves_the_ratios_of_the_others(kind: str) -> None:
    if "laplace" in kind or "top" in kind:
        pytest.skip("both look at the allowed classes, and share anew")
    running = head(stages(kind, 6), 6)
    logits, mask = rows(30, 6, scale=1)
    filled = mask.any(axis=1)
    p, under = run(running, logits=logits)["probabilities"], run(running, logits=logits, mask=mask)["probabilities"]
    kept = np.where(mask, p.astype(np.float64), 0)[filled]
    assert np.allclose(under[filled], kept / kept.sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_without_a_class_answers_zeros_and_hurts_no_neighbour(kind: str) -> None:
    running = head(stages(kind, 5), 5)
    logits, _ = rows(3, 5)
    empty = logits.copy()
    empty[1] = -np.inf
    found, plain = run(running, logits=empty), run(running, logits=logits)
    assert not found["probabilities"][1].any()
    assert np.isneginf(found["log_probabilities"][1]).all()
    assert (found["probabilities"][[0, 2]] == plain["probabilities"][[0, 2]]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_on_an_allowed_class_stays_loud(kind: str) -> None:
    running = head(stages(kind, 4), 4)
    logits, _ = rows(2, 4)
    logits[0, 1] = np.nan
    assert np.isnan(run(running, logits=logits)["probabilities"][0]).any()


def test_the_group_chooses_the_temperature_and_an_unknown_one_has_none_of_its_own() -> None:
    running = head(stages("groups", 3), 3)
    logits, _ = rows(1, 3)
    for group, factor in ((0, 1.0), (1, 0.5), (2, 3.0), (7, 1.0), (-1, 1.0)):
        found = run(running, logits=logits, group=np.array([[group]]))["probabilities"]
        wanted = run(running, logits=logits, temperature=np.array([[1.7 * factor]]))["probabilities"]
        assert (found == wanted).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_with_calibrators_passes_the_check_before_it_is_written(kind: str) -> None:
    assert serialize(build(stages(kind, 8), 8, Metadata()))


def test_the_check_finds_a_matrix_that_is_not_what_it_says() -> None:
    model = build(stages("matrix", 4), 4, Metadata())
    node = next(node for node in model.graph.node if node.op_type == "MatMul")
    node.input[0], before = "read_logits", node.input[0]
    assert before == "centred"
    with pytest.raises(HeadError, match="further than"):
        check(model)


def test_parameters_of_different_lengths_are_refused() -> None:
    with pytest.raises(UsedWrongly, match="different lengths"):
        Stages(bias=np.zeros(3), scale=np.ones(4))
