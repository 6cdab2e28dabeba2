"""The commands of docs/files.md print what stands there, and its CI job fails on a worse head alone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests import heads_made
from tests.conftest import ROOT
from tests.scoring.files import DIGITS, save, table

PAGE = (ROOT / "docs" / "files.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = [example for block in BLOCKS for example in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)]
STEPS = re.findall(r"- run: (calibrant .*)", PAGE)
SPEED = re.compile(r"in [\d.]+ s, [\d,]+ rows a second")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the data that the page speaks of: labels drawn from what the digits' head says."""
    folder = tmp_path_factory.mktemp("files")
    shutil.copytree(ROOT / "models", folder / "models")
    random = np.random.default_rng(0)
    for name, n in (("rows.csv", 400), ("test.npz", 3000)):
        logits = (3 * random.standard_normal((n, 10)) + 9 * np.eye(10)[random.integers(0, 10, n)]).astype(np.float32)
        labels = (logits / 2.437 + random.gumbel(size=logits.shape)).argmax(axis=1)
        if name == "test.npz":
            np.savez(folder / name, logits=logits, labels=labels)
        else:
            others = {"id": [f"r{i:03d}" for i in range(n)], "label": pa.array([DIGITS[i] for i in labels])}
            save(folder / name, table(logits, DIGITS, **others))
    return folder


def printed(command: str, folder: Path) -> str:
    """What a command prints, on either stream."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PATH": path}, check=False,
    )  # fmt: skip
    return done.stdout


def test_every_command_prints_what_the_page_says(folder: Path) -> None:
    assert len(EXAMPLES) >= 5
    for command, output in EXAMPLES:
        got = printed(command, folder)
        assert SPEED.sub("", got) == SPEED.sub("", output), f"{command}\n{got}"


@pytest.mark.parametrize(("temperature", "code"), [(2.437, 0), (2.4, 0), (1.0, 4), (4.0, 4)])
def test_the_job_fails_on_a_worse_head_alone(folder: Path, temperature: float, code: int) -> None:
    (step,) = STEPS
    heads_made.head(folder / "candidate.onnx", temperature, classes=10)
    got = printed(f"{step}; echo code $?", folder)
    assert got.endswith(f"code {code}\n"), got
    assert ("required nll<=baseline+0.001, which is" in got) == (code == 4)
