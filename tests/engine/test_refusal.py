"""A value that ONNX Runtime refuses is the fault of the request that brought it, and of no other."""

from collections.abc import Mapping
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from service.engine.batcher import Batcher
from service.engine.head import Head
from service.engine.refusal import ValueRefused, first_refused, run_apart, run_error, run_whole
from service.errors import InvalidValue, OutOfMemory, RunFailed
from service.families.outputs import graph_bits
from service.heads.attach import attach
from service.heads.publish import write
from service.heads.stages import Stages
from service.metadata import Metadata
from tests.engine.runners import Client, Fake, said, with_batcher
from tests.heads import classifiers

REFUSED = "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Non-zero status code returned while running Gather node. "
GATHER = f"{REFUSED}Name:'gather' Status Message: indices element out of data bounds, idx=300 must be in [-100,99]"


@pytest.mark.parametrize(
    ("text", "options", "kind", "sentence"),
    [
        (
            GATHER,
            {"takes_inputs": True},
            ValueRefused,
            "the classifier refuses the values of its inputs: indices element out of data bounds, idx=300 must be in "
            "[-100,99]",
        ),
        (
            GATHER,
            {"takes_inputs": True, "may_quote": False},
            ValueRefused,
            "the classifier refuses the values of its inputs",
        ),
        (GATHER, {}, RunFailed, "the head could not run: RuntimeError"),
        (f"{REFUSED}CUDA failure 700", {"takes_inputs": True}, RunFailed, "the head could not run"),
        (
            f"{REFUSED}Failed to allocate memory",
            {"takes_inputs": True},
            OutOfMemory,
            "there was not enough memory for the run; try again",
        ),
        ("a fault of numpy's", {"takes_inputs": True}, RunFailed, "the head could not run: RuntimeError"),
    ],
)
def test_a_refusal_is_the_clients_where_it_is_about_a_value(
    text: str, options: dict[str, bool], kind: type[Exception], sentence: str
) -> None:
    error = run_error(RuntimeError(text), **options)
    assert type(error) is kind
    assert str(error).startswith(sentence)


def doubles(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A run that refuses negative numbers, and answers twice the others."""
    if (feed["x"] < 0).any():
        raise ValueRefused("a negative number")
    return {"y": 2 * feed["x"]}


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=20), st.data())
def test_who_is_not_refused_is_answered_and_who_is_hears_the_first_of_the_rows(
    requests: list[list[bool]], data: st.DataObject
) -> None:
    """Requests of rows, true = refused; a request may be the rest of a longer one."""
    firsts = [data.draw(st.integers(0, 5)) for _ in requests]
    bad = np.concatenate([np.array(one) for one in requests])
    x = np.where(bad, -1, np.arange(len(bad)) + 1)
    runs = []

    def run(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        runs.append(len(feed["x"]))
        return doubles(feed)

    spans = [(first, first + len(one)) for first, one in zip(firsts, requests, strict=True)]
    if bad.all():
        assert run_whole(run, {"x": x}, spans)[1].keys() == set(range(len(requests)))
        return
    arrays, refused = run_whole(run, {"x": x}, spans)
    assert refused.keys() == {i for i, one in enumerate(requests) if any(one)}
    at = 0
    for i, (one, (first, _)) in enumerate(zip(requests, spans, strict=True)):
        if i in refused:
            assert refused[i].row == first + one.index(True)
            assert str(refused[i]) == f"row {refused[i].row}: a negative number"
        else:
            assert arrays["y"][at : at + len(one)].tolist() == (2 * x[at : at + len(one)]).tolist()
        at += len(one)
    longest = max(map(len, requests))
    assert len(runs) <= 1 + 2 * len(requests) * (2 + log2(longest))


def test_rows_that_are_refused_only_together_are_refused_without_a_number() -> None:
    def run(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if len(feed["x"]) > 2:
            raise ValueRefused("too many")
        return dict(feed)

    x = {"x": np.arange(4)}
    assert first_refused(run, x, 4) is None
    _, refused = run_apart(run, x, [(0, 4)])
    assert (str(refused[0]), refused[0].row) == ("too many", None)


class Refusing(Fake):
    """A runner that refuses negative logits."""

    def run(self, feed: dict[str, Any], bits: int) -> dict[str, Any]:
        if (feed["logits"] < 0).any():
            raise ValueRefused("a negative number")
        return super().run(feed, bits)


@pytest.mark.parametrize("inline_s", [-1.0, 60.0], ids=["in a thread", "on the loop"])
def test_neighbours_of_a_refused_request_are_answered(inline_s: float, caplog: pytest.LogCaptureFixture) -> None:
    async def test(client: Client, _: Batcher, __: Fake) -> None:
        entries = [client.send(1), client.send(2, -3), client.send(4)]
        await client.all(*entries)
        assert [said(entries[0]), said(entries[2])] == [[2], [8]]
        assert isinstance(entries[1].error, InvalidValue)
        assert (str(entries[1].error), entries[1].error.row) == ("row 1: a negative number", 1)

    with_batcher(test, Refusing(), inline_s=inline_s)
    assert not caplog.records


def test_a_long_request_that_is_cut_hears_of_its_row_by_its_own_number() -> None:
    async def test(client: Client, _: Batcher, __: Fake) -> None:
        entry = client.send(1, 2, 3, 4, -5)
        await client.all(entry)
        assert isinstance(entry.error, InvalidValue)
        assert entry.error.row == 4

    with_batcher(test, Refusing(), max_batch_rows=2)


def embedding_head(path: Path) -> Head:
    """Behind a classifier that knows the tokens 0 to 9."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"]),
        helper.make_node("ReduceSum", ["words", "axis"], ["logits"], keepdims=0),
    ]
    table = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    weights: list[tuple[str, NDArray[Any]]] = [("table", table), ("axis", np.array([1]))]
    ids = [("ids", TensorProto.INT64, ["n", "steps"])]
    model = classifiers.made(nodes, ids, [("logits", 1, ["n", 3])], weights)
    return Head(write(attach(model, "logits", Stages(), Metadata()), path))


def test_what_a_classifier_refuses_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head = embedding_head(tmp_path / "model.onnx")
    assert not caplog.records  # the first run of a start is no client's
    for _ in range(3):
        with pytest.raises(ValueRefused, match=r"refuses the values of its inputs: .*300"):
            head.run({"ids": np.array([[1, 300]])}, graph_bits(("probabilities",)))
    assert ["not logged again" in record.getMessage() for record in caplog.records] == [True]
