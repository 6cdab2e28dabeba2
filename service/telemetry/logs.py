"""How the log looks: lines for people, or JSON for machines; and its line a request, where that is wanted."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal

TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
KNOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

access_logger = logging.getLogger("calibrant.access")


class JSONLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, exception if there is one, and what came as extra."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in KNOWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str, how: Literal["text", "json"]) -> None:
    """Log to the standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONLines() if how == "json" else logging.Formatter(TEXT))
    logging.basicConfig(handlers=[handler], level=level.upper())
    for chatty in ("uvicorn.error", "watchfiles.main"):  # they tell of their own lives at info
        logging.getLogger(chatty).setLevel(logging.WARNING)


def request_extra(request_id: bytes) -> dict[str, str]:
    """The extra of a record that is about one request."""
    return {"request_id": request_id.decode("ascii", "replace")}


def log_access(
    method: str,
    path: bytes,
    status: int,
    request_id: bytes,
    key: str | None = None,
    took_s: float = 0.0,
    request: Any = None,
) -> None:
    """The line of a request.

    `key` is the name of the key that it brought, if that is one; `request` is what an observer sees of it, where it
    came as far as the handler. Where it did not, it took `took_s`, which is nothing of note if its headers refused it.
    """
    shown = path.decode("ascii", "backslashreplace")
    if request is not None:
        took_s = request.decode_s + request.queue_s + request.run_s + request.encode_s
    more: dict[str, Any] = {"method": method, "path": shown, "status": status, "duration_ms": round(1e3 * took_s, 3)}
    line = f"{method} {shown} {status} {1e3 * took_s:.3f} ms"
    if key is not None:
        more["key"] = key
        line += f" {key}"
    if request is not None and request.model is not None:
        more |= {"model": request.model.name, "version": request.model.version, "rows": request.n_rows}
        line += f" {request.model.name}/{request.model.version} {request.n_rows} rows"
    access_logger.info("%s", line, extra=request_extra(request_id) | more)
