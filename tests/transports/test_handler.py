"""The handler, and what stands in its place before the service has started."""

import json

from service.app import create_app
from service.errors import AnsweredError
from service.settings import Settings
from service.telemetry.observer import Nobody
from service.telemetry.observer import Response as Told
from service.telemetry.request import Request
from service.transports.endpoints import PREDICT, Target
from service.transports.handler import Starting
from service.transports.response import Response
from tests.conftest import ROOT, serving
from tests.transports.conftest import PROTOCOLS

TARGET = Target(PREDICT, None, None)


class Refusals(Nobody):
    """An observer that keeps what was refused."""

    def __init__(self) -> None:
        self.codes: list[tuple[Request | None, str]] = []

    def refused(self, request: Request | None, error: AnsweredError, response: Told) -> None:
        """Keep it."""
        self.codes.append((request, error.code))


def test_before_the_start_every_request_is_refused_at_once_and_counted() -> None:
    observer, replies = Refusals(), list[Response]()
    begun = Starting(observer).begin(TARGET, (), b"an id", b"{}", replies.append, n_bytes=2)
    (reply,) = replies
    assert reply.status == 503
    assert json.loads(reply.body) == {"error": "the service is starting", "code": "not_ready"}
    assert observer.codes == [(None, "not_ready")]
    begun.abandon()  # its client leaves: nothing is told of a request that never began
    assert len(replies) == len(observer.codes) == 1


def test_a_service_has_the_one_until_it_has_started_and_the_other_from_then_on() -> None:
    assert isinstance(create_app(Settings(models=ROOT / "models", watch=False)).handler, Starting)
    with serving(protocol=PROTOCOLS["ASGI"]) as running:
        assert not isinstance(running.service.handler, Starting)
        assert running.predict({"logits": [1, 2]}).status_code == 200
