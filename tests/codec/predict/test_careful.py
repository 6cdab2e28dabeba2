"""The careful way in, where HTTP alone does not reach it: labels, and the inputs of a classifier of one's own."""

import json
from typing import Any

import numpy as np
import pytest

from service.codec.predict.careful import decode_careful
from service.codec.query import Query
from service.engine.signature import Signature
from service.errors import InvalidValue
from tests.codec.served import ANY, CLASSIFIER, LATE_MASK, TEXTS, THREE

INPUTS = {"pixels": [[1, 2], [3, 4]], "ids": [7, 8, 9], "flag": [True]}


def decoded(model: Signature, **body: Any) -> Query:
    """A query from a body."""
    return decode_careful(json.dumps(body).encode(), model)


def refused(model: Signature, **body: Any) -> InvalidValue:
    """The error for a body."""
    with pytest.raises(InvalidValue) as error:
        decoded(model, **body)
    return error.value


@pytest.mark.parametrize("allowed", [["cat", "eel"], [0, 2], [["cat", 2]], ["cat", "cat", 2]], ids=str)
def test_classes_are_allowed_by_label_or_index(allowed: Any) -> None:
    rows = decoded(THREE, logits=[[1, 2, 3]], allowed=allowed).rows
    assert rows.inputs["logits"].tolist() == [[1, -np.inf, 3]]


def test_labels_may_differ_from_row_to_row() -> None:
    rows = decoded(THREE, logits=[[1, 2, 3], [4, 5, 6]], allowed=[["dog"], []]).rows
    assert rows.inputs["logits"].tolist() == [[-np.inf, 2, -np.inf], [-np.inf] * 3]
    assert list(rows.empty) == [1]


def test_an_unknown_label_is_not_repeated() -> None:
    error = refused(THREE, logits=[[1, 2, 3]], allowed=[["cat", "fox"]])
    assert str(error) == "allowed[0][1] is not a label of this model; expected an index from 0 to 2, or a label"
    assert (error.code, error.row) == ("bad_allowed", 0)


@pytest.mark.parametrize(("item", "what"), [(3, "not one of 3 classes"), (None, "null")])
def test_a_class_is_named_as_the_client_would_name_it(item: Any, what: str) -> None:
    assert str(refused(THREE, logits=[1, 2, 3], allowed=[0, item])).startswith(f"allowed[1] is {what}; expected")
    assert str(refused(THREE, logits=[1, 2, 3], allowed=[[item]])).startswith(f"allowed[0][0] is {what}; expected")


@pytest.mark.parametrize(
    ("logits", "mask", "expected"),
    [
        ([1, 2, 3], [True], "mask has the shape [1]; expected [3] as the logits have"),
        ([[1, 2, 3]], [True], "mask has the shape [1]; expected [1, 3] as the logits have, or [3] for all rows"),
    ],
)
def test_a_mask_is_told_the_shapes_that_it_could_have(logits: Any, mask: Any, expected: str) -> None:
    assert str(refused(THREE, logits=logits, mask=mask)) == expected


@pytest.mark.parametrize(
    ("model", "body", "sentence"),
    [
        (THREE, {}, "the model stub takes logits; expected the key logits"),
        (THREE, {"logits": None}, "logits is null; expected a list"),
        (
            THREE,
            {"logits": [1, 2, 3], "inputs": {}},
            "the model stub takes logits, and no inputs; expected the key logits alone",
        ),
        (CLASSIFIER, {}, "the model stub takes inputs (pixels, ids, flag); expected the key inputs"),
        (CLASSIFIER, {"inputs": None}, "inputs is null; expected an object of lists by the names of the inputs"),
        (
            CLASSIFIER,
            {"inputs": INPUTS, "logits": [1]},
            "the model stub takes inputs (pixels, ids, flag), and no logits; expected the key inputs alone",
        ),
    ],
)
def test_a_request_for_the_other_kind_of_model_is_told_what_this_one_takes(
    model: Signature, body: dict[str, Any], sentence: str
) -> None:
    assert str(refused(model, **body)) == sentence


def test_a_wrong_number_of_classes_says_both_numbers() -> None:
    error = refused(THREE, logits=[1, 2])
    assert (str(error), error.code) == ("rows have 2 logits, the model has 3 classes", "wrong_classes")


def test_a_head_that_masks_late_gets_the_mask_beside_the_logits() -> None:
    rows = decoded(LATE_MASK, logits=[1, 2], mask=[True, False]).rows
    assert rows.inputs["logits"].tolist() == [[1, 2]]
    assert rows.mask is not None
    assert rows.mask.tolist() == [[True, False]]


def test_a_classifier_gets_its_inputs_in_their_own_types() -> None:
    rows = decoded(CLASSIFIER, inputs=INPUTS).rows
    found: dict[str, Any] = {name: (v.dtype, v.shape) for name, v in rows.inputs.items()}
    assert found == {
        "pixels": (np.float32, (1, 2, 2)),
        "ids": (np.int64, (1, 3)),
        "flag": (np.bool_, (1, 1)),
    }


def test_a_classifier_takes_one_row_or_several() -> None:
    assert decoded(CLASSIFIER, inputs=INPUTS).lead == ()
    query = decoded(CLASSIFIER, inputs={name: [value, value] for name, value in INPUTS.items()})
    assert (query.lead, query.rows.n) == ((2,), 2)


def test_a_classifier_takes_masks_of_its_classes() -> None:
    for mask in ({"mask": [True, False, True]}, {"mask": [[True, False, True]]}, {"allowed": [0, 2]}):
        rows = decoded(CLASSIFIER, inputs=INPUTS, **mask).rows
        assert rows.mask is not None
        assert rows.mask.tolist() == [[True, False, True]]
    assert list(decoded(CLASSIFIER, inputs=INPUTS, allowed=[]).rows.empty) == [0]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"pixels": [[1, 2], [3, "4"]]}, "bad_input"),
        ({"pixels": [[1, 2], [3, None]]}, "bad_input"),
        ({"pixels": [[1, 2], [3, 1e39]]}, "bad_input"),
        ({"pixels": [[1, 2], [3, 10**400]]}, "bad_input"),
        ({"pixels": [[1, 2, 3]]}, "wrong_shape"),
        ({"pixels": [1, 2]}, "wrong_shape"),
        ({"pixels": 1}, "wrong_shape"),
        ({"ids": [1.5]}, "bad_input"),
        ({"ids": [True]}, "bad_input"),
        ({"ids": [2**63]}, "bad_input"),
        ({"ids": []}, "wrong_shape"),
        ({"flag": [1]}, "bad_input"),
        ({"flag": [[True], [False]]}, "wrong_shape"),
        ({"more": [1]}, "missing_inputs"),
    ],
    ids=str,
)
def test_an_input_of_another_kind_is_refused(change: Any, code: str) -> None:
    assert refused(CLASSIFIER, inputs=INPUTS | change).code == code


def test_a_classifier_says_what_it_takes() -> None:
    for body in ({"logits": [1, 2, 3]}, {}, {"inputs": {"pixels": [[1, 2], [3, 4]]}}):
        error = refused(CLASSIFIER, **body)
        assert error.code == "missing_inputs"
        assert "pixels, ids, flag" in str(error)


def test_inputs_under_other_names_are_told_beside_the_expected_ones() -> None:
    error = refused(CLASSIFIER, inputs={"pixel": [1], "x" * 50: [2]})
    assert str(error) == f"inputs has 'pixel', '{'x' * 40}'; expected pixels, ids, flag"
    assert str(refused(CLASSIFIER, inputs={})) == "inputs has none; expected pixels, ids, flag"


def test_strings_arrive_as_they_were_sent() -> None:
    texts = [["a\x00b"], ["Zürich 🙂"], [""]]
    rows = decoded(TEXTS, inputs={"text": texts, "age": [[1], [2], [3]]}).rows
    assert rows.inputs["text"].dtype == np.object_
    assert rows.inputs["text"].tolist() == texts
    assert decoded(TEXTS, inputs={"text": ["one"], "age": [1]}).lead == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ([["a"], [1]], "inputs.text[1][0] is a number; expected a string"),
        ([["a"], [None]], "inputs.text[1][0] is null; expected a string"),
        ([["a"], ["\ud800"]], "inputs.text[1][0] has half a surrogate pair; expected Unicode"),
        ([["a", "b"]], "inputs.text has the shape [1, 2]; expected ['N', 1]"),
    ],
)
def test_what_is_no_string_is_refused_where_one_is_expected(text: Any, sentence: str) -> None:
    error = refused(TEXTS, inputs={"text": text, "age": [[1], [2]]})
    assert str(error) == sentence


def test_a_classifier_with_open_classes_takes_no_mask() -> None:
    open_ended = Signature("stub", "1", takes="inputs", inputs={"x": (np.float32, (1,))})
    assert refused(open_ended, inputs={"x": [1]}, mask=[True]).code == "bad_mask"


def test_options_arrive_as_they_were_sent() -> None:
    query = decoded(ANY, logits=[[1, 2]], outputs=["entropy"], top_k=3, timeout_ms=250, id="x", temperature=[2])
    assert (list(query.outputs), query.top_k, query.timeout_s, query.id) == (["entropy"], 3, 0.25, "x")
    assert query.lists_temperature


@pytest.mark.parametrize("key", ["temperature", "top_k", "alpha", "timeout_ms", "id", "mask", "axis", "outputs"])
def test_the_constant_minus_infinity_is_a_class_without_a_score_and_nothing_else(key: str) -> None:
    assert decoded(ANY, logits=[1, -np.inf]).rows.inputs["logits"].tolist() == [[1, -np.inf]]
    assert "is -inf" in str(refused(ANY, logits=[1, 2], **{key: -np.inf})).lower()
