"""What a fit says in the terminal."""

import pytest

from service.commands.terminal import change_sentence


@pytest.mark.parametrize(
    ("changed", "right", "wrong", "sentence"),
    [
        (0, 0, 0, "no prediction changes in 5,000 rows"),
        (1, 1, 0, "1 prediction of 5,000 changes (0.02%): 1 becomes right, 0 wrong"),
        (1234, 1020, 15, "1,234 predictions of 5,000 change (24.68%): 1,020 become right, 15 wrong"),
    ],
)
def test_how_many_predictions_change_is_a_sentence(changed: int, right: int, wrong: int, sentence: str) -> None:
    changes = {"measured": 5000, "changed": changed, "became_right": right, "became_wrong": wrong}
    assert change_sentence(changes) == sentence
