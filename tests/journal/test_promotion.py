"""What people decide about a refit, as the live process takes it."""

import asyncio
import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.journal.database import Database
from service.journal.policy import Policy as LabelPolicy
from service.journal.promotion import Promotions
from service.journal.publication import Place
from service.live.proposal import Policy, tag_of
from service.metadata import Metadata
from tests import heads_made
from tests.journal.conftest import NOW, kept
from tests.journal.test_refits import HEAD, Shadowed


class Desk:
    """Promotions of new books, with a head in the models folder."""

    def __init__(self, folder: Path, policy: Policy = "propose", head: Metadata = HEAD) -> None:
        store = folder / f"store{len(list(folder.iterdir()))}.sqlite"
        self.books = Shadowed(partial(Database, store), policy, head)
        heads_made.head(folder / "m" / "1" / "model.onnx", 2.0, classes=10)
        self.promotions = Promotions(self.books.ledger, Place(folder / "j", folder))

    def do(self, what: str, **more: Any) -> dict[str, Any]:
        return asyncio.run(self.promotions.answer({"do": what, "model": "m/1", "by": "ann", **more}))

    def report(self) -> dict[str, Any] | None:
        with self.books.ledger.transaction():
            return self.promotions.report(self.books.number, "m/1")


@pytest.fixture
def desk(tmp_path: Path) -> Callable[..., Desk]:
    """Makes a desk."""
    return partial(Desk, tmp_path)


def refused(code: str, message: str) -> dict[str, str]:
    return {"refused": code, "message": message}


def test_a_refit_is_proposed_on_request_once_and_dismissed(desk: Callable[..., Desk]) -> None:
    one = desk()
    assert one.report() is None
    assert one.do("dismiss") == refused("refit_refused", "no refit of m/1 is running; expected one that was proposed")
    assert one.do("propose") == {}
    assert one.do("propose")["refused"] == "refit_running"
    told = one.report()
    assert told is not None
    assert (told["state"], told["because"], told["history"][0]["by"]) == ("collecting", "request", "ann")
    assert told["refusal"] == "the refit was fitted on 0 labels; expected at least 200 for the method temperature"
    assert one.do("dismiss", etag="0")["refused"] == "stale"
    assert one.do("dismiss", etag=tag_of(one.books.refit)) == {}
    assert one.do("propose") == {}


def test_what_cannot_be_proposed_is_refused(desk: Callable[..., Desk]) -> None:
    assert desk(policy="off").do("propose") == refused(
        "refit_refused", "refits are off; expected --refit propose or promote"
    )
    assert "no answer of m/2 was read yet" in desk().do("propose", model="m/2")["message"]
    sparse = HEAD.model_copy(update={"family": "sparsemax"})
    assert desk(head=sparse).do("propose")["message"] == "the head is of the family sparsemax; expected softmax"


def test_a_proposal_is_refused_where_the_newest_answer_has_no_logits(desk: Callable[..., Desk]) -> None:
    one = desk()
    one.books.see(10, 1.0, 10, bare=True)
    sentence = "the journal has no log-probabilities of the answers; expected --journal-what logits"
    assert one.do("propose") == refused("refit_refused", sentence)
    one.books.see(1, 1.0, 1, seed=1)
    assert one.do("propose") == {}


def test_it_is_planned_where_it_has_earned_its_place_or_by_force(desk: Callable[..., Desk]) -> None:
    one = desk()
    one.do("propose")
    one.books.see(300, 1.05, 100)
    message = one.do("plan")["message"]
    assert message.startswith("e of the refit was at most ")
    assert message.endswith("; expected 100, or force")
    plan = one.do("plan", force=True)
    assert plan["story"]["forced"]
    assert plan["factor"] == one.books.refit.shadow.factor  # type: ignore[union-attr] # there is one
    one.books.see(1500, 1.7, 100, seed=1)
    plan = one.do("plan", etag=tag_of(one.books.refit))
    story = plan["story"]
    assert (story["from"], story["by"], story["because"], story["forced"]) == ("1", "ann", "request", False)
    assert story["labels"] == {"fitted": 1600, "judged": 1700}
    assert story["evidence"]["max_e"] > 100
    assert story["nll"]["difference"] < 0
    assert len(plan["rows"]["labels"]) == 1800
    assert len(base64.b64decode(plan["rows"]["data"])) == 1800 * 2 * 10
    assert one.do("plan", etag="0")["refused"] == "stale"


def test_force_does_not_help_against_a_refusal(desk: Callable[..., Desk]) -> None:
    one = desk()
    one.do("propose")
    one.books.see(199, 1.7, 100)
    assert one.do("plan", force=True) == refused(
        "refit_refused", "the refit was fitted on 100 labels; expected at least 200 for the method temperature"
    )


def test_fewer_than_half_of_the_answers_with_a_label_are_refused_unless_that_is_a_sample(
    desk: Callable[..., Desk], tmp_path: Path
) -> None:
    one = desk()
    one.do("propose")
    one.books.see(1500, 1.7, 100)
    one.books.add_all([kept(f"bare{i}", one.books.number) for i in range(1600)])
    one.books.add_all([kept("late", one.books.number, at_ns=NOW + 5)])
    assert "48 % of the answers have a label" in one.do("plan")["message"]
    one.promotions.place = Place(tmp_path / "j", tmp_path, sampled=True)
    assert "story" in one.do("plan")


def test_a_newer_version_is_not_replaced(desk: Callable[..., Desk], tmp_path: Path) -> None:
    one = desk(head=HEAD.model_copy(update={"refit": {"from": "1", "factor": 1 / 1.7}}))
    one.do("propose")
    one.books.see(1500, 1.7, 100)
    assert "story" in one.do("plan", back=True)
    heads_made.head(tmp_path / "m" / "2" / "model.onnx", 2.0, classes=10)
    sentence = "m/2 has taken the place of m/1; expected the newest version"
    assert one.do("plan") == one.do("plan", back=True) == refused("refit_refused", sentence)
    assert one.report()["refusal"] == sentence  # type: ignore[index] # there is one


def test_rows_that_are_labelled_by_default_are_not_planned_with(desk: Callable[..., Desk]) -> None:
    one = desk()
    one.do("propose")
    one.books.see(1500, 1.7, 100)
    one.books.counting.policy = LabelPolicy(1, 3)
    assert one.do("plan")["rows"] is None


def test_what_was_written_is_kept_once(desk: Callable[..., Desk]) -> None:
    one = desk()
    one.do("propose")
    one.books.see(1500, 1.7, 100)
    monitor = one.books.counting.monitors[one.books.number]
    assert monitor.evidence is not None
    assert monitor.evidence.latch.alarm_at is not None
    assert one.do("promoted", version="2") == {}
    assert monitor.evidence.latch.alarm_at is None
    assert [epoch["by"] for epoch in monitor.epochs] == ["ann"]
    assert one.do("promoted", version="3")["refused"] == "refit_refused"
    told = one.report()
    assert told is not None
    assert (told["state"], told["history"][-1]["to_version"]) == ("promoted", "2")
    assert told["refusal"] is told["command"] is None


def test_the_version_before_is_put_back_where_it_has_won_and_once(desk: Callable[..., Desk]) -> None:
    head = HEAD.model_copy(update={"refit": {"from": "1", "factor": 1.5}})
    one = desk(head=head)
    assert "e of the version before was at most 1; expected 100" in one.do("plan", back=True)["message"]
    one.books.see(1500, 1 / 1.5, 300)
    plan = one.do("plan", back=True)
    assert (plan["factor"], plan["rows"]) == (None, None)
    assert (plan["story"]["copy_of"], plan["story"]["because"]) == ("1", "put back")
    assert one.do("promoted", back=True, version="3") == {}
    assert "m/1 has replaced no version" in one.do("plan", back=True)["message"]
    assert "m/1 has replaced no version" in desk().do("plan", back=True)["message"]


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("service.journal.publication.os.access", "the models folder cannot be written from here"),
        ("service.journal.publication.importlib.util.find_spec", "the package onnx is not installed here"),
    ],
)
def test_where_it_cannot_be_written_the_command_to_run_is_told(
    desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, sentence: str
) -> None:
    one = desk()
    one.do("propose")
    one.books.see(1500, 1.7, 100)
    assert one.report()["command"] is None  # type: ignore[index] # there is one
    monkeypatch.setattr(what, lambda *_: None)
    command = f"calibrant live promote m/1 --journal {tmp_path}/j --models {tmp_path}"
    assert one.do("promote") == refused("models_read_only", f"{sentence}; expected {command}")
    assert one.report()["command"] == command  # type: ignore[index] # as above


def test_the_store_that_fails_is_told(desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    one = desk()

    def fail(*_: Any) -> Any:
        raise Database.errors[0]("disk I/O error")

    monkeypatch.setattr(one.books.store.db, "rows", fail)
    assert one.do("propose") == {"away": "disk I/O error"}
