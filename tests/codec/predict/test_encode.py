"""Answers to bytes: the shortest digits that read back, null for -inf, labels beside indices."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.errors import encode_error
from service.codec.predict.encode import MOST_TOGETHER, encode_predict, write_rows
from service.codec.query import Query
from service.engine.answers import Batch, Share
from service.engine.rows import Rows
from service.engine.signature import Signature
from service.errors import InvalidValue, NotJSON
from tests.codec.served import ANY, THREE


def rows(n: int = 1, **options: Any) -> Rows:
    """Rows whose logits do not matter any more."""
    return Rows({"logits": np.zeros((n, 3), np.float32)}, **options)


def said(query: Query, model: Signature = ANY, **arrays: Any) -> Any:
    """The answer, read back."""
    types = {"scores": np.float64}
    return json.loads(
        encode_predict(query, {k: np.array(v, types.get(k, np.float32)) for k, v in arrays.items()}, model)[0]
    )


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9))
def test_every_float32_reads_back_the_same(values: list[float]) -> None:
    array = np.array([values], np.float32)
    body, _ = encode_predict(Query(rows()), {"probabilities": array}, ANY)
    assert np.array(json.loads(body)["probabilities"], np.float32).tobytes() == array.tobytes()


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=5),
    st.sampled_from([(), (1,)]),
    st.sampled_from([(None, False), (1e-7, False), (2.0, True), (1e30, True)]),
)
def test_an_answer_written_for_a_whole_batch_is_the_same_as_one_written_alone(
    values: list[list[float]], lead: tuple[int, ...], temperature: tuple[float | None, bool]
) -> None:
    given_as, lists = temperature
    arrays = {"probabilities": np.array(values, np.float32)}
    query = Query(rows(temperature=given_as), lead=lead, classes=(3,), lists_temperature=lists, plain=True)
    batch = Batch(arrays, of_single_rows=True)
    for i in range(len(values)):
        alone = {"probabilities": arrays["probabilities"][i : i + 1]}
        assert encode_predict(query, Share(batch, i, i + 1), ANY) == encode_predict(query, alone, ANY)


@pytest.mark.parametrize("lead", [(), (1,)])
@pytest.mark.parametrize("temperature", [None, 1.5])
@pytest.mark.parametrize(("k", "together"), [(MOST_TOGETHER, True), (MOST_TOGETHER + 1, False)])
def test_wide_rows_of_a_batch_are_written_one_by_one(
    k: int, together: bool, temperature: float | None, lead: tuple[int, ...]
) -> None:
    model = Signature("100%", "1")
    batch = Batch({"probabilities": np.full((2, k), 1 / k, np.float32)}, of_single_rows=True)
    row = Rows({"logits": np.zeros((1, k), np.float32)}, temperature=temperature)
    query = Query(row, lead=lead, classes=(k,), plain=True)
    body, _ = encode_predict(query, Share(batch, 1, 2), model)
    texts = batch.once(write_rows)
    assert len(texts) == (2 if together else 0)
    query.plain = False
    assert encode_predict(query, Share(batch, 1, 2), model) == (body, None)


def test_minus_infinity_is_null() -> None:
    query = Query(rows(), outputs=("log_probabilities", "logsumexp"))
    body = said(query, log_probabilities=[[0, -np.inf]], logsumexp=[[-np.inf]])
    assert (body["log_probabilities"], body["logsumexp"]) == ([0, None], None)


def test_labels_stand_beside_predictions_and_in_the_top() -> None:
    query = Query(rows(2), outputs=("prediction",), lead=(2,), top_k=2)
    arrays = {"scores": [[0, -1, -2], [-np.inf] * 3], "probabilities": [[0.5, 0.3, 0.2], [0, 0, 0]]}
    body = said(query, THREE, **arrays)
    assert (body["prediction"], body["labels"]) == ([0, None], ["cat", None])
    assert body["top"] == {
        "classes": [[0, 1], []],
        "labels": [["cat", "dog"], []],
        "probabilities": [[0.5, 0.3], []],
    }
    assert "labels" not in said(query, ANY, **arrays)


@pytest.mark.parametrize(
    ("given_as", "lists", "answered"),
    [(None, False, 1.5), (2.0, False, 2.0), (2.0, True, [2.0]), (np.array([[1.0], [2.0]]), True, [1.0, 2.0])],
)
def test_the_temperature_is_said_as_it_came_or_as_the_heads_own(given_as: Any, lists: bool, answered: Any) -> None:
    n = 2 if isinstance(given_as, np.ndarray) else 1
    query = Query(rows(n, temperature=given_as), lead=(n,), lists_temperature=lists)
    assert (
        said(query, Signature("stub", "1", temperature=1.5), probabilities=[[1, 0, 0]] * n)["temperature"] == answered
    )


def test_an_error_has_its_place_where_it_is_known() -> None:
    assert json.loads(encode_error(NotJSON("no"))) == {"error": "no", "code": "not_json"}
    error = InvalidValue("no", code="bad_logit", row=0, class_=2)
    assert json.loads(encode_error(error)) == {"error": "no", "code": "bad_logit", "row": 0, "class": 2}
