"""What sentences of errors are made of."""

import pytest

from service.errors import count


@pytest.mark.parametrize(
    ("n", "words", "text"),
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (2000, ("row",), "2000 rows"),
        (1, ("class", "classes"), "1 class"),
        (2, ("class", "classes"), "2 classes"),
    ],
)
def test_a_number_of_things_is_right_in_the_singular_too(n: int, words: tuple[str, ...], text: str) -> None:
    assert count(n, *words) == text


def test_a_number_is_written_in_the_form_that_is_asked_for() -> None:
    assert count(2000, "row", form=",") == "2,000 rows"
