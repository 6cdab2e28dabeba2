"""What is said of a key that pydantic minds: the service's own words, for every key and kind."""

import re
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from service.api.protocol.routes import IndexQuery, LoadQuery
from service.codec import wording
from service.codec.predict.contract import PredictRequest

WRONG: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 1e39, -(10**300), float("nan"), float("inf"), 4_000_000),
    *("", "x" * 300, "\ud800", [], [1], [True], [[1]], ["entropy", 1], ["x"] * 7, {}, {"x": 1}),
)
SENTENCE = re.compile(r"(\w+)(\[\d+\])* (is|has) [^;]+; expected .+")
UNJUDGED = {"logits", "mask", "allowed", "temperature"}  # by pydantic: `arrays` does it


def refused(kind: type[BaseModel], key: str, value: Any) -> str | None:
    """The sentence for a value, if it is minded."""
    try:
        kind.model_validate({key: value})
    except ValidationError as error:
        return wording.sentence(error)
    return None


@pytest.mark.parametrize("kind", [PredictRequest, IndexQuery, LoadQuery])
def test_every_key_is_refused_in_the_service_s_own_words(kind: type[BaseModel]) -> None:
    for key in kind.model_fields.keys() - UNJUDGED:
        sentences = {sentence for value in WRONG if (sentence := refused(kind, key, value)) is not None}
        assert sentences, key
        for sentence in sentences:
            assert SENTENCE.fullmatch(sentence), sentence
            assert sentence.startswith(key)
            assert not re.search(r"[Ii]nput|valid|should|xx", sentence.replace("of the inputs", "").removeprefix(key))


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("top_k", 0, "top_k is 0; expected a whole number of classes, 1 or more"),
        ("top_k", True, "top_k is a boolean; expected a whole number of classes, 1 or more"),
        ("top_k", -(10**300), "top_k is out of range; expected a whole number of classes, 1 or more"),
        ("alpha", 1.0, "alpha is 1.0; expected a number above 0 and below 1"),
        ("group", ["a", 7], "group[1] is 7; expected a string"),
        ("axis", [-1, "x"], "axis[1] is a string; expected a whole number below 0"),
        (
            "timeout_ms",
            3600000.5,
            "timeout_ms is 3600000.5; expected a number of milliseconds above 0, 3600000 at most",
        ),
        ("id", "x" * 257, "id has 257 characters; expected a string of Unicode, 256 characters at most"),
        (
            "outputs",
            [],
            "outputs has 0 items; expected a list of 1 to 8 of probabilities, log_probabilities, prediction",
        ),
        (
            "outputs",
            ["entropy", "x"],
            "outputs[1] is an unknown name; expected one of probabilities, log_probabilities, prediction",
        ),
        ("outputs", [7], "outputs[0] is 7; expected one of"),
    ],
    ids=str,
)
def test_a_sentence_says_what_stood_there_and_what_was_expected(key: str, value: Any, sentence: str) -> None:
    assert (refused(PredictRequest, key, value) or "").startswith(sentence)
