"""Whoever asks beside you, and whatever becomes of him, your answer is the one that you get alone, bit for bit."""

import asyncio
import json
import random
from functools import partial
from typing import Any

from service.app import Service, create_app
from service.settings import Settings
from service.transports.endpoints import find_target
from service.transports.response import Response
from tests.conftest import ROOT

N_BODIES = 400
N_REQUESTS = 10_000
OUTPUTS = ["probabilities", "log_probabilities", "prediction", "confidence", "entropy", "logsumexp"]


def made_up(rng: random.Random) -> bytes:
    """A request: K, rows, temperatures, masks, outputs and now and then a poison, all mixed."""
    k = rng.choice([2, 3, 10, 10, 10, 1000])
    n = rng.choice([1, 1, 1, 2, 7]) if k < 1000 else 1
    logits: Any = [[round(rng.gauss(0, 4), rng.randint(0, 7)) for _ in range(k)] for _ in range(n)]
    body: dict[str, Any] = {"logits": logits if n > 1 or rng.random() < 0.5 else logits[0]}
    if rng.random() < 0.5:
        mask = [[rng.random() < 0.8 for _ in range(k)] for _ in range(n)]
        body["mask"] = mask if isinstance(body["logits"][0], list) else mask[0]
    if rng.random() < 0.5:
        body["temperature"] = [rng.uniform(0.3, 3) for _ in range(n)] if rng.random() < 0.5 else rng.uniform(0.3, 3)
    if rng.random() < 0.3:
        body["outputs"] = rng.sample(OUTPUTS, rng.randint(1, 6))
    if rng.random() < 0.1:
        body["top_k"] = rng.randint(1, 5)
    if rng.random() < 0.1:
        body[rng.choice(["temperature", "logits", "mask", "nonsense"])] = rng.choice(
            [float("nan"), [None], "x", [[1e39]]]
        )
    return json.dumps(body).encode()


async def alone(service: Service, body: bytes) -> tuple[int, bytes]:
    """The answer to a request that nobody is beside."""
    future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    ask(service, body, future.set_result)
    answer = await future
    return answer.status, answer.body


def ask(service: Service, body: bytes, reply: Any) -> Any:
    """Hand a request to the handler, as a transport does."""
    target = find_target(b"/v1/predict")
    assert target is not None
    return service.handler.begin(target, [], b"id", body, reply, n_bytes=len(body))


async def together(service: Service, rng: random.Random) -> None:
    """Ask everything at once, in bursts; some leave, some have a deadline that has passed."""
    assert service.batcher is not None
    bodies = [made_up(rng) for _ in range(N_BODIES)]
    expected = {body: await alone(service, body) for body in bodies}
    statuses = {status for status, _ in expected.values()}
    assert statuses == {200, 422}
    asked = [rng.choice(bodies) for _ in range(N_REQUESTS)]
    replies: list[Response | None] = [None] * N_REQUESTS
    gone, late = set(), set()
    for i, body in enumerate(asked):
        deadline = b',"timeout_ms":1e-5}' if rng.random() < 0.02 else b"}"
        if deadline != b"}":
            late.add(i)
        exchange = ask(service, body[:-1] + deadline, partial(replies.__setitem__, i))
        if rng.random() < 0.02 and replies[i] is None:
            gone.add(i)
            exchange.abandon()
        if rng.random() < 0.02:
            await asyncio.sleep(0)  # the loop gets on with what has come
    await service.batcher.idle.wait()
    for i, (body, reply) in enumerate(zip(asked, replies, strict=True)):
        if i in gone:
            assert reply is None
        elif reply is None or reply.status == 504:
            assert i in late
            assert reply is not None
        else:
            assert (reply.status, reply.body) == expected[body]
    assert any(reply.status == 504 for reply in replies if reply)
    assert gone
    assert service.batcher.n_waiting == 0
    assert not service.batcher.queues


def test_ten_thousand_mixed_requests_each_get_the_answer_that_they_get_alone() -> None:
    async def main() -> None:
        service = create_app(Settings(models=ROOT / "models", watch=False, max_queue_rows=N_REQUESTS * 8))
        async with service.lifespan(service.app):  # type: ignore[arg-type]
            await together(service, random.Random(0))

    asyncio.run(main())
