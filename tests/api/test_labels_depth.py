"""How deep the JSON of labels may be nested."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Running


@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson"])
def test_labels_that_are_nested_too_deeply_are_refused_as_any_other_body(
    run: Callable[..., Running], tmp_path: Path, media_type: str
) -> None:
    running = run(journal=tmp_path, max_json_depth=8)
    for n, status in ((5, 422), (9, 400), (5000, 400)):
        label = b'{"id":"a","label":%s1%s}' % (b"[" * n, b"]" * n)
        body = b'{"labels":[%s]}' % label if media_type == "application/json" else b'{"id":"a","label":1}\n' + label
        answer = running.client.post("/v1/labels", content=body, headers={"content-type": media_type})
        assert answer.status_code == status
        if status == 400:
            expected = "the body is nested too deeply; expected at most 8 levels (--max-json-depth)"
            assert answer.json()["error"] == expected
            assert answer.json()["code"] == "not_json"


def test_many_flat_labels_are_not_nested(run: Callable[..., Running], tmp_path: Path) -> None:
    running = run(journal=tmp_path, max_json_depth=8)
    given = {"labels": [{"id": f"{i}", "label": 1} for i in range(100)]}
    assert running.client.post("/v1/labels", json=given).status_code == 202
