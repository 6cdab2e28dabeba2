"""An exchange with a span. Imported only where traces are on."""

from typing import Any

from opentelemetry.trace import Span

from service.telemetry.traces import Tracer, ended
from service.transports.exchange import Exchange, Predict
from service.transports.gate import Answer, Headers, Reply, Target


class Traced(Exchange):
    """An exchange whose span lasts as long as it does."""

    __slots__ = ("span",)
    tracer: Tracer

    def __init__(
        self, predict: Predict, to: Target, headers: Headers, request_id: bytes, body: bytes, reply: Reply
    ) -> None:
        super().__init__(predict, to, headers, request_id, body, reply)
        self.span: Span = self.tracer.request(to.face.verb, headers)
        self.tag = self.span

    def settle(self, answer: Answer) -> None:
        """End the span, and reply."""
        if self.reply is not None:
            answer.headers = (*answer.headers, ended(self.span, answer.status, self.told()))
        super().settle(answer)

    def abandon(self) -> None:
        """The client has gone."""
        if self.reply is not None:
            ended(self.span, 499, self.told())
        super().abandon()

    def told(self) -> dict[str, Any]:
        """The span's attributes."""
        said: dict[str, Any] = {"calibrant.request_id": self.request_id.decode()}
        if self.model is not None:
            said |= {"calibrant.model": self.model.name, "calibrant.version": self.model.version}
        if self.query is not None:
            said["calibrant.rows"] = self.query.rows.n
        return said


def traced(tracer: Tracer) -> type[Traced]:
    """Exchanges with spans of this tracer."""
    return type("Traced", (Traced,), {"tracer": tracer, "__slots__": ()})
