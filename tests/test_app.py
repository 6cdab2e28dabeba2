"""The application: what it needs where an extra is wanted."""

import subprocess
import sys

from tests.conftest import ROOT
from tests.processes import environment
from tests.test_cli import one_sentence

HIDDEN = """
import sys
sys.modules["opentelemetry.exporter"] = None  # what the extra brings; the API alone may be there for others
from service.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_the_extra_that_traces_need_it_is_exit_code_3() -> None:
    command = [sys.executable, "-c", HIDDEN, "serve", "--port", "0", "--traces"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, env=environment())
    one_sentence(done, 3, "is missing: pip install 'calibrant[otel]'")
    assert done.stderr.startswith("calibrant serve: traces need the extra otel, opentelemetry.exporter")
