"""The OpenAPI page against the service: whatever it describes is asked, and answered as it says.

The same for longer, with other requests each time, is `make soak`.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import serve

SCHEMATHESIS = shutil.which("schemathesis", path=Path(sys.executable).parent)
# what a schema cannot say, such as lists of one length, makes some valid requests wrong: those are not judged here
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,allow_header_conformance,missing_required_header"
)
KNOWN = '[parameters]\n"path.model" = "digits"\n"path.version" = "1"\n'  # else most paths lead to no model


def ask_all(url: str, folder: Path, *options: str, known: bool, timeout_s: float) -> str:
    """Ask everything that a service describes; what schemathesis reports, whose checks must all pass."""
    config = folder / "schemathesis.toml"
    config.write_text(KNOWN if known else "")
    command = [SCHEMATHESIS or "", "--config-file", str(config), "run", f"{url}/openapi.json", "--checks", CHECKS]
    # it keeps a cache where it runs
    done = subprocess.run(
        [*command, "--no-color", *options], capture_output=True, text=True, timeout=timeout_s, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def n_passed(report: str) -> int:
    """How many cases there were, all of which passed."""
    generated, passed = re.search(r"(\d+) generated, (\d+) passed", report).groups()  # type: ignore[union-attr]
    assert generated == passed, report
    return int(passed)


@pytest.mark.skipif(SCHEMATHESIS is None, reason="needs the dependency group schema")
@pytest.mark.parametrize(("known", "transport"), [(True, "--fast-http"), (False, "--no-fast-http")])
def test_every_answer_is_one_that_the_page_describes(known: bool, transport: str, tmp_path: Path) -> None:
    options = ["--seed", "1", "--phases", "examples,coverage,fuzzing", "--max-examples", "5"]
    options += ["--exclude-path-regex", "unload"]
    with serve("--no-watch", transport, "--journal", tmp_path / "journal") as process:
        report = ask_all(process.url, tmp_path, *options, known=known, timeout_s=300)
    assert n_passed(report) > 500, report
