"""SQLite as the database of the store."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.journal.database import Database
from tests.conftest import ROOT
from tests.processes import environment

HIDDEN = "import sys; sys.modules['psycopg'] = None; from service.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("live",)])
def test_a_store_in_postgresql_without_its_extra_is_exit_code_3(command: tuple[str, ...], tmp_path: Path) -> None:
    words = [*command, "--journal", str(tmp_path / "j"), "--journal-store", "postgresql://nobody@127.0.0.1/none"]
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    assert done.returncode == 3
    assert done.stderr == (
        f"calibrant {command[0]}: --journal-store needs the extra postgres, psycopg is missing: "
        "pip install 'calibrant[postgres]'\n"
    )


def test_keys_of_any_number_are_looked_for_by_few_statements(tmp_path: Path) -> None:
    db = Database(tmp_path / "store.sqlite")
    asked = [db.among("value", list(range(n))) for n in range(1, 513)]
    assert len({condition for condition, _ in asked}) == 10
    for n in (1, 3, 512):
        condition, values = asked[n - 1]
        rows = db.rows(
            f"WITH t(value) AS (VALUES (0), (2), (511), (600)) SELECT value FROM t WHERE {condition}", values
        )
        assert [value for (value,) in rows] == [value for value in (0, 2, 511) if value < n]
    db.close()
