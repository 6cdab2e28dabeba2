"""What the service was started without."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.api.absent import OF_JOURNAL
from service.api.any_text import ANY_TEXT
from tests.conftest import Running


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/labels"),
        ("DELETE", "/v1/labels/a"),
        ("DELETE", "/v1/labels/a%0Ab"),
        ("GET", "/v1/models/digits/versions/1/calibration"),
        ("POST", "/v1/models/digits/versions/1/promote"),
    ],
)
def test_without_a_journal_who_asks_of_labels_hears_which_option_keeps_them(
    method: str, path: str, run: Callable[..., Running]
) -> None:
    answer = run().client.request(method, path, headers={"content-type": "application/json"})
    sentence = "nothing is kept for labels; expected a service that was started with --journal FOLDER"
    assert (answer.status_code, answer.json()) == (404, {"error": sentence, "code": "not_found"})


def test_these_are_the_paths_that_a_journal_brings(run: Callable[..., Running], tmp_path: Path) -> None:
    without, beside = (
        run(**options).client.get("/openapi.json").json()["paths"] for options in ({}, {"journal": tmp_path})
    )
    assert beside.keys() - without.keys() == {path.replace(f":{ANY_TEXT}", "") for path in OF_JOURNAL}
