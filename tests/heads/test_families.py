"""The graph of each family: right, exactly 0 where it should be, and the same bits in any batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine.head import Head
from service.engine.warm_up import ALL_OUTPUTS, JUST_BITS
from service.families import find_family
from service.heads.build import build
from service.heads.members import Members
from service.heads.publish import write
from service.heads.reference import expected
from service.heads.stages import Stages
from service.metadata import Metadata

NAMES = [
    ("softmax", None),
    ("sigmoid", None),
    ("sparsemax", None),
    ("entmax15", None),
    ("entmax", 1.25),
    ("entmax", 1.9),
]
FAMILIES = pytest.mark.parametrize(("name", "alpha"), NAMES)
Feed = dict[str, NDArray[Any]]


def head(folder: Path, name: str, alpha: float | None, k: int | None = None, stages: Stages | None = None) -> Head:
    """A head of a family, written, read and warm."""
    stages = replace(stages or Stages(1.3), family=find_family(name, alpha))
    return Head(write(build(stages, k, Metadata()), folder / "head.onnx"))


def feed(n: int, k: int, members: int | None = None) -> Feed:
    """Rows of all scales, masked here and there, each at its own temperature; of several the last is empty."""
    draw = np.random.default_rng(n * k)
    shape = (n, k) if members is None else (n, members, k)
    logits = draw.normal(size=shape) * 10.0 ** draw.uniform(-3, 1.2, (n,) + (1,) * (len(shape) - 1))
    logits[draw.random(shape) < 0.05] = -np.inf
    mask = draw.random((n, k)) < 0.9
    mask[-1] = n == 1
    return {"logits": logits.astype(np.float32), "mask": mask, "temperature": draw.uniform(0.3, 3, (n, 1))}


def answers(head: Head, rows: Feed, bits: int = ALL_OUTPUTS) -> Feed:
    return head.run(rows, bits)


@FAMILIES
@pytest.mark.parametrize("k", [1, 2, 3, 16, 17, 41, 1000])
def test_a_head_answers_what_the_reference_does(tmp_path: Path, name: str, alpha: float | None, k: int) -> None:
    rows = feed(20, k)
    stages = Stages(1.3, family=find_family(name, alpha))
    found = answers(head(tmp_path, name, alpha), rows)
    right = expected(stages, rows["logits"], rows["mask"], rows["temperature"])
    assert np.abs(found["probabilities"] - right["probabilities"]).max() <= 3.1e-8
    there = right["log_probabilities"] > np.log(1e-9)  # where p is hardly above 0, x - tau has few digits
    assert np.abs(found["log_probabilities"][there] - right["log_probabilities"][there]).max() <= 4e-6
    assert (found["probabilities"][~rows["mask"]] == 0).all()
    assert not found["probabilities"][19].any()
    left = right["probabilities"].any(axis=1)
    if name != "sigmoid":
        assert np.allclose(found["probabilities"][left].sum(axis=1), 1, atol=1e-6)


@FAMILIES
@pytest.mark.parametrize("k", [2, 3, 17, 40, 700])
def test_a_row_alone_gets_the_bits_that_it_gets_in_a_batch(
    tmp_path: Path, name: str, alpha: float | None, k: int
) -> None:
    mine, rows = head(tmp_path, name, alpha), feed(64, k)
    for bits in (ALL_OUTPUTS, JUST_BITS):
        together = answers(mine, rows, bits)
        for i in range(64):
            alone = answers(mine, {key: values[i : i + 1] for key, values in rows.items()}, bits)
            for output, values in alone.items():
                assert values.tobytes() == together[output][i : i + 1].tobytes(), (output, i)


def test_a_support_of_more_than_the_best_classes_is_found(tmp_path: Path) -> None:
    """Rows of nearly equal logits beside sharp ones: the first take Newton's steps, the others none."""
    for name, alpha in NAMES[2:]:
        logits = np.concatenate([np.random.default_rng(0).normal(size=(3, 5000)) * s for s in (1e-4, 0.05, 5)])
        rows = {"logits": logits.astype(np.float32), "mask": np.ones((9, 5000), bool), "temperature": np.ones((9, 1))}
        found = answers(head(tmp_path, name, alpha), rows)["probabilities"]
        right, _ = find_family(name, alpha).distribution(rows["logits"].astype(np.float64))
        assert (right > 0).sum(axis=1).max() > 1000
        assert np.abs(found - right).max() <= 3.1e-8
        assert ((found == 0) == (right == 0)).all()


def test_a_sigmoid_scales_and_shifts_each_class_and_never_brings_a_masked_one_back(tmp_path: Path) -> None:
    stages = Stages(2.0, np.array([0.5, -1.0, 2.0]), slope=np.array([0.75, -1.5, 0.5]))
    mine = head(tmp_path, "sigmoid", None, 3, stages)
    logits = np.array([[1.0, -np.inf, 3.0], [1.0, 2.0, 3.0]], np.float32)
    mask = np.array([[True, True, True], [True, False, True]])
    found = answers(mine, {"logits": logits, "mask": mask})
    x = (logits * stages.vector("slope") + stages.vector("bias")) / 2
    right = np.where(mask & (logits > -np.inf), 1 / (1 + np.exp(-x)), 0)
    assert np.allclose(found["probabilities"], right, rtol=0, atol=3.1e-8)
    assert found["probabilities"][:, 1].tolist() == [0, 0]


MEMBERS = [
    Members(),
    Members("probabilities"),
    Members("logits", (0.5, 0.25, 0.25)),
    Members("probabilities", (0.5, 0.5, 0.0)),
]


@pytest.mark.parametrize("members", MEMBERS, ids=repr)
@pytest.mark.parametrize("name", ["softmax", "sparsemax", "sigmoid"])
@pytest.mark.parametrize("k", [2, 5, 16])
def test_members_are_averaged_before_anything_else(tmp_path: Path, members: Members, name: str, k: int) -> None:
    rows = feed(30, k, 3)
    stages = Stages(1.3, np.arange(k) / 10, members=members, family=find_family(name))
    mine = head(tmp_path, name, None, k, stages)
    every = ALL_OUTPUTS | mine.signature.bits(("mutual_information",))
    inside = {key: values for key, values in rows.items() if key != "mask"}
    inside["logits"] = np.where(rows["mask"][:, None], rows["logits"], -np.inf).astype(np.float32)
    found = answers(mine, inside, every)
    right = expected(stages, rows["logits"], rows["mask"], rows["temperature"])
    assert np.abs(found["probabilities"] - right["probabilities"]).max() <= 3.1e-8
    assert np.allclose(found["mutual_information"], right["mutual_information"].astype(float), rtol=1.2e-7, atol=1e-12)
    for i in range(30):
        alone = answers(mine, {key: values[i : i + 1] for key, values in inside.items()}, every)
        for output, values in alone.items():
            assert values.tobytes() == found[output][i : i + 1].tobytes(), (output, i)


def test_the_numpy_model_averages_as_the_graph_does() -> None:
    rows = feed(30, 6, 3)
    for members in MEMBERS:
        stages = Stages(1.0, members=members)
        right = expected(stages, rows["logits"], rows["mask"], np.ones((30, 1)))["log_probabilities"]
        left = np.isfinite(right.astype(float)).any(axis=1)
        found = stages.log_probabilities(rows["logits"][left], rows["mask"][left])
        assert np.allclose(found, right[left].astype(float), rtol=1e-9, atol=1e-9)
