"""docs/classifiers.md, typed as it stands there; and the line for a data frame in the README."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, serving
from tests.exporters.conftest import PYTHON, make_in

PAGE = (ROOT / "docs" / "classifiers.md").read_text()
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(python|sh|console)\n(.*?)```", PAGE, re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
VERSION = re.compile(r"(?<=exported by).*|(?<=temperature\":)[\d.]+")
ADDRESS = "127.0.0.1:8000"


def typed(kind: str, text: str, folder: Path, port: int) -> str:
    """What a block or a command prints: Python where the exporters are, the commands where `calibrant` is."""
    command = [str(PYTHON), "-W", "ignore", "-"] if kind == "python" else ["bash", "-euc", text]
    path = f"{Path(sys.prefix) / 'bin'}:{PYTHON.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    there = text.replace(ADDRESS, f"127.0.0.1:{port}")
    command[-1] = command[-1].replace(ADDRESS, f"127.0.0.1:{port}")
    done = subprocess.run(
        command, cwd=folder, env=environment, input=there, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, text + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the reviews, and a model of them as `transformers` saves it."""
    return make_in(tmp_path_factory.mktemp("docs"), "from_reviews")


def test_every_block_does_what_the_page_says(folder: Path) -> None:
    at = next(i for i, (_, text) in enumerate(BLOCKS) if ADDRESS in text)
    check_blocks(BLOCKS[:at], folder, 0)
    names = {path.name for path in (folder / "models").iterdir()}
    assert names == {"torch", "sklearn", "lightgbm", "keras", "bert"}
    with serving(models=folder / "models", default_model="torch") as running:
        check_blocks(BLOCKS[at:], folder, running.port)


def check_blocks(blocks: list[tuple[str, str]], folder: Path, port: int) -> None:
    """Type them all; a command prints what stands below it, but for versions and fitted numbers."""
    for kind, text in blocks:
        if kind != "console":
            frame = "frame = pd.DataFrame({'text': ['kind and fast']})\n"
            before = f"import pandas as pd\n{frame}" if "frame[" in text else ""
            typed(kind, before + text, folder, port)
            continue
        for command, output in COMMAND.findall(text):
            got = typed("sh", command, folder, port)
            assert VERSION.sub("", got).rstrip() == VERSION.sub("", output).rstrip(), command


@pytest.mark.skipif(not PYTHON.exists(), reason="needs the exporters: make exporters")
def test_a_data_frame_of_logits_is_answered_in_one_line(tmp_path: Path) -> None:
    (line,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (url,) = re.findall(r"`(url = .*)`", README)
    before = (
        "import pandas as pd, requests\nframe = pd.DataFrame([[float(i == k) for i in range(10)] for k in range(3)])"
    )
    after = "assert p.shape == (3, 10) and abs(p.sum(axis=1) - 1).max() < 1e-6, p"
    with serving(models=ROOT / "models") as running:
        typed("python", "\n".join([before, url, line, after]), tmp_path, running.port)
