"""Whoever asks beside you, and whatever becomes of him, your answer is the one that you get alone, bit for bit."""

import asyncio
import json
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from service.app import Service, create_app
from service.settings import Settings
from service.telemetry.observer import Both, Nobody
from service.transports.endpoints import find_target
from service.transports.response import Response
from tests.conftest import ROOT
from tests.families_made import HEADS

N_BODIES = 400
N_REQUESTS = 10_000
OUTPUTS = ["probabilities", "log_probabilities", "prediction", "confidence", "entropy", "logsumexp"]


Asked = tuple[str, bytes]
"""A model's name, and the body of a request to it."""


def numbers(rng: random.Random, k: int) -> list[float]:
    """Logits with few digits or many."""
    return [round(rng.gauss(0, 4), rng.randint(0, 7)) for _ in range(k)]


def made_up(rng: random.Random, model: str) -> Asked:
    """A request: K, rows, temperatures, masks, outputs and now and then a poison, all mixed."""
    k = rng.choice([2, 3, 10, 10, 10, 17, 1000])
    n = rng.choice([1, 1, 1, 2, 7]) if k < 1000 else 1
    members = 3 if model.startswith("ensemble") else 1
    rows: Any = [[numbers(rng, k) for _ in range(members)] for _ in range(n)]
    logits = rows if members > 1 else [row for (row,) in rows]
    lists = n > 1 or rng.random() < 0.5
    body: dict[str, Any] = {"logits": logits if lists else logits[0]}
    if rng.random() < 0.5:
        mask = [[rng.random() < 0.8 for _ in range(k)] for _ in range(n)]
        body["mask"] = mask if lists else mask[0]
    if rng.random() < 0.5:
        body["temperature"] = [rng.uniform(0.3, 3) for _ in range(n)] if rng.random() < 0.5 else rng.uniform(0.3, 3)
    if rng.random() < 0.3:
        body["outputs"] = rng.sample(OUTPUTS + ["mutual_information"] * (members > 1), rng.randint(1, len(OUTPUTS)))
    if rng.random() < 0.1:
        body["top_k"] = rng.randint(1, 5)
    if rng.random() < 0.1:
        body["prior"] = {"old": [rng.uniform(0.1, 0.9) for _ in range(k)]}
    if rng.random() < 0.1:
        body[rng.choice(["temperature", "logits", "mask", "nonsense"])] = rng.choice(
            [float("nan"), [None], "x", [[1e39]]]
        )
    return model, json.dumps(body).encode()


def row_alone(body: Any, row: int) -> bytes:
    """One row of a request of several."""
    temperature = body.get("temperature")
    own = {name: body[name][row : row + 1] for name in ("logits", "mask") if name in body}
    if isinstance(temperature, list):
        own["temperature"] = temperature[row : row + 1]
    return json.dumps(body | own).encode()


async def alone(service: Service, asked: Asked) -> tuple[int, bytes]:
    """The answer to a request that nobody is beside."""
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    ask(service, asked, future.set_result)
    answer = await future
    return answer.status, answer.body


def ask(service: Service, asked: Asked, reply: Any) -> Any:
    """Hand a request to the handler, as a transport does."""
    model, body = asked
    target = find_target(f"/v1/models/{model}/predict".encode())
    assert target is not None
    return service.handler.begin(target, [], b"id", body, reply, n_bytes=len(body))


async def check_rows(service: Service, asked: Asked, answer: bytes) -> None:
    """Each row of a request of several says what it says alone."""
    model, body = asked[0], json.loads(asked[1])
    found = json.loads(answer)
    one_row = body["logits"][0][0] if model.startswith("ensemble") else body["logits"][0]
    for row in range(len(body["logits"]) if isinstance(one_row, list) else 0):
        status, one = await alone(service, (model, row_alone(body, row)))
        assert status == 200, one
        for name, values in json.loads(one).items():
            if name == "top":
                assert {key: of[0] for key, of in values.items()} == {key: of[row] for key, of in found[name].items()}
            elif name in OUTPUTS or name == "mutual_information":
                assert values[0] == found[name][row], (model, name)


class Runs(Nobody):
    """The observer that counts runs."""

    n = 0

    def ran(self, runner: Any, marks: Sequence[Any], n_rows: int, took_s: float) -> None:
        self.n += 1


async def together(service: Service, models: Sequence[str], rng: random.Random, runs: Runs) -> None:
    """Ask everything at once, in bursts; some leave, some have a deadline that has passed. `runs` counts the runs."""
    assert service.batcher is not None
    bodies = [made_up(rng, models[i % len(models)]) for i in range(N_BODIES)]
    expected = {one: await alone(service, one) for one in bodies}
    for one, (status, answer) in expected.items():
        if status == 200:
            await check_rows(service, one, answer)
    statuses = {status for status, _ in expected.values()}
    assert statuses == {200, 422}
    runs.n = 0
    asked = [rng.choice(bodies) for _ in range(N_REQUESTS)]
    replies: list[Response | None] = [None] * N_REQUESTS
    gone, late = set(), set()
    for i, (model, body) in enumerate(asked):
        deadline = b',"timeout_ms":1e-5}' if rng.random() < 0.02 else b"}"
        if deadline != b"}":
            late.add(i)
        exchange = ask(service, (model, body[:-1] + deadline), partial(replies.__setitem__, i))
        if rng.random() < 0.02 and replies[i] is None:
            gone.add(i)
            exchange.abandon()
        if rng.random() < 0.02 / len(models):
            await asyncio.sleep(0)  # the loop gets on with what has come
    await service.batcher.idle.wait()
    assert runs.n < N_REQUESTS / 4
    for i, (one, reply) in enumerate(zip(asked, replies, strict=True)):
        if i in gone:
            assert reply is None
        elif reply is None or reply.status == 504 or b"deadline_too_close" in reply.body:
            assert i in late
            assert reply is not None
        else:
            assert (reply.status, reply.body) == expected[one]
    assert any(reply.status in (429, 504) for reply in replies if reply)
    assert gone
    assert service.batcher.n_waiting == 0
    assert not service.batcher.queues


async def serve(models: Path, names: Sequence[str]) -> None:
    """Ask a service of `models`, and count what its heads run."""
    service = create_app(Settings(models=models, watch=False, max_queue_rows=N_REQUESTS * 8))
    runs = Runs()
    service.observer = Both(service.observer, runs)
    async with service.lifespan(service.app):  # type: ignore[arg-type]
        await together(service, names, random.Random(0), runs)


def test_ten_thousand_mixed_requests_each_get_the_answer_that_they_get_alone() -> None:
    asyncio.run(serve(ROOT / "models", ["softmax"]))


def test_ten_thousand_over_all_families_each_get_the_answer_that_each_of_their_rows_gets_alone(
    family_models: Path,
) -> None:
    asyncio.run(serve(family_models, [name for name in HEADS if "affine" not in name]))
