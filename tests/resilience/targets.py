"""What is fuzzed: every reader of bytes that a client sends, with bytes that are right, and what must hold for others.

A check gives what came of the bytes, in few words, so that whoever looks for new ways sees when one was found; it
raises where the reader does what it must not.
"""

import asyncio
import json
import re
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import httptools
import numpy as np
import orjson

from service.api import examples
from service.api.label_bodies import parse
from service.api.labels import Desk
from service.codec.errors import encode_error
from service.codec.evaluate.decode import decode_evaluate
from service.codec.infer.decode import decode_infer, read_header_fast
from service.codec.infer.header import parse_header
from service.codec.predict.careful import decode_careful
from service.codec.predict.decode import decode_predict
from service.codec.query import Query
from service.engine.signature import Signature
from service.errors import AnsweredError, RequestError
from service.rpc.infer import decode_message
from service.rpc.messages import ModelInferRequest, parse_message
from service.rpc.wire import Message
from service.transports.endpoints import INFER, PREDICT, parse_target
from service.transports.fast_known import KnownProtocol
from service.transports.gate import Gate
from service.transports.keys import Key, Keys
from service.transports.ordinary import OrdinaryProtocol
from service.transports.scopes import PREDICT_SCOPE
from tests.codec.served import ANY, CLASSIFIER, LATE_MASK, TEXTS, THREE
from tests.resilience.seeds import FRAMED, HEADERS, INFERS, LABELS, MESSAGES, documents
from tests.transports.played import PlayedSocket, connect

GROUPED: Final = Signature("stub", "1", classes=3, groups={"shop": 1}, group_temperatures=(1.0, 2.0))
MEMBERS: Final = Signature("stub", "1", averages=True, inputs={"logits": (np.float32, (None, None))})
MODELS: Final = (ANY, LATE_MASK, THREE, GROUPED, MEMBERS, TEXTS, CLASSIFIER)
OWN: Final = re.compile(  # what of an error's sentence may be the input's own: names, numbers, lists, places in JSON
    r"-?\d[\d.e+-]*|\[[^\]]*\]|char.*|(?<=input ).*(?=; )|(?<=output ).*(?=; )|(?<=datatype ).*(?=; )"
    r"|(?<=of ).*(?= (?:is|are) )|^.*(?= (?:has|is) )"
)
KEYS: Final = (b"first", b"second-key")
GATE: Final = Gate(Keys(Key(key.decode(), sha256(key).digest()) for key in KEYS), 1000)


class Target(NamedTuple):
    """A reader: bytes that are right, and what must hold for any; it gives what came of them."""

    seeds: tuple[bytes, ...]
    check: Callable[[bytes], str]


def described(error: AnsweredError) -> str:
    """An error without what is the input's own in it; it must be the client's, and can be written."""
    assert isinstance(error, RequestError), repr(error)
    json.loads(encode_error(error))
    return f"{error.code}: {OWN.sub('_', str(error))}"


def summarized(query: Query) -> str:
    """A query, as far as it tells one way through the reader from another."""
    for values in query.rows.inputs.values():
        assert values.dtype == np.object_ or values.dtype.kind != "f" or not np.isnan(values).any()
    options = [
        name for name in ("top_k", "alpha", "groups", "prior", "abstain_below") if getattr(query, name) is not None
    ]
    return f"{len(query.lead)} {len(query.classes)} {query.rows.mask is None} {query.lists_temperature} {options}"


def outcome(decode: Callable[[], Query]) -> str:
    """What a decoder makes of bytes: a query, or an error of the client's."""
    try:
        return summarized(decode())
    except AnsweredError as error:
        return described(error)


def outcomes(decode: Callable[[Signature], Query]) -> dict[str, None]:
    """What every kind of model makes of bytes, each once."""
    return dict.fromkeys(outcome(lambda model=model: decode(model)) for model in MODELS)  # type: ignore[misc]


def check_predict(data: bytes) -> str:
    """The quick ways read what the careful one reads, for every kind of model."""
    found = outcomes(lambda model: decode_predict(data, None, model))
    assert found == outcomes(lambda model: decode_careful(data, model))
    return " ".join(found)


def check_evaluate(data: bytes) -> str:
    """A query, or an error of the client's."""
    return " ".join(outcomes(lambda model: decode_evaluate(data, None, model)))


def check_infer(data: bytes) -> str:
    """The value of the length header is the first line; without a second line there is none."""
    length, _, body = data.partition(b"\n")
    found = outcomes(lambda model: decode_infer(body, length or None, model))
    if (quick := read_header_fast(body)) is not None:
        slow = parse_header(body)
        assert quick._replace(inputs=()) == slow._replace(inputs=())
        assert [one._replace(data=None) for one in quick.inputs] == [one._replace(data=None) for one in slow.inputs]
    return " ".join(found)


def check_message(data: bytes) -> str:
    """Bytes whose fields are counted first, as those of large messages are, say what they say to protobuf."""

    def counted(model: Signature) -> Query:
        message = Message(data)
        assert message.reading_cost() >= 0
        return decode_message(message, None, model)

    found = []
    for model in MODELS:
        came = outcome(partial(counted, model))
        whole = outcome(lambda model=model: decode_message(parse_message(ModelInferRequest, data), None, model))  # type: ignore[misc]
        assert ": " in came or came == whole, (came, whole)
        found.append(f"{came}, {whole}")
    return " ".join(dict.fromkeys(found))


class Keyed:
    """As much of a journal as writes the ids of labels."""

    id_key = b"secret"

    async def keep_labels(self, body: bytes) -> None:
        """Nothing is kept."""


def check_labels(data: bytes) -> str:
    """Labels as JSON and in lines; they can be handed on."""
    found = []
    for lines in (False, True):
        try:
            labels = parse(data, lines=lines)
            orjson.dumps(Desk(Path(), Keyed()).rows(labels))
            found.append(f"{len(labels)}")
        except AnsweredError as error:
            found.append(described(error))
    return " ".join(found)


def check_headers(data: bytes) -> str:
    """The gate lets in who has a key, and nobody else; a path is a target or none."""
    lines = [tuple(line.partition(b": ")[::2]) for line in data.split(b"\r\n")]
    headers = [(name.lower(), value) for name, value in lines]
    given = [value for name, value in headers if name == b"authorization"]
    known = bool(given) and given[-1][:7].lower() == b"bearer " and given[-1][7:].strip() in KEYS
    found = []
    for endpoint in (PREDICT, INFER):
        request_id, _, error = GATE.check(headers, endpoint, PREDICT_SCOPE)
        assert re.fullmatch(rb"[\x21-\x7e]{1,128}", request_id)
        assert known is (error is None or error.code != "unauthorized")
        found.append(described(error) if error else "in")
    target = parse_target(data.partition(b"\r\n")[0])
    return f"{found} {target and target.endpoint.verb}"


def statuses(written: bytes) -> list[int]:
    """The answers on a connection, which must be HTTP."""
    found: list[int] = []

    class Reading:
        def on_headers_complete(self) -> None:
            found.append(parser.get_status_code())

    parser = httptools.HttpResponseParser(Reading())
    parser.feed_data(written)
    return found


class Connections:
    """Connections to a service that runs in this event loop; nothing stays of one that has ended."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.n_tasks = len(asyncio.all_tasks())

    async def check(self, data: bytes, kind: type[OrdinaryProtocol]) -> str:
        """Send bytes as they are, and then from the middle on; the answers are the client's fault, or right."""
        found = []
        for at in (len(data), len(data) // 2):
            protocol, played = connect(self.app, kind)
            for piece in (data[:at], data[at:]):
                if piece and not played.is_closing():
                    protocol.data_received(piece)
                    await settle(played)
            protocol.connection_lost(None)
            async with asyncio.timeout(30):
                while len(asyncio.all_tasks()) > self.n_tasks:  # noqa: ASYNC110 - whatever tasks there are
                    await asyncio.sleep(0)
            answers = statuses(played.written)
            # 504: a request may ask for less time than anything takes
            assert all(status < 500 or status == 504 for status in answers), (answers, played.written[-500:])
            assert b"NaN" not in played.written
            found.append(answers)
        assert self.app.budget.taken == 0
        return f"{kind.__name__} {found}"


async def settle(played: PlayedSocket) -> None:
    """Let what was begun go on until nothing more is written."""
    n_quiet, n_written = 0, -1
    while n_quiet < 20:
        n_quiet = n_quiet + 1 if len(played.written) == n_written else 0
        n_written = len(played.written)
        await asyncio.sleep(0)


TARGETS: Final[dict[str, Target]] = {
    "predict": Target(documents(examples.PREDICT), check_predict),
    "evaluate": Target(documents(examples.EVALUATE), check_evaluate),
    "infer": Target(
        (
            *(b"\n" + json.dumps(one).encode() for one in INFERS),
            b"%d\n%s" % (len(FRAMED), FRAMED + bytes(12)),
            b"0\n" + bytes(12),
        ),
        check_infer,
    ),
    "labels": Target(LABELS, check_labels),
    "headers": Target(HEADERS, check_headers),
    "message": Target(MESSAGES, check_message),
}
CORPUS: Final = Path(__file__).parent / "corpus"


def kept(name: str) -> tuple[bytes, ...]:
    """Inputs of earlier days that went ways of their own, or found a fault."""
    path = CORPUS / f"{name}.json"
    return tuple(text.encode("latin-1") for text in json.loads(path.read_text())) if path.exists() else ()


async def check_wire(connections: Connections, data: bytes) -> str:
    """Over both protocols."""
    return " ".join([await connections.check(data, kind) for kind in (KnownProtocol, OrdinaryProtocol)])
