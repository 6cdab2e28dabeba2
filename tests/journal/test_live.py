"""The live process as a whole: what comes over HTTP is joined, counted once and told, whatever is killed meanwhile."""

import asyncio
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.journal.answers import Heads
from service.journal.channel import ask
from service.journal.database import Database
from service.journal.ledger import Label
from service.journal.live import STORE, Live, Options
from service.journal.policy import Policy
from service.journal.postgres import Postgres
from service.journal.record import LOGITS, pack_block, pack_labels
from service.journal.requests import date_of
from service.journal.segments import SEGMENTS, Appender, find_spares, make_folder
from service.journal.state import read_state
from tests.conftest import ROOT
from tests.journal.server import Server
from tests.process.test_live import published, until
from tests.processes import Process, serve

N_KILLS = int(os.environ.get("CALIBRANT_TEST_KILLS", "6"))
AT_NS = time.time_ns()
DAY_NS = 86_400 * 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal's folder."""
    make_folder(tmp_path / "j")
    return tmp_path / "j"


def digits(folder: Path) -> dict[str, Any]:
    """What is told of the model."""
    found: dict[str, Any] = published(folder).get("models", {}).get("digits/1", {})
    return found


def open_live(folder: Path, open_database: Callable[[], Database] | None = None, **options: Any) -> Live:
    return Live(
        folder,
        open_database or partial(Database, folder / STORE),
        Heads(ROOT / "models", "softmax"),
        Options(**options),
    )


def block(*names: str) -> bytes:
    """Answers of one row."""
    values = [np.tile(np.arange(10, dtype=np.float32), len(names))]
    ids = [name.encode() for name in names]
    return b"".join(pack_block(LOGITS, b"digits/1", ids, [1] * len(names), 10, bytes(len(names)), values))


# --- over HTTP


def test_labels_over_http_are_joined_counted_and_told(folder: Path) -> None:
    with serve("--journal", folder) as process:
        client = process.client
        for i in range(30):
            client.post("/v1/models/digits/predict", json={"logits": [[0.0] * 9 + [5]] * 2, "id": f"r{i}"})
        given = [{"id": f"r{i}", "row": row, "label": 9 if i else 8} for i in range(30) for row in range(2)]
        strange = [{"id": "never", "label": 1}, {"id": "r1", "row": 2, "label": 1}, {"id": "r1", "label": 3}]
        until(lambda: client.post("/v1/labels", json={"labels": given}).json()["accepted"] == 60)
        answer = client.post("/v1/labels", json={"labels": given + strange}).json()
        assert (answer["accepted"], answer["pending"]) == (60, 1)
        assert [(one["id"], one["row"]) for one in answer["unknown"]] == [("never", 0), ("r1", 2)]
        assert answer["conflicts"] == [{"id": "r1", "row": 0, "kept": 9}]
        until(lambda: (digits(folder).get("labels"), digits(folder).get("conflicts")) == (60, 1))
        told = digits(folder)
        assert (told["predictions"], told["counted"]) == (60, 60)
        assert told["report"]["accuracy"] == 58 / 60
        assert client.delete("/v1/labels/r1").json() == {"requests": 1, "waiting": 0}
        again = client.post("/v1/labels", json={"labels": [{"id": "r1", "label": 3}]}).json()
        assert again["pending"] == 1


def test_the_coverage_of_prediction_sets_and_what_labels_say_of_a_group_are_told(folder: Path) -> None:
    logits = [[0, 9, 1, 0, 2, 0, 0, 1, 0, 0]] * 10
    with serve("--journal", folder) as process:
        client = process.client
        for name in ("acme", "umbrella"):
            body = {"id": name, "logits": logits, "alpha": 0.1, "group": name, "outputs": ["prediction"]}
            answer = client.post("/v1/models/digits/predict", json=body).json()
            assert answer["prediction_set"]["classes"] == [[1]] * 10
        client.post("/v1/models/digits/predict", json={"id": "nobody", "logits": logits})
        given = [{"id": name, "row": row, "label": 1} for name in ("acme", "nobody") for row in range(10)]
        given += [{"id": "umbrella", "row": row, "label": 2 if row < 6 else 1} for row in range(10)]
        until(lambda: client.post("/v1/labels", json={"labels": given}).json()["accepted"] == 30)
        until(lambda: digits(folder).get("counted") == 30)
        page = "/v1/models/digits/versions/1/calibration"
        coverage = client.get(page).json()["coverage"]
        assert (coverage["rows"], coverage["value"]) == (20, 0.7)
        assert coverage["asked"] == pytest.approx(0.9)
        found = [client.get(page, params={"group": name}).json() for name in ("acme", "umbrella")]
        assert [(one["labels"], one["accuracy"]) for one in found] == [(10, 1.0), (10, 0.4)]
        assert [one["coverage"]["value"] for one in found] == [1.0, 0.4]


def test_while_the_live_process_is_dead_labels_are_taken_and_counted_by_the_next_one(folder: Path) -> None:
    with serve("--journal", folder) as process:
        client = process.client
        pid = until(lambda: published(folder).get("pid"))
        os.kill(pid, signal.SIGKILL)
        client.post("/v1/models/digits/predict", json={"logits": [0.0] * 10, "id": "a"})
        assert client.post("/v1/labels", json={"labels": [{"id": "a", "label": 1}]}).status_code == 202
        until(lambda: digits(folder).get("counted") == 1)
        assert published(folder)["pid"] != pid


# --- kills


class Traffic:
    """A client that predicts, and tells each label until it is answered 202."""

    def __init__(self, port: int) -> None:
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        self.told: list[str] = []
        self.refused: list[str] = []
        self.stopping = False
        self.server_away = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        """Until it is stopped."""
        while not self.stopping:
            key = f"p{len(self.told)}"
            body = {"logits": [[float(i) for i in range(10)]] * 3, "id": key}
            labels = [{"id": key, "row": row, "label": row} for row in range(3)]
            if self.insist("/v1/models/digits/predict", body, 200) and self.insist(
                "/v1/labels", {"labels": labels}, 202
            ):
                self.told.append(key)

    def insist(self, path: str, body: Any, status: int) -> bool:
        """Ask until there is an answer, or nobody wants it; none is a failure unless the server was killed."""
        while not self.stopping:
            try:
                answer = self.client.post(path, json=body)
            except httpx.TransportError as error:
                if not self.server_away.is_set():
                    self.refused.append(repr(error))
                time.sleep(0.02)
                continue
            if answer.status_code == status:
                return True
            self.refused.append(f"{path} {answer.status_code} {answer.text}")
        return False

    def stop(self) -> None:
        """Wait for the answer that is owed."""
        self.stopping = True
        self.thread.join()
        self.client.close()


def free_port() -> int:
    """A port that stays the same when a server starts again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def start(folder: Path, port: int, *options: str) -> Process:
    process = Process("--journal", folder, "--port", port, "--label-wait-s", 86_400, *options)
    process.wait()
    return process


@pytest.mark.parametrize("store", ["SQLite", "PostgreSQL"])
def test_no_label_that_was_answered_202_is_lost_and_none_counted_twice(
    folder: Path, store: str, request: pytest.FixtureRequest
) -> None:
    dice = random.Random(7)
    port = free_port()
    database: Server | None = request.getfixturevalue("postgres") if store == "PostgreSQL" else None
    address = "" if database is None else database.new_database()
    options = () if database is None else ("--journal-store", address)
    process = start(folder, port, *options)
    traffic = Traffic(port)
    try:
        for kill in range(N_KILLS):
            time.sleep(dice.uniform(0.1, 1.5))
            if kill % 3 == 1:
                traffic.server_away.set()
                process.client.close()
                process.popen.kill()
                process.popen.communicate()
                process = start(folder, port, *options)
                traffic.server_away.clear()
            elif kill % 3 == 2 and database is not None:
                database.kill()
                time.sleep(dice.uniform(0, 1))
                database.start()
            else:
                os.kill(until(partial(live_pid, process.popen.pid)), signal.SIGKILL)
        time.sleep(1)
        traffic.stop()
        keys = sorted(traffic.told)
        until(lambda: at_rest(folder, len(keys)), 90)
    finally:
        traffic.stop()
        process.client.close()
        process.end(signal.SIGTERM)
    assert traffic.refused == []
    assert len(keys) > N_KILLS
    check_books(open_live(folder, partial(Postgres, address) if address else None), keys)


def live_pid(parent: int) -> int | None:
    """The live process of a server."""
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in path.read_text().split():
            try:
                if b"live" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                    return int(child)
            except OSError:
                continue
    return None


def at_rest(folder: Path, n_keys: int) -> bool:
    """Whether every label is joined, or waits."""
    state = published(folder)
    return bool(state) and digits(folder).get("labels", 0) + state["pending"] >= 3 * n_keys


def check_books(live: Live, keys: list[str]) -> None:
    """Every label that was answered is there once, and numbered without a gap."""
    try:
        with live.ledger.transaction():
            store = live.store
            numbers = sorted(
                number for day in store.days for (number,) in store.db.rows(f"SELECT number FROM labels_{day}")
            )
            counted = store.counts()["digits/1"]
            joined, waiting = counted["labels"], store.n_pending()
            outcome = live.ledger.add([Label(key, row, row) for key in keys for row in range(3)], AT_NS)
    finally:
        live.store.db.close()
    assert numbers == list(range(counted["counted"])) == list(range(joined))
    assert joined + waiting >= 3 * len(keys)  # one label more may have been told without an answer
    assert joined + waiting <= 3 * (len(keys) + 1)
    # an answer in the last moment before its server was killed was not written; its labels wait for it
    assert outcome.accepted + outcome.pending == 3 * len(keys)
    assert outcome.pending <= waiting
    assert outcome.conflicts == {}


# --- by itself


@pytest.fixture
def running() -> Callable[..., Any]:
    """Runs a live process in this one."""

    def run(live: Live, work: Callable[[], Any]) -> Any:
        async def all_of_it() -> Any:
            task = asyncio.create_task(live.run())
            try:
                return await work()
            finally:
                live.stop()
                await task

        return asyncio.run(all_of_it())

    return run


async def soon(condition: Callable[[], Any]) -> None:
    """Return once it holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - of another process's files
            await asyncio.sleep(0.02)


def has_predictions(folder: Path, n: int) -> bool:
    """Whether that is what is told."""
    return bool(digits(folder).get("predictions") == n)


def test_what_grows_is_read_by_itself_and_what_rests_is_left_alone(folder: Path, running: Callable[..., Any]) -> None:
    async def work() -> None:
        appender = Appender(folder / SEGMENTS, 2**20)
        for i in range(3):
            await asyncio.sleep(0.3)
            appender.append([block(f"{i}")], AT_NS)
            await soon(partial(has_predictions, folder, i + 1))
        cpu = time.process_time()
        await asyncio.sleep(1.0)
        assert time.process_time() - cpu < 0.1

    running(open_live(folder), work)


def test_a_journal_below_a_folder_that_tools_pass_over_is_read_when_it_grows(
    tmp_path: Path, running: Callable[..., Any]
) -> None:
    folder = tmp_path / ".venv" / "j"
    make_folder(folder)

    async def work() -> None:
        appender = Appender(folder / SEGMENTS, 2**20)
        await asyncio.sleep(0.3)
        appender.append([block("0")], AT_NS)
        await soon(partial(has_predictions, folder, 1))

    running(open_live(folder), work)


def test_a_store_that_is_away_is_told_and_tried_again(
    folder: Path, running: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.journal.live.AWAY_S", 0.05)
    live = open_live(folder)
    appender = Appender(folder / SEGMENTS, 2**20)

    def fail(*_: Any) -> Any:
        raise Database.errors[0]("disk I/O error")

    async def work() -> None:
        await asyncio.sleep(0.2)
        with monkeypatch.context() as patch:
            patch.setattr(live.store.db, "run", fail)
            appender.append([block("a")], AT_NS)
            await soon(lambda: "the store fails, segments keep what comes: disk I/O error" in caplog.text)
            message = {"do": "labels", "labels": [["a", 0, 1, None, False]]}
            assert await ask(folder, message) == {"away": "disk I/O error"}
        await soon(lambda: digits(folder).get("predictions") == 1)
        assert (await ask(folder, message))["accepted"] == 1

    running(live, work)


def test_labels_are_taken_where_answers_come_faster_than_they_are_read(
    folder: Path, running: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = open_live(folder)
    monkeypatch.setattr("service.journal.live.BEFORE_LABELS_S", 0.0)

    def read_for_ever() -> Iterator[None]:
        for _ in range(10**6):
            yield
        raise AssertionError("it is read on and on")

    with monkeypatch.context() as patch:
        patch.setattr(live.ingest, "read", read_for_ever)
        assert live.add_labels({"labels": [["a", 0, 3, None, False]]})["pending"] == 1

    async def work() -> None:
        Appender(folder / SEGMENTS, 2**20).append([block("a")], AT_NS)
        await soon(lambda: digits(folder).get("counted") == 1)

    running(live, work)


def test_days_that_are_over_are_forgotten_and_the_oldest_first_where_there_is_no_room(folder: Path) -> None:
    appender = Appender(folder / SEGMENTS, 2**20)
    for age in (40, 3, 2, 0):
        appender.append([block(*(f"{age}-{i}" for i in range(2000)))], AT_NS - age * DAY_NS)
    live = open_live(folder)
    list(live.ingest.read())
    assert len(live.store.days) == 4
    live.sweep(AT_NS)
    assert len(live.store.days) == 3
    live.store.db.close()
    live = open_live(folder, max_bytes=1)
    live.sweep(AT_NS)
    assert list(live.store.days) == [int(time.strftime("%Y%m%d", time.gmtime(AT_NS / 1e9)))]
    live.store.db.close()


def test_a_day_that_fills_the_store_loses_its_oldest_answers(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    live = open_live(folder, max_bytes=2**20)
    appender = Appender(folder / SEGMENTS, 2**20)
    for turn in range(12):
        appender.append([block(*(f"{turn}-{i}" for i in range(2000)))], AT_NS)
        list(live.ingest.read())
        live.bound(AT_NS)
        assert live.store.db.used_bytes() <= 2**20
    date = int(time.strftime("%Y%m%d", time.gmtime(AT_NS / 1e9)))
    assert {date_of(day) for day in live.store.days} == {date}
    assert len(live.store.days) > 2
    assert f"the oldest answers of {date} and their labels are no longer kept" in caplog.text
    answer = live.add_labels({"labels": [["0-0", 0, 3, None, False], ["11-1999", 0, 3, None, False]]})
    assert (answer["accepted"], answer["pending"]) == (1, 1)
    live.store.db.close()


def test_labels_that_found_no_answer_in_time_are_given_up(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    live = open_live(folder, label_wait_s=10.0)
    with live.ledger.transaction():
        live.ledger.add([Label("nobody", 0, 1)], AT_NS)
    live.sweep(AT_NS + 9 * 10**9)
    assert caplog.text == ""
    live.sweep(AT_NS + 11 * 10**9)
    assert "1 labels have found no answer within 10 s" in caplog.text
    live.store.db.close()


def test_matured_answers_count_while_it_runs(folder: Path, running: Callable[..., Any]) -> None:
    appender = Appender(folder / SEGMENTS, 2**20)
    labels = [["new", 0, 1, None, False], ["old", 0, 1, None, False]]
    appender.append([pack_labels(json.dumps(labels).encode())], AT_NS)  # which wait for their answers
    appender.append([block("old")], AT_NS - DAY_NS)
    appender.append([block("new")], AT_NS)

    async def work() -> None:
        names = ("labels", "counted", "waiting")
        await soon(lambda: [digits(folder).get(name) for name in names] == [2, 1, 1])

    running(open_live(folder, policy=Policy(3600 * 10**9)), work)


def test_what_people_decide_is_published_before_they_are_answered(folder: Path, running: Callable[..., Any]) -> None:
    Appender(folder / SEGMENTS, 2**20).append([block("a")], AT_NS)

    async def work() -> None:
        await soon(lambda: digits(folder).get("predictions") == 1)
        await ask(folder, {"do": "labels", "labels": [["a", 0, 1, None, False]]})
        assert await ask(folder, {"do": "acknowledge", "model": "digits/1", "by": "me"}) == {"epoch": 1}
        assert "error" in await ask(folder, {"do": "acknowledge", "model": "other/1", "by": "me"})
        assert "error" in await ask(folder, {"do": "sing"})
        assert digits(folder)["report"]["epoch"] == 1
        for do, state in (("propose", "collecting"), ("dismiss", "dismissed")):
            assert await ask(folder, {"do": do, "model": "digits/1", "by": "me"}) == {}
            assert digits(folder)["refit"]["state"] == state

    running(open_live(folder), work)


def test_what_could_not_be_published_is_later(
    folder: Path, running: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Appender(folder / SEGMENTS, 2**20).append([block("a")], AT_NS)
    live = open_live(folder)

    def fail() -> Any:
        raise Database.errors[0]("disk I/O error")

    async def work() -> None:
        await soon(lambda: digits(folder).get("predictions") == 1)
        await ask(folder, {"do": "labels", "labels": [["a", 0, 1, None, False]]})
        await soon(lambda: digits(folder).get("report"))
        with monkeypatch.context() as patch:
            patch.setattr(live.store, "counts", fail)
            assert await ask(folder, {"do": "acknowledge", "model": "digits/1", "by": "me"}) == {"epoch": 1}
            assert digits(folder)["report"]["epoch"] == 0
        await soon(lambda: digits(folder)["report"]["epoch"] == 1)

    running(live, work)


def test_what_is_published_is_never_old_although_nothing_comes(
    folder: Path, running: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.journal.live.REST_S", 0.2)

    async def work() -> None:
        await soon(lambda: published(folder))
        before = published(folder)["at_ns"]
        await soon(lambda: published(folder)["at_ns"] > before + 10**9)

    running(open_live(folder), work)


def test_what_is_published_outlives_the_process(folder: Path, running: Callable[..., Any]) -> None:
    Appender(folder / SEGMENTS, 2**20).append([block("a")], AT_NS)

    async def work() -> None:
        await soon(lambda: digits(folder).get("predictions") == 1)

    running(open_live(folder), work)
    before = read_state(folder)
    live = open_live(folder)
    live.publish()
    live.store.db.close()
    after = read_state(folder)
    assert before is not None
    assert after is not None
    assert after["models"] == before["models"]


def test_what_was_read_is_gone_from_the_folder_a_minute_later_or_when_the_process_ends(folder: Path) -> None:
    segments = folder / SEGMENTS
    appender = Appender(segments, 2**25)
    appender.append([block("a"), pack_labels(b"[%b]" % (b" " * 2**21))], AT_NS)
    appender.close()

    async def work() -> None:
        live = open_live(folder)
        await live.work()
        (spare,) = find_spares(segments)
        live.sweep(AT_NS)
        assert spare.exists()
        os.utime(spare, (0, 0))
        live.sweep(AT_NS)
        assert not spare.exists()
        (segments / "another.spare").touch()
        live.stop()
        await live.run()

    asyncio.run(work())
    assert list(segments.iterdir()) == []
