"""What labels say of a version: its page, and the acknowledgement of an alarm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.api import calibration
from service.journal import channel
from service.journal.state import write_state
from tests.conftest import Running
from tests.live.made import drawn, told

Run = Callable[..., Running]
PAGE = "/v1/models/digits/versions/1/calibration"


def with_groups(n: int, sharper: float = 1.0) -> Any:
    rows = drawn(n, 0, sharper)
    rows["group"] = np.array(["north", "south"], object)[np.arange(n) % 2]
    return rows


def test_before_any_label_there_is_a_page_with_the_monitors_of_the_head(run: Run, tmp_path: Path) -> None:
    page = run(journal=tmp_path).client.get(PAGE).json()
    assert (page["model"], page["version"], page["predictions"], page["labels"]) == ("digits", "1", 0, 0)
    assert page["reference"] == "fit"
    assert {one["scope"] for one in page["monitors"]} >= {"model", "all", "class 0", "class bias"}
    assert all(one["e"] == pytest.approx(1) and not one["alarm"] for one in page["monitors"])
    assert page["accuracy"] is page["ece"] is page["shares"] is None


def test_it_tells_what_the_live_process_told(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    state = told(with_groups(1000, sharper=1.8))
    write_state(tmp_path, state)
    page, found = running.client.get(PAGE).json(), state["models"]["digits/1"]
    assert page["labels"] == 1000
    assert page["labelled"] == 0.5
    assert page["ece"] == found["report"]["ece"]
    assert page["bins"] == found["report"]["bins"]
    assert page["monitors"] == found["report"]["monitors"]
    assert page["shares"] == found["shares"]
    assert page["monitors"][0]["alarm"]


def test_a_group_has_a_page_of_its_own(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    write_state(tmp_path, told(with_groups(1000)))
    page = running.client.get(PAGE, params={"group": "north"}).json()
    assert (page["group"], page["labels"]) == ("north", 500)
    assert [one["scope"] for one in page["monitors"]] == ["group north"]
    missing = running.client.get(PAGE, params={"group": "west"})
    assert missing.status_code == 404
    assert missing.json() == {
        "error": "no label of this group was counted; groups with labels: north, south",
        "code": "unknown_group",
    }


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("calibration?grup=a", "the parameter 'grup' is unknown; expected group"),
        ("refit?group=a", "the parameter 'group' is unknown; expected none"),
    ],
)
def test_a_parameter_that_is_mistyped_is_refused(run: Run, tmp_path: Path, page: str, sentence: str) -> None:
    answer = run(journal=tmp_path).client.get(f"/v1/models/digits/versions/1/{page}")
    assert (answer.status_code, answer.json()) == (422, {"error": sentence, "code": "unknown_key"})


def test_an_unknown_version_and_a_service_without_a_journal_have_no_page(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    assert running.client.get(PAGE.replace("/1/", "/7/")).json()["code"] == "unknown_version"
    assert running.client.get(PAGE.replace("digits", "nobody")).json()["code"] == "unknown_model"
    assert run().client.get(PAGE).status_code == 404


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the live process will answer, and then what it was asked."""
    found: list[Any] = []

    async def ask(folder: Path, message: dict[str, Any]) -> dict[str, Any]:
        answer = found.pop(0)
        found.append(message)
        if answer is None:
            raise channel.Unreachable("the live process does not answer")
        return dict(answer)

    monkeypatch.setattr(calibration, "ask", ask)
    return found


def test_an_alarm_is_acknowledged_with_who_has_seen_it(run: Run, tmp_path: Path, answers: list[Any]) -> None:
    answers.append({"epoch": 3})
    answer = run(journal=tmp_path).client.post(f"{PAGE}/acknowledge", json={"by": "anna"})
    assert (answer.status_code, answer.json()) == (200, {"epoch": 3})
    assert answers == [{"do": "acknowledge", "model": "digits/1", "by": "anna"}]


@pytest.mark.parametrize(
    ("answer", "status", "sentence"),
    [
        (None, 503, "the live process does not answer; nothing was acknowledged"),
        ({"away": True}, 503, "the store of the live process is away; nothing was acknowledged"),
        ({"error": "no label of digits/1 has come"}, 422, "has come; expected an alarm to acknowledge"),
    ],
)
def test_what_could_not_be_acknowledged_is_said(
    run: Run, tmp_path: Path, answers: list[Any], answer: Any, status: int, sentence: str
) -> None:
    answers.append(answer)
    found = run(journal=tmp_path).client.post(f"{PAGE}/acknowledge", json={"by": "anna"})
    assert found.status_code == status
    assert sentence in found.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b'{"by":""}', 422, "by has 0 characters; expected a name of 1 to 256 characters"),
        (b"", 422, "by is missing; expected the name of who does it"),
        (b'{"by":7}', 422, "by is 7; expected a name of 1 to 256 characters"),
        (b'{"by":"anna","why":"because"}', 422, "the key 'why' is unknown; expected by"),
        (b"[]", 422, "the body is a list; expected an object"),
        (b"{", 400, "the body is not JSON"),
        (b" " * 2000, 413, "the body is larger than 1000 bytes"),
    ],
)
def test_nobody_acknowledges_nothing(run: Run, tmp_path: Path, body: bytes, status: int, sentence: str) -> None:
    running = run(journal=tmp_path, max_body_bytes=1000)
    found = running.client.post(
        f"{PAGE}/acknowledge", content=iter([body]), headers={"content-type": "application/json"}
    )
    assert found.status_code == status
    assert sentence in found.json()["error"]


def test_with_a_key_an_alarm_is_acknowledged_under_the_name_of_the_key(
    run: Run, tmp_path: Path, answers: list[Any]
) -> None:
    running = run(journal=tmp_path, api_keys="secret")
    headers = {"authorization": "Bearer secret"}
    for body in ({}, {"by": "anna"}):
        answers[:] = [{"epoch": 1}]
        assert running.client.post(f"{PAGE}/acknowledge", json=body, headers=headers).status_code == 200
        assert answers[0]["by"] == "api-keys-1"
