"""What the live process publishes."""

import os
from pathlib import Path

from service.journal.state import read_state, write_state


def test_what_was_written_last_is_read_and_nothing_before_that(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    for value in (1, 2**70):
        write_state(tmp_path, {"value": value})
        assert read_state(tmp_path) == {"value": value}
    assert (tmp_path / "live.json").stat().st_mode & 0o777 == 0o600  # whatever the umask


def test_what_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    write_state(tmp_path, {"value": 1})
    first = read_state(tmp_path)
    assert read_state(tmp_path) is first
    os.utime(tmp_path / "live.json")
    assert read_state(tmp_path) is not first
