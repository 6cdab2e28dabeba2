"""The OpenAPI page against the service: whatever it describes is asked, and answered as it says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import serving

SCHEMATHESIS = shutil.which("schemathesis", path=Path(sys.executable).parent)
# what a schema cannot say, such as lists of one length, makes some valid requests wrong: those are not judged here
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.skipif(SCHEMATHESIS is None, reason="needs the dependency group schema")
def test_every_answer_is_one_that_the_page_describes(tmp_path: Path) -> None:
    with serving() as running:
        done = subprocess.run(
            [
                *(SCHEMATHESIS or "", "run", f"{running.url}/openapi.json", "--checks", CHECKS, "--seed", "1"),
                *("--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--no-color"),
                *("--exclude-path-regex", "unload"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,  # it keeps a cache where it runs
        )
    assert done.returncode == 0, done.stdout
    generated, passed = re.search(r"(\d+) generated, (\d+) passed", done.stdout).groups()  # type: ignore[union-attr]
    assert int(generated) == int(passed) > 500, done.stdout
