"""Which columns of a table are logits, and which are refused because they could be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from service.datasets.columns import Choice, choose_columns
from service.errors import DataError

FRACTIONS = [0.5, -1.25, 3.75]


def choose(columns: dict[str, Any] | Sequence[str], **options: Any) -> Choice:
    """What is chosen; columns without values hold fractions."""
    values = columns if isinstance(columns, dict) else dict.fromkeys(columns, FRACTIONS)
    return choose_columns(list(values), lambda: {name: np.array(v) for name, v in values.items()}, **options)


def test_all_columns_are_logits_where_none_could_be_anything_else() -> None:
    assert choose(["cat", "dog"]) == Choice(("cat", "dog"), ("cat", "dog"))
    assert choose(["label", "cat", "dog"], others=("label",)).columns == ("cat", "dog")
    assert choose({"cat": [1, 2, 7], "dog": [3, 9, 1]}).columns == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("", ["0", "1", "2"], "by its name"),
        ("Unnamed: 0", [0, 1, 2], "by its name"),
        ("id", FRACTIONS, "by its name"),
        ("user_id", FRACTIONS, "by its name"),
        ("fold", FRACTIONS, "by its name"),
        ("Date", FRACTIONS, "by its name"),
        ("n", [7, 8, 9], "it counts the rows"),
        ("part", ["1", "3", "1"], "it holds whole numbers, others do not"),
        ("part", [1.0, 3.0, np.nan], "it holds whole numbers, others do not"),
    ],
)
def test_a_column_that_could_be_either_is_refused_with_the_option(name: str, values: list[Any], why: str) -> None:
    with pytest.raises(DataError, match=f"the column '{name}' could be a logit or not: {why}.*--logits A,B,C"):
        choose({name: values, "cat": FRACTIONS, "dog": FRACTIONS})


def test_a_date_is_no_number_and_the_sentence_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"row 0, column day: '2026-01-05' is not a number; where .* --logits") as error:
        choose({"day": ["2026-01-05", "2026-01-06"], "cat": ["1.5", "2"], "dog": ["0.5", "1"]})
    assert error.value.row == 0


def test_the_classes_names_say_which_columns_and_in_what_order() -> None:
    names = ["id", "eel", "fold", "cat", "dog"]
    assert choose(names, classes=("cat", "dog", "eel")).columns == ("cat", "dog", "eel")
    prefixed = ["logit_eel", "cat", "logit_cat", "logit_dog"]
    assert choose(prefixed, classes=("cat", "dog", "eel")).columns == ("logit_cat", "logit_dog", "logit_eel")
    with pytest.raises(DataError, match="there is no column 'dog', but cat, eel: expected the logits named"):
        choose(["id", "eel", "cat"], classes=("cat", "dog", "eel"))


def test_a_prefix_says_which_columns() -> None:
    assert choose(["id", "logit_b", "logit_a"]) == Choice(("logit_b", "logit_a"), ("b", "a"))
    shuffled = [f"logit_{i}" for i in (10, 2, 1, 0, 3, 4, 5, 6, 7, 8, 9)]
    assert choose(["fold", *shuffled]).columns == tuple(f"logit_{i}" for i in range(11))
    assert choose(["z", "s_1", "s_0"], wanted="s_*").columns == ("s_0", "s_1")
    assert choose(["z", "s_b", "s_a"], wanted="s_*", classes=("a", "b")).columns == ("s_a", "s_b")
    with pytest.raises(DataError, match="no column begins with 't_', found z; expected another --logits"):
        choose(["z"], wanted="t_*")


def test_numbers_as_names_are_the_classes_in_their_order() -> None:
    assert choose(["2", "0", "1"]) == Choice(("0", "1", "2"), ("0", "1", "2"))


def test_named_columns_are_taken_as_they_are_named() -> None:
    assert choose(["id", "cat", "dog"], wanted="dog,id") == Choice(("dog", "id"), ("dog", "id"))
    assert choose(["logits", "id"]) == choose(["logits", "id"], wanted="logits") == Choice(("logits",), None)
    with pytest.raises(DataError, match="--logits: there is no column 'cow', found id, cat"):
        choose(["id", "cat"], wanted="cat,cow")
