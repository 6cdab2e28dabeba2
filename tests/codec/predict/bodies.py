"""Bodies of predict for a fuzzer, usual ones and such with a few bytes changed; whether two queries are the same."""

import random
from typing import Any

import numpy as np

from service.codec.query import Query

PIECES = [
    *(b"0", b"-", b".", b"e", b"E+5", b"e-30", b"1", b"9" * 20, b"[", b"]", b"]]", b"[[", b"{", b"}", b",", b":", b" "),
    *(b"true", b"false", b"null", b"NaN", b'"', b"\\", b"\x00", b"\xff", b"\n", b'"mask"', b'"logits":[1,2]', b"00"),
]


def number(random_: random.Random) -> str:
    """A number as some client would write it."""
    x = random_.choice(
        [random_.gauss(0, 5), random_.uniform(0, 1), random_.gauss(0, 1) * 10 ** random_.randint(-45, 37)]
    )
    kind = random_.randrange(6)
    if kind == 0:
        return str(random_.randint(-(10 ** random_.randint(0, 30)), 10 ** random_.randint(0, 30)))
    if kind == 1:
        return f"{x:.{random_.randint(0, 30)}e}"
    if kind == 2:
        return f"{x:.{random_.randint(1, 25)}f}"
    return repr(round(x, 4) if kind == 3 else x)


def usual_body(random_: random.Random) -> bytes:
    """A body that asks for nothing odd, mostly: rows of one length, a mask, a temperature, spaces."""
    nested = random_.random() < 0.4
    n, k = random_.randint(1, 3) if nested else 1, random_.randint(1, 6)
    rows = [[number(random_) for _ in range(k)] for _ in range(n)]
    mask = [[random_.choice(["true", "true", "false"]) for _ in range(k)] for _ in range(n)]
    gap = random_.choice(["", "", " ", "\n\t "])

    def listed(many: list[list[str]]) -> str:
        texts = [f"[{(',' + gap).join(one)}{gap}]" for one in many]
        return f"[{(',' + gap).join(texts)}]" if nested else texts[0]

    parts: list[Any] = [f'"logits":{gap}{listed(rows)}']
    if random_.random() < 0.5:
        parts.append(f'"mask"{gap}:{listed(mask)}')
    if random_.random() < 0.4:
        many = random_.random() < 0.3
        ts = [random_.choice([random_.uniform(0.1, 5), 2, 10.0 ** random_.randint(-40, 40)]) for _ in range(n)]
        text = f"[{(gap + ',').join(map(repr, ts))}]" if many else repr(ts[0])
        parts.insert(random_.randint(0, len(parts)), f'"temperature":{gap}{text}')
    return (gap + "{" + f"{gap},{gap}".join(parts) + "}" + gap).encode()


def spoiled(body: bytes, random_: random.Random) -> bytes:
    """The body with up to three bytes changed, cut out, or put in."""
    for _ in range(random_.randint(1, 3)):
        at = random_.randint(0, len(body))
        piece = random_.choice([*PIECES, bytes([random_.randrange(256)])])
        body = body[:at] + piece + body[at + random_.randint(0, 2) :]
    return body[: random_.randint(0, len(body))] if random_.random() < 0.1 else body


def same(a: Query, b: Query) -> None:
    """Assert that two queries are the same to the bit."""
    assert a.rows.inputs.keys() == b.rows.inputs.keys()
    for name, values in a.rows.inputs.items():
        assert same_array(values, b.rows.inputs[name])
    assert same_array(a.rows.mask, b.rows.mask)
    assert column(a).tobytes() == column(b).tobytes()
    assert list(a.rows.empty) == list(b.rows.empty)
    assert a.rows.looks_like_probabilities == b.rows.looks_like_probabilities
    assert list(a.outputs) == list(b.outputs)
    for name in ("lead", "classes", "lists_temperature", "top_k", "timeout_s", "id"):
        assert getattr(a, name) == getattr(b, name), name


def column(query: Query) -> Any:
    """The temperature of every row; -1 where the head has it."""
    given = query.rows.temperature
    return np.array(np.broadcast_to(-1.0 if given is None else given, (query.rows.n, 1)), np.float64)


def same_array(a: Any, b: Any) -> bool:
    """Same type, shape and bytes."""
    if a is None or b is None:
        return a is b
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
