"""POST and DELETE of /v1/labels: what is taken, what is refused in which words, and where it goes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.api import labels
from service.api.label_bodies import parse
from service.journal import channel
from service.journal.packing import hash_id
from service.journal.record import Labels
from service.journal.segments import SEGMENTS
from tests.conftest import Running
from tests.journal.reading import blocks

Run = Callable[..., Running]
Message = dict[str, Any]


class LiveProcess:
    """What stands in the place of the live process."""

    def __init__(self) -> None:
        self.asked: list[Message] = []
        self.answer: Message | None = {"accepted": 1, "pending": 0, "unknown": [], "conflicts": []}

    async def ask(self, folder: Path, message: Message) -> Message:
        self.asked.append(message)
        if self.answer is None:
            raise channel.Unreachable
        return self.answer


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> LiveProcess:
    """It answers, or does not."""
    found = LiveProcess()
    monkeypatch.setattr(labels, "ask", found.ask)
    monkeypatch.setattr(labels, "AWAY_S", 0.0)
    return found


def test_json_and_ndjson_are_the_same_labels(run: Run, tmp_path: Path, live: LiveProcess) -> None:
    running = run(journal=tmp_path)
    given = [{"id": "a", "label": 3}, {"id": "b", "row": 2, "label": "cat", "at": 1.5, "replace": True}]
    lines = b"\n\n".join(orjson.dumps(one) for one in given)
    for answer in (
        running.client.post("/v1/labels", json={"labels": given}),
        running.client.post("/v1/labels", content=lines, headers={"content-type": "application/x-ndjson"}),
    ):
        assert answer.status_code == 202
        assert answer.json() == live.answer
    expected = {"do": "labels", "labels": [["a", 0, 3, None, False], ["b", 2, "cat", 1_500_000_000, True]]}
    assert live.asked == [expected] * 2


def test_what_is_unknown_or_a_conflict_is_told_by_id_and_row(run: Run, tmp_path: Path, live: LiveProcess) -> None:
    running = run(journal=tmp_path)
    live.answer = {"accepted": 0, "pending": 1, "unknown": [[1, "no such answer"]], "conflicts": [[0, 7]]}
    given = [{"id": "a", "label": 3}, {"id": "b", "row": 2, "label": 1}]
    assert running.client.post("/v1/labels", json={"labels": given}).json() == {
        "accepted": 0,
        "pending": 1,
        "unknown": [{"id": "b", "row": 2, "reason": "no such answer", "waits": False}],
        "conflicts": [{"id": "a", "row": 0, "kept": 7}],
    }


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ({"id": "a"}, "labels[0].label is missing; expected the index of a class from 0 on, or its label"),
        ({"id": "a", "label": -1}, "labels[0].label is -1; expected the index of a class from 0 on, or its label"),
        ({"id": "a", "label": 1.5}, "labels[0].label is 1.5; expected the index of a class from 0 on, or its label"),
        ({"id": "a", "label": True}, "labels[0].label is a boolean; expected the index of a class from 0 on, or its"),
        ({"id": "a", "label": "x" * 1025}, "labels[0].label has 1025 characters; expected the index of a class from"),
        ({"id": "", "label": 1}, "labels[0].id has 0 characters; expected a string of 1 to 256 characters"),
        ({"id": 17, "label": 1}, "labels[0].id is 17; expected a string of 1 to 256 characters"),
        ({"label": 1}, "labels[0].id is missing; expected a string of 1 to 256 characters"),
        ({"id": "a", "row": -1, "label": 1}, "labels[0].row is -1; expected a whole number from 0 on"),
        ({"id": "a", "row": "b", "label": ""}, "labels[0].row is a string; expected a whole number from 0 on"),
        (
            {"id": "a", "label": 1, "at": 0},
            "labels[0].at is 0; expected seconds since 1970, above 0 and below 9000000000",
        ),
        (
            {"id": "a", "label": 1, "at": 9.3e9},
            "labels[0].at is 9300000000.0; expected seconds since 1970, above 0 and",
        ),
        ({"id": "a", "label": 1, "replace": 1}, "labels[0].replace is 1; expected true or false"),
        ({"id": "a", "label": 1, "x": 1}, "the key 'x' of labels[0] is unknown; expected id, row, label, at, replace"),
        (7, "labels[0] is 7; expected an object of id, row and label"),
    ],
)
def test_what_is_wrong_with_a_label_is_told_in_a_sentence(
    run: Run, tmp_path: Path, live: LiveProcess, label: Any, sentence: str
) -> None:
    running = run(journal=tmp_path)
    for answer in (
        running.client.post("/v1/labels", json={"labels": [label]}),
        running.client.post(
            "/v1/labels", content=json.dumps(label), headers={"content-type": "application/x-ndjson; charset=utf-8"}
        ),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_value")
        assert answer.json()["error"].startswith(sentence)
    assert live.asked == []


def test_a_line_that_is_no_json_is_told_by_its_place(run: Run, tmp_path: Path, live: LiveProcess) -> None:
    answer = run(journal=tmp_path).client.post(
        "/v1/labels", content=b'{"id":"a","label":1}\n{"id":', headers={"content-type": "application/x-ndjson"}
    )
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "labels[1] is not JSON; expected an object of id, row and label",
    )


def test_the_first_label_that_is_wrong_is_told_whatever_comes_after_it(
    run: Run, tmp_path: Path, live: LiveProcess
) -> None:
    given = [{"id": "a", "label": -1}, {"id": "", "label": 1}]
    answer = run(journal=tmp_path).client.post("/v1/labels", json={"labels": given})
    assert answer.json()["error"].startswith("labels[0].label is -1; expected")


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ("{", 400, "the body is not JSON; expected an object with the list labels"),
        ("[]", 422, "the body is a list; expected an object with the list labels"),
        ("{}", 422, "labels is missing; expected a list of at most 10000 labels"),
        ('{"labels": 1}', 422, "labels is 1; expected a list of at most 10000 labels"),
        ('{"labels": [], "more": 1}', 422, "the key 'more' is unknown; expected labels"),
        (json.dumps({"labels": [{}] * 10_001}), 422, "labels has 10001 items; expected a list of at most 10000 labels"),
    ],
)
def test_what_is_wrong_with_a_body_is_told(
    run: Run, tmp_path: Path, live: LiveProcess, body: str, status: int, sentence: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = run(journal=tmp_path).client.post("/v1/labels", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, sentence)


def test_bodies_have_the_bounds_that_all_have(run: Run, tmp_path: Path, live: LiveProcess) -> None:
    running = run(journal=tmp_path, max_body_bytes=1000)
    assert running.client.post("/v1/labels", json=" " * 1001).status_code == 413
    lines = b'{"id":"a","label":1}\n' * 10_001
    other = run(journal=tmp_path / "other")
    answer = other.client.post("/v1/labels", content=lines, headers={"content-type": "application/x-ndjson"})
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        "more than 10000 labels came at once; expected at most 10000",
    )


def test_while_the_live_process_is_away_labels_lie_in_a_segment_before_202(
    run: Run, tmp_path: Path, live: LiveProcess
) -> None:
    running = run(journal=tmp_path)
    for answer in (None, {"away": "the disk is full"}):
        live.answer = answer
        found = running.client.post("/v1/labels", json={"labels": [{"id": "a", "label": 3}]})
        assert (found.status_code, found.json()) == (
            202,
            {"accepted": 0, "pending": 1, "unknown": [], "conflicts": []},
        )
    assert blocks(tmp_path / SEGMENTS) == [Labels(b'[["a",0,3,null,false]]')] * 2
    assert running.client.delete("/v1/labels/a").json() == {
        "error": "the live process does not answer, nothing was deleted; try again in a moment",
        "code": "not_ready",
    }


def test_who_did_not_answer_is_not_asked_again_at_once(
    run: Run, tmp_path: Path, live: LiveProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "AWAY_S", 60.0)
    running = run(journal=tmp_path)
    live.answer = None
    for _ in range(3):
        running.client.post("/v1/labels", json={"labels": [{"id": "a", "label": 3}]})
    assert len(live.asked) == 1


def test_where_not_even_the_disk_takes_them_it_is_503(
    run: Run, tmp_path: Path, live: LiveProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run(journal=tmp_path)
    live.answer = None
    journal = running.service.journal
    assert journal is not None

    def refuse(payload: bytes, at_ns: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.writer.appender, "append", refuse)
    found = running.client.post("/v1/labels", json={"labels": [{"id": "a", "label": 3}]})
    assert (found.status_code, found.json()["error"]) == (
        503,
        "the labels could not be written: No space left on device",
    )


def test_hashed_ids_are_hashed_on_their_way_in_as_well(run: Run, tmp_path: Path, live: LiveProcess) -> None:
    running = run(journal=tmp_path, journal_hash_ids="pepper")
    live.answer = {"accepted": 0, "pending": 0, "unknown": [[0, "why"]], "conflicts": []}
    found = running.client.post("/v1/labels", json={"labels": [{"id": "a", "label": 3}]})
    assert found.json()["unknown"][0]["id"] == "a"
    live.answer = {"requests": 2, "waiting": 1}
    assert running.client.delete("/v1/labels/a").json() == {"requests": 2, "waiting": 1}
    hashed = hash_id(b"a", b"pepper").decode()
    assert [live.asked[0]["labels"][0][0], live.asked[1]["id"]] == [hashed, hashed]


@pytest.mark.parametrize(
    ("path", "key"),
    [("a/b", "a/b"), ("a%2Fb%20c", "a/b c"), ("/a", "/a"), ("a%0A", "a\n"), ("a%0Ab", "a\nb")],
)
def test_any_id_can_be_deleted(path: str, key: str, run: Run, tmp_path: Path, live: LiveProcess) -> None:
    live.answer = {"requests": 1, "waiting": 0}
    assert run(journal=tmp_path).client.delete(f"/v1/labels/{path}").json() == {"requests": 1, "waiting": 0}
    assert live.asked == [{"do": "forget", "id": key}]


def test_no_id_is_none_to_delete(run: Run, tmp_path: Path, live: LiveProcess) -> None:
    assert run(journal=tmp_path).client.delete("/v1/labels/", follow_redirects=True).status_code == 405
    assert live.asked == []


def test_a_key_is_wanted_where_there_are_keys(run: Run, tmp_path: Path, live: LiveProcess) -> None:
    running = run(journal=tmp_path, api_keys="secret")
    body = {"labels": [{"id": "a", "label": 3}]}
    assert running.client.post("/v1/labels", json=body).status_code == 401
    assert running.client.delete("/v1/labels/a").status_code == 401
    given = {"authorization": "Bearer secret"}
    assert running.client.post("/v1/labels", json=body, headers=given).status_code == 202


def test_without_a_journal_there_are_no_labels(run: Run) -> None:
    running = run()
    assert running.client.post("/v1/labels", json={"labels": []}).status_code == 404
    assert "/v1/labels" not in running.client.get("/openapi.json").json()["paths"]


def test_the_page_describes_both_ways_in(run: Run, tmp_path: Path) -> None:
    page = run(journal=tmp_path).client.get("/openapi.json").json()["paths"]
    assert set(page["/v1/labels"]["post"]["requestBody"]["content"]) == {"application/json", "application/x-ndjson"}
    assert set(page["/v1/labels"]["post"]["responses"]) == {"202", "400", "403", "413", "415", "422", "429", "503"}
    assert "delete" in page["/v1/labels/{id}"]


def test_ids_of_labels_are_in_no_cache() -> None:
    def parse_some(name: str) -> None:
        labels = [{"id": f"{name}-{i}", "label": 1} for i in range(2000)]
        parse(json.dumps({"labels": labels}).encode(), lines=False)

    parse_some("first")
    before = sys.getallocatedblocks()
    parse_some("second")
    assert sys.getallocatedblocks() - before < 1000
