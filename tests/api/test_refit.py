"""The refit of a version over HTTP: its page, and what people decide."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.api import refit
from service.api.examples import REFIT
from service.journal import channel
from service.journal.state import write_state
from service.live.proposal import Refit, describe
from service.live.refit import Shadow
from tests.conftest import Running
from tests.live.test_refit import labelled

Run = Callable[..., Running]
PAGE = "/v1/models/digits/versions/1/refit"
PROMOTE = "/v1/models/digits/versions/1/promote"
DISMISS = "/v1/models/digits/versions/1/dismiss"


def told(**more: Any) -> dict[str, Any]:
    """A version with a refit that has earned its place."""
    running = Refit()
    running.propose("alarm", None, 0, 0, 7 * 10**9)
    running.shadow = Shadow()
    running.shadow.update(labelled(2000, 1.6))
    found = describe(running, 2.0, "propose") | {"refusal": None, "command": None, **more}
    return {"models": {"digits/1": {"predictions": 1, "refit": found}}}


def test_before_any_proposal_there_is_a_page_that_says_so(run: Run, tmp_path: Path) -> None:
    answer = run(journal=tmp_path).client.get(PAGE)
    page = answer.json()
    assert answer.status_code == 200
    assert answer.headers["etag"]
    assert (page["model"], page["version"], page["policy"], page["state"]) == ("digits", "1", "propose", "none")
    assert page["temperature"] == {"served": pytest.approx(2.437, abs=1e-3), "proposed": None}
    assert page["labels"] == {"seen": 0, "fitted": 0, "judged": 0, "needed": 200}
    assert page["since"] is page["because"] is page["nll"] is page["refusal"] is page["command"] is None
    assert run(journal=tmp_path, refit="off").client.get(PAGE).json()["state"] == "off"


def test_it_tells_what_the_live_process_told(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    write_state(tmp_path, told(refusal="no"))
    answer = running.client.get(PAGE)
    page = answer.json()
    assert (page["state"], page["because"], page["since"], page["refusal"]) == ("earned", "alarm", 7.0, "no")
    assert page["temperature"]["proposed"] > 2.5
    assert page["evidence"]["max_e"] >= page["evidence"]["needed"] == 100
    assert page["nll"]["difference"] < 0
    assert page["reliability"]["served"]["bins"]
    assert [(one["what"], one["from_version"]) for one in page["history"]] == [("proposed", "1")]
    assert "etag" not in page
    summary = running.client.get(PAGE.replace("refit", "calibration")).json()["refit"]
    assert summary == {"state": "earned", "e": page["evidence"]["e"], "refusal": "no"}


def test_the_page_of_the_api_shows_one(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    write_state(tmp_path, told())
    schema = running.client.get("/openapi.json").json()["components"]["schemas"]["RefitPage"]
    page = running.client.get(PAGE).json()
    assert schema["examples"][0]["evidence"] == REFIT["evidence"]
    assert REFIT.keys() == page.keys()
    for name in ("temperature", "labels", "evidence", "nll", "ece", "reliability"):
        assert REFIT[name].keys() == page[name].keys()
    assert REFIT["history"][0].keys() == page["history"][0].keys()


def test_the_tag_changes_with_the_temperature_that_could_be_approved(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    tags = [running.client.get(PAGE).headers["etag"]]
    for n in (399, 400, 401):
        state = told()
        shadow = Shadow()
        shadow.update(labelled(500, 1.6).part(0, n))
        one = Refit()
        one.propose("alarm", None, 0, 0, 7)
        one.shadow = shadow
        state["models"]["digits/1"]["refit"] = describe(one, 2.0, "propose") | {"refusal": None, "command": None}
        write_state(tmp_path, state)
        tags.append(running.client.get(PAGE).headers["etag"])
    assert tags[2] == tags[3]
    assert len(set(tags)) == 3


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the live process will answer, and then what it was asked."""
    found: list[Any] = []

    async def ask(folder: Path, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        answer = found.pop(0)
        found.append(message)
        if answer is None:
            raise channel.Unreachable("the live process does not answer")
        return dict(answer)

    monkeypatch.setattr(refit, "ask", ask)
    return found


def test_a_refit_is_proposed_promoted_and_dismissed_by_somebody(run: Run, tmp_path: Path, answers: list[Any]) -> None:
    client = run(journal=tmp_path).client
    answers.append({})
    assert client.post(PAGE, json={"by": "ann"}).status_code == 202
    assert answers.pop() == {"do": "propose", "by": "ann", "model": "digits/1"}
    answers.append({"version": "2"})
    answer = client.post(PROMOTE, json={"by": "ann", "force": True}, headers={"If-Match": '"abc"'})
    assert (answer.status_code, answer.json()) == (200, {"version": "2"})
    assert answers.pop() == {"do": "promote", "by": "ann", "force": True, "etag": "abc", "model": "digits/1"}
    answers.append({})
    assert client.post(DISMISS, json={"by": "ann"}, headers={"If-Match": '"abc"'}).status_code == 200
    assert answers.pop() == {"do": "dismiss", "by": "ann", "etag": "abc", "model": "digits/1"}


def test_with_a_key_its_name_decides_and_without_one_somebody_must(
    run: Run, tmp_path: Path, answers: list[Any]
) -> None:
    guarded = run(journal=tmp_path, api_keys="secret").client
    guarded.headers["authorization"] = "Bearer secret"
    for path in (PAGE, PROMOTE, DISMISS):
        for body in ({}, {"by": "ann"}):
            answers.append({"version": "2"})
            assert guarded.post(path, json=body, headers={"If-Match": "x"}).status_code in (200, 202)
            assert answers.pop()["by"] == "api-keys-1"
    client = run(journal=tmp_path).client
    for path in (PAGE, PROMOTE, DISMISS):
        answer = client.post(path, json={}, headers={"If-Match": "x"})
        assert answer.json()["error"] == "by is missing; expected the name of who does it"


def test_who_has_not_looked_decides_nothing(run: Run, tmp_path: Path, answers: list[Any]) -> None:
    client = run(journal=tmp_path).client
    for path in (PROMOTE, DISMISS):
        answer = client.post(path, json={"by": "ann"})
        assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required")
        assert client.post(path, json={}, headers={"If-Match": "x"}).status_code == 422
    assert client.post(PAGE.replace("/1/", "/7/"), json={"by": "ann"}).status_code == 404
    headers = {"content-type": "application/json"}
    assert client.post(PAGE, content=b"{", headers=headers).json()["code"] == "not_json"
    assert client.post(PAGE, json={"by": "ann", "why": "so"}).json()["error"].startswith("the key 'why' is unknown")
    assert answers == []


@pytest.mark.parametrize(
    ("answer", "status", "code", "sentence"),
    [
        (None, 503, "not_ready", "the live process does not answer; nothing was changed"),
        ({"away": "x"}, 503, "not_ready", "the store of the live process is away; nothing was changed"),
        ({"refused": "stale", "message": "m"}, 412, "stale", "m"),
        ({"refused": "refit_running", "message": "m"}, 409, "refit_running", "m"),
        ({"refused": "refit_refused", "message": "m"}, 409, "refit_refused", "m"),
        ({"refused": "models_read_only", "message": "m"}, 409, "models_read_only", "m"),
        ({"refused": "promotion_failed", "message": "m"}, 500, "promotion_failed", "m"),
    ],
)
def test_what_could_not_be_done_is_said(
    run: Run, tmp_path: Path, answers: list[Any], answer: Any, status: int, code: str, sentence: str
) -> None:
    answers.append(answer)
    found = run(journal=tmp_path).client.post(PROMOTE, json={"by": "ann"}, headers={"If-Match": "x"})
    assert (found.status_code, found.json()) == (status, {"error": sentence, "code": code})


def test_a_wrong_method_is_told_all_that_the_path_takes(run: Run, tmp_path: Path) -> None:
    answer = run(journal=tmp_path).client.request("PUT", PAGE)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert "expected GET or POST" in answer.json()["error"]
