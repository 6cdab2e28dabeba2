"""The journal of a running service: what it keeps of every kind of request, and what happens without room for it."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from service.codec.query import DEFAULT_OUTPUTS, Query
from service.engine.answers import Batch, Share
from service.engine.rows import Rows
from service.engine.single import Row
from service.errors import NotReady
from service.journal import writer
from service.journal.answers import apart
from service.journal.observer import MANY_BYTES, Journal
from service.journal.packing import hash_id
from service.journal.record import BEST, PROBABILITIES, Block, Labels, Lost
from service.journal.segments import SEGMENTS, Appender, find_segments
from service.telemetry.request import Request
from tests.conftest import Running, serving
from tests.journal.grouped import grouped
from tests.journal.reading import blocks, rows
from tests.transports.infer import PATH

Run = Callable[..., Running]


def until(condition: Callable[[], Any]) -> None:
    """Return once it holds."""
    patience = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.01)


def test_each_kind_of_request_is_kept_under_the_id_that_was_answered(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    expected = {}
    for body, kept in (
        ({"logits": [1.5, -2, 3]}, [[1.5, -2, 3]]),
        ({"logits": [[1.5, -2, 3]], "mask": [[True, False, True]]}, [[1.5, -np.inf, 3]]),
        ({"logits": [[1, 2], [3, None]]}, [[1, 2], [3, -np.inf]]),
        ({"logits": [5, 6], "outputs": ["prediction"]}, [[5, 6]]),
        ({"logits": [0.25] * 300}, [[0.25] * 300]),
    ):
        expected[running.predict(body).headers["x-request-id"]] = kept
    running.predict({"logits": [7, 8]}, headers={"x-request-id": "given-in-a-header"})
    running.predict({"logits": [7, 8], "id": "given in the bödy"}, headers={"x-request-id": "another"})
    running.predict({"logits": [7, 8], "id": ""}, headers={"x-request-id": "not-the-empty-one"})
    expected |= {key: [[7, 8]] for key in ("given-in-a-header", "given in the bödy", "not-the-empty-one")}
    tensor = {"name": "logits", "shape": [1, 2], "datatype": "FP32", "data": [3, 4]}
    assert running.client.post(PATH, json={"id": "open", "inputs": [tensor]}).status_code == 200
    expected["open"] = [[3, 4]]
    until(lambda: len(rows(tmp_path / SEGMENTS)) == len(expected))
    assert rows(tmp_path / SEGMENTS) == expected


def test_a_mask_or_a_temperature_of_ones_own_sets_a_request_apart(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    every: list[dict[str, Any]] = [{}, {"mask": [True, False]}, {"temperature": 2}, {"outputs": ["prediction"]}, {}]
    for i, options in enumerate(every):
        running.predict({"logits": [1, 2], **options, "id": f"a{i}"})
        running.predict({"logits": [1, 2], **options}, headers={"x-request-id": f"b{i}"})
    until(lambda: len(rows(tmp_path / SEGMENTS)) == 10)
    found = {}
    head = running.service.repository.find("softmax").head
    for block in blocks(tmp_path / SEGMENTS):
        assert isinstance(block, Block)
        temperatures = (
            [head.temperature] * len(block.ids) if block.temperatures is None else block.temperatures.tolist()
        )
        for key, own, temperature in zip(block.ids, apart(block, head).tolist(), temperatures, strict=True):
            found[key.decode()] = (own, temperature if temperature == 2 else None)
    for kind in "ab":
        assert [found[f"{kind}{i}"] for i in range(5)] == [
            (False, None),
            (True, None),
            (True, 2.0),
            (False, None),
            (False, None),
        ]


def test_rows_that_share_batches_are_kept_under_their_own_ids(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    expected: dict[str, Any] = {}

    def ask(number: int) -> None:
        with httpx.Client(base_url=running.url, timeout=30) as client:
            for i in range(40):
                logits: list[Any] = [number, i, -1]
                body: dict[str, Any] = {"logits": logits}
                if i % 3 == 1:
                    body["mask"] = [True, True, False]
                    logits = [number, i, -np.inf]
                elif i % 3 == 2:
                    body["outputs"] = ["prediction"]  # not plain, in the same batches
                answer = client.post("/v1/predict", json=body)
                expected[answer.headers["x-request-id"]] = [logits]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(rows(tmp_path / SEGMENTS)) == 480)
    assert rows(tmp_path / SEGMENTS) == expected
    sizes = [len(block.ids) for block in blocks(tmp_path / SEGMENTS) if isinstance(block, Block)]
    assert max(sizes) > 1


def test_errors_evaluations_and_families_of_many_classes_are_not_kept(
    families: Running, tmp_path: Path, family_models: Path
) -> None:
    with serving(models=family_models, journal=tmp_path, default_model="sigmoid") as running:
        names = list(running.service.repository.models)
        for name in names:
            running.predict({"logits": [1, "x"]}, model=name)
            signature = running.service.repository.find(name).signature
            body = {"logits": [[0.5] * (signature.classes or 3)], "id": signature.family.name}
            running.client.post(f"/v1/models/{name}/evaluate", json=body | {"labels": [0]})
            running.predict(body, model=name)
        kept = {
            model.signature.family.name
            for versions in running.service.repository.models.values()
            for model in versions.values()
            if model.signature.family.chooses_one and not model.signature.averages
        }
        until(lambda: kept <= rows(tmp_path / SEGMENTS).keys())
    assert "sigmoid" not in rows(tmp_path / SEGMENTS)


def test_groups_are_kept_beside_the_logits(run: Run, tmp_path: Path) -> None:
    running = run(models=grouped(tmp_path), journal=tmp_path / "j", default_model="grouped")
    body = {"logits": [[1, 2, 3], [4, 5, 6], [7, 8, 9]], "group": ["b", "nobody", "a"], "id": "x"}
    assert running.predict(body, model="grouped").status_code == 200
    until(lambda: rows(tmp_path / "j" / SEGMENTS))
    (block,) = blocks(tmp_path / "j" / SEGMENTS)
    assert isinstance(block, Block)
    assert block.values.tolist() == body["logits"]
    assert block.groups is not None
    assert block.groups.tolist() == [2, 0, 1]
    assert block.group == b'["b","nobody","a"]'


def test_any_head_takes_the_name_of_a_group_and_the_sets_that_were_answered_are_kept(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    body = {"logits": [[0, 9, 1, 0, 2, 0, 0, 1, 0, 0], [0] * 10], "id": "x", "alpha": 0.1, "group": "g" * 300}
    answer = running.predict(body, model="digits")
    assert answer.status_code == 200, answer.text
    assert "warnings" not in answer.json()
    tensor = {"name": "logits", "shape": [1, 10], "datatype": "FP32", "data": [0] * 10}
    sent = {"id": "open", "inputs": [tensor], "parameters": {"group": "acme"}}
    assert running.client.post("/v2/models/digits/infer", json=sent).status_code == 200
    until(lambda: len(rows(tmp_path / SEGMENTS)) == 2)
    first, second = (block for block in blocks(tmp_path / SEGMENTS) if isinstance(block, Block))
    assert (first.group, first.alpha) == (b'"%b"' % (b"g" * 256), 0.1)
    assert first.sets is not None
    sets = np.unpackbits(first.sets, axis=1, count=10, bitorder="little")
    assert [np.flatnonzero(row).tolist() for row in sets] == answer.json()["prediction_set"]["classes"]
    assert (second.group, second.alpha, second.groups) == (b'"acme"', None, None)


def test_confidence_keeps_the_best_class_and_its_probability_alone(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path, journal_what="confidence")
    running.predict({"logits": [[1, 2, 3], [3, 2, 1]], "id": "many"})
    running.predict({"logits": [3, 2, 1], "outputs": ["log_probabilities"], "id": "log"})
    until(lambda: len(rows(tmp_path / SEGMENTS)) == 2)
    assert rows(tmp_path / SEGMENTS) == {
        "many": [[pytest.approx(0.66524094)]] * 2,
        "log": [[pytest.approx(0.66524094)]],
    }
    found = [block for block in blocks(tmp_path / SEGMENTS) if isinstance(block, Block)]
    assert [block.kind for block in found] == [BEST, BEST]
    assert [classes.tolist() for block in found if (classes := block.classes) is not None] == [[2, 0], [0]]


def test_what_an_answer_does_not_hold_or_a_prior_changed_is_counted_and_told(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path, journal_what="confidence")
    running.predict({"logits": [[1, 2], [3, 4]], "outputs": ["prediction"]})
    running.predict({"logits": [[1, 2]], "prior": {"new": [0.5, 0.5], "old": [0.1, 0.9]}})
    running.predict({"logits": [1, 2]})
    until(lambda: Lost(3) in blocks(tmp_path / SEGMENTS))
    assert "calibrant_journal_dropped_rows_total 3.0" in running.client.get("/metrics").text
    until(lambda: "calibrant_journal_rows_total 1.0" in running.client.get("/metrics").text)


def test_a_sample_is_chosen_by_the_ids_alone(tmp_path: Path) -> None:
    kept = []
    for name in ("one", "two"):
        with serving(journal=tmp_path / name, journal_sample=0.3) as running:
            for i in range(40):
                running.predict({"logits": [1, 2]}, headers={"x-request-id": f"request-{i}"})
        kept.append(set(rows(tmp_path / name / SEGMENTS)))
    assert kept[0] == kept[1]
    assert 4 < len(kept[0]) < 20


def test_hashed_ids_are_hashed_with_the_key(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path, journal_hash_ids="pepper")
    running.predict({"logits": [1, 2]}, headers={"x-request-id": "secret"})
    until(lambda: rows(tmp_path / SEGMENTS))
    assert list(rows(tmp_path / SEGMENTS)) == [hash_id(b"secret", b"pepper").decode()]
    assert hash_id(b"secret", b"salt") != hash_id(b"secret", b"pepper")
    assert all(b"secret" not in path.read_bytes() for path in find_segments(tmp_path / SEGMENTS))


def test_a_service_that_stops_writes_what_it_has_and_one_that_rests_finishes_its_segment(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "IDLE", 1)
    running = run(journal=tmp_path)
    running.predict({"logits": [1, 2]})
    journal = running.service.journal
    assert journal is not None
    until(
        lambda: (
            rows(tmp_path / SEGMENTS) and journal.writer.appender.descriptor is None and journal.writer.timer is None
        )
    )
    running.predict({"logits": [1, 2]})
    running.server.should_exit = True
    until(lambda: len(rows(tmp_path / SEGMENTS)) == 2)


def test_without_a_journal_nothing_is_kept_and_nobody_listens_but_the_counts(run: Run) -> None:
    running = run()
    assert running.service.journal is None
    assert running.service.observer is running.service.telemetry


class Disk(Appender):
    """Segments on a disk that fails when told to."""

    full = False

    def append(self, payload: Sequence[Any], at_ns: int) -> None:
        if self.full:
            raise OSError(28, os.strerror(28))
        super().append(payload, at_ns)


ALONE = Share(Batch({}, of_single_rows=True), 0, 1)


def request(number: int, k: int = 10) -> Request:
    """An answered request of one row."""
    family = SimpleNamespace(chooses_one=True)
    model = SimpleNamespace(
        name="m", version="1", signature=SimpleNamespace(family=family, takes="logits", averages=False)
    )
    row = Row(np.zeros(k, np.float32).tobytes(), None, None, ())
    found = Request(b"%d" % number, "predict")
    found.model, found.query, found.n_rows = model, Query(row, DEFAULT_OUTPUTS, (), (k,), plain=True), 1
    return found


def test_a_full_disk_costs_rows_that_are_counted_and_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 100_000)
    monkeypatch.setattr(writer, "INTERVAL_S", 0.001)
    counts = {"kept": 0, "dropped": 0}

    def count(n_kept: int, n_dropped: int) -> None:
        counts["kept"] += n_kept
        counts["dropped"] += n_dropped

    async def fill() -> None:
        disk = Disk(tmp_path, 2**24)
        journal = Journal(disk, count=count)
        for full in (False, True, True, False):
            disk.full = full
            for i in range(10_000):
                journal.answered(request(i), ALONE, SimpleNamespace(status=200, headers=()))
            assert journal.writer.n_bytes <= 100_000 >= sum(map(len, journal.writer.parts))
            while journal.writer.parts or journal.writer.writing or journal.ids:  # noqa: ASYNC110 - its state, no event
                await asyncio.sleep(0.001)
            if full:
                with pytest.raises(NotReady, match="the labels could not be written: No space left"):
                    await journal.keep_labels(b"[]")
            else:
                await journal.keep_labels(b"[]")
        await journal.close()

    asyncio.run(fill())
    assert counts["kept"] + counts["dropped"] == 40_000
    assert counts["dropped"] > 20_000
    found = blocks(tmp_path)
    assert sum(len(block.ids) for block in found if isinstance(block, Block)) == counts["kept"]
    assert sum(block.n for block in found if isinstance(block, Lost)) == counts["dropped"]
    assert sum(isinstance(block, Labels) for block in found) == 2
    messages = [record.getMessage() for record in caplog.records if record.name == "service.journal.writer"]
    assert len([message for message in messages if "cannot be written" in message]) == 1


@pytest.mark.parametrize(("max_bytes", "sizes"), [(MANY_BYTES, [5, 4]), (1, [3, 2, 2, 2])])
def test_batches_of_one_model_and_width_are_packed_together_each_row_with_its_own_temperature(
    tmp_path: Path, max_bytes: int, sizes: list[int]
) -> None:
    logits = np.arange(18, dtype=np.float32).reshape(6, 3)
    feeds: list[dict[str, Any]] = [
        {"logits": logits[:4]},
        {"logits": logits[4:], "temperature": np.array([[2], [1.5]])},
        {"logits": logits[:2, :2]},
        {"logits": logits[:2, :2] + 1},
    ]
    model = request(0).model

    async def answer() -> None:
        journal = Journal(Appender(tmp_path, 2**24), count=lambda kept, dropped: None)
        journal.many_bytes = max_bytes
        number = 0
        for feed in feeds:
            batch = Batch({}, of_single_rows=True, feed=feed)
            for place in range(len(feed["logits"])):
                if number != 1:  # which was refused
                    one = request(number)
                    one.model = model
                    journal.answered(one, Share(batch, place, place + 1), SimpleNamespace(status=200, headers=()))
                number += 1
        await journal.close()

    asyncio.run(answer())
    assert [len(block.ids) for block in blocks(tmp_path) if isinstance(block, Block)] == sizes
    wide = [logits[[i]].tolist() for i in (0, 2, 3, 4, 5)]
    narrow = [[[0, 1]], [[3, 4]], [[1, 2]], [[4, 5]]]
    assert rows(tmp_path) == dict(zip("023456789", wide + narrow, strict=True))
    first, *_, last = (block for block in blocks(tmp_path) if isinstance(block, Block))
    assert last.temperatures is None
    if len(sizes) == 2:
        assert first.temperatures is not None
        assert np.array_equal(first.temperatures, [np.nan, np.nan, np.nan, 2, 1.5], equal_nan=True)


@pytest.mark.parametrize(("numbers", "kept_back"), [([4, 4, 4], [1, 2, 3]), ([4, 96, 4], [1, 0, 1])])
def test_requests_of_many_rows_are_packed_together_until_they_are_large(
    tmp_path: Path, numbers: list[int], kept_back: list[int]
) -> None:
    values = [np.arange(n, dtype=np.float32).reshape(2, -1) for n in numbers]
    waiting = []

    async def answer() -> None:
        journal = Journal(Appender(tmp_path, 2**24), count=lambda kept, dropped: None)
        journal.many_numbers = 100
        for i, some in enumerate(values):
            one = request(i)
            one.query.plain, one.query.rows = False, Rows({"logits": some})
            journal.answered(one, ALONE, SimpleNamespace(status=200, headers=()))
            waiting.append(len(journal.others))
        await journal.close()

    asyncio.run(answer())
    assert waiting == kept_back
    assert rows(tmp_path) == {str(i): some.tolist() for i, some in enumerate(values)}


def test_a_journal_that_is_closed_has_written_what_waited_and_leaves_no_timer(tmp_path: Path) -> None:
    async def close() -> Journal:
        journal = Journal(Appender(tmp_path, 2**24), count=lambda kept, dropped: None)
        journal.answered(request(1), ALONE, SimpleNamespace(status=200, headers=()))
        await journal.close()
        return journal

    assert asyncio.run(close()).writer.timer is None
    assert [block.ids for block in blocks(tmp_path) if isinstance(block, Block)] == [[b"1"]]


def test_what_a_head_answers_is_kept_where_its_logits_do_not_come_with_the_request(
    run: Run, family_models: Path, tmp_path: Path
) -> None:
    running = run(models=family_models, journal=tmp_path, default_model="softmax")
    models = running.service.repository.models
    averaging = [name for name, versions in models.items() if any(m.signature.averages for m in versions.values())]
    for name in averaging:
        signature = running.service.repository.find(name).signature
        logits = [[0.5] * (signature.classes or 3)] * (signature.members or 2)
        running.predict({"logits": [logits], "id": name}, model=name)
    until(lambda: len(rows(tmp_path / SEGMENTS)) == len(averaging) > 0)
    assert {block.kind for block in blocks(tmp_path / SEGMENTS) if isinstance(block, Block)} == {PROBABILITIES}
