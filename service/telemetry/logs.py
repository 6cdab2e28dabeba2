"""How the log looks: lines for people, or JSON for machines. `access.py` has its line a request."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal

TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
KNOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


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


def json_line(level: int, name: str, message: str, **extra: Any) -> str:
    """A line of JSON in the place of one that is printed, so that whatever the process writes reads alike."""
    record = logging.LogRecord(name, level, "", 0, message, (), None)
    vars(record).update(extra)
    return JSONLines().format(record)


def request_extra(request_id: bytes) -> dict[str, str]:
    """The extra of a record that is about one request."""
    return {"request_id": request_id.decode("ascii", "replace")}
