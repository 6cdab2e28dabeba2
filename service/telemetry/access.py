"""The access log: one line a request, over every transport and however it ends; without it nothing here is made."""

import logging
import time
from typing import Any, Final

from service.telemetry.logs import request_extra

access_logger = logging.getLogger("calibrant.access")
clock: Final = time.perf_counter
LEFT: Final = 499  # as nginx has it, for a connection that ended before its answer


class AccessLine:
    """The line of a request, made when its headers are there.

    Attributes:
        method, path: empty where so much of the request has not come.
        request_id: what the answer names it by.
        key: what it brought, if that is one; it has a name.
        started: when its headers were there; 0 where they were not, and then the line has no duration.
        status: of the answer that has begun, 0 before.
        request: what an observer sees of it, where it came as far as the handler.
    """

    __slots__ = ("is_written", "key", "method", "path", "request", "request_id", "started", "status")

    def __init__(self, method: str, path: bytes, request_id: bytes = b"-", key: Any = None) -> None:
        self.method = method
        self.path = path
        self.request_id = request_id
        self.key = key
        self.started = clock()
        self.status = 0
        self.request: Any = None
        self.is_written = False

    def __repr__(self) -> str:
        return f"<AccessLine {self.method} {self.path!r} {self.status or 'open'}>"

    def write(self, status: int = 0, request: Any = None) -> None:
        """Write the line, the first time only; without any status the client has left."""
        if self.is_written:
            return
        self.is_written = True
        status, request = status or self.status or LEFT, request or self.request
        method, path = self.method or "-", self.path.decode("ascii", "backslashreplace") or "-"
        more: dict[str, Any] = {"method": method, "path": path, "status": status}
        line = f"{method} {path} {status}"
        if self.started:
            duration_ms = 1e3 * (clock() - self.started)
            more["duration_ms"] = round(duration_ms, 3)
            line += f" {duration_ms:.3f} ms"
        else:
            line += " - ms"
        if self.key is not None:
            more["key"] = self.key.name
            line += f" {self.key.name}"
        if request is not None and request.model is not None:
            more |= {"model": request.model.name, "version": request.model.version, "rows": request.n_rows}
            line += f" {request.model.name}/{request.model.version} {request.n_rows} rows"
        access_logger.info("%s", line, extra=request_extra(self.request_id) | more)
