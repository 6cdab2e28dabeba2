"""A line of the access log: what is in it, and that it is written once."""

import pytest

from service.telemetry.access import AccessLine


def test_a_line_is_written_once_with_the_status_that_came_first(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "calibrant.access")
    line = AccessLine("GET", b"/\xff", b"r-1")
    assert repr(line) == r"<AccessLine GET b'/\xff' open>"
    line.status = 200
    line.write()
    line.write(503)
    (record,) = caplog.records
    said = vars(record)
    assert (said["method"], said["path"], said["status"], said["request_id"]) == ("GET", r"/\xff", 200, "r-1")
    assert 0 <= said["duration_ms"] < 10_000


def test_without_a_status_the_client_has_left_and_without_headers_there_is_no_duration(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "calibrant.access")
    line = AccessLine("", b"")
    line.started = 0.0
    line.write()
    assert [record.getMessage() for record in caplog.records] == ["- - 499 - ms"]
    assert not hasattr(caplog.records[0], "duration_ms")
