"""The commands and answers of the README and of docs/ are what happens."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
HEADS = (ROOT / "docs" / "heads.md").read_text()
LIVE = (ROOT / "docs" / "live.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "deploy" / "README.md",
    ROOT / "docs" / "classifiers.md",
    ROOT / "docs" / "heads.md",
    ROOT / "docs" / "live.md",
]
PAGES = pytest.mark.parametrize("page", [README, HEADS, LIVE], ids=["README.md", "docs/heads.md", "docs/live.md"])
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def examples(page: str) -> list[tuple[str, str]]:
    """Commands, and what each prints."""
    pairs = (re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE) for block in blocks(page, "console"))
    return [example for some in pairs for example in some]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder like a fresh clone's, as far as the pages' commands go."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "models", folder / "models")
    (folder / ".venv").symlink_to(sys.prefix)
    random = np.random.default_rng(0)
    logits = random.standard_normal((500, 4)).astype(np.float32)
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    for name in ("validation", "test"):
        np.savez(folder / f"{name}.npz", logits=3 * logits, labels=labels)
    members = logits[:, None] + random.standard_normal((500, 3, 4)).astype(np.float32)
    np.savez(folder / "members.npz", logits=members, labels=labels)
    right = logits + random.logistic(size=logits.shape) > 0
    np.savez(folder / "tags.npz", logits=3 * logits, labels=right.astype(np.int64))
    return folder


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """The port on which `make serve`, the README's first command, answers."""
    assert examples(README)[0] == ("make serve", "")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    environment = {**os.environ, "CALIBRANT_PORT": str(port), "CALIBRANT_MODELS": str(folder / "models")}
    environment["CALIBRANT_JOURNAL"] = str(folder / "journal")
    command = ["make", "--no-print-directory", "serve"]
    serving = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        wait_until_ready(serving, port)
        while not (folder / "journal" / "live.json").exists():  # the live process starts after the server
            assert serving.poll() is None
            time.sleep(0.05)
        yield port
    finally:
        os.killpg(serving.pid, signal.SIGINT)
        serving.wait(30)


def wait_until_ready(serving: subprocess.Popen[bytes], port: int) -> None:
    """Return when the service is ready."""
    for _ in range(600):
        assert serving.poll() is None, "make serve ended"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("make serve was not ready within a minute")


def printed(command: str, folder: Path, port: int) -> str:
    """What a command of a page prints."""
    there = command.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    return subprocess.run(there, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout


@PAGES
def test_every_command_prints_what_the_page_says(folder: Path, port: int, page: str) -> None:
    for command, output in examples(page):
        if command in ("make serve", ".venv/bin/calibrant serve --journal journal"):
            continue
        got = until_known(command, folder, port).rstrip("\n")
        assert NUMBER.sub("#", got) == NUMBER.sub("#", output.rstrip("\n")), command
        # another processor's exp may differ in the last digit of float64
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (got, output)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-12), command


@PAGES
def test_every_script_runs_and_what_it_fitted_is_served(folder: Path, port: int, page: str) -> None:
    for script in blocks(page, "sh"):
        printed(f"set -e\n{script}", folder, port)
        for name in re.findall(r"calibrant fit .*--name (\w+)", script):
            assert '"family":' in until_known(f"curl -s 127.0.0.1:8000/v1/models/{name}", folder, port)


def until_known(command: str, folder: Path, port: int) -> str:
    """What a command prints; a new model is picked up in a moment, and until then nothing is found in its answer."""
    patience = time.monotonic() + 30
    while True:
        try:
            got = printed(command, folder, port)
        except subprocess.CalledProcessError:
            if time.monotonic() > patience:
                raise
        else:
            if "unknown_model" not in got:
                return got
            assert time.monotonic() < patience
        time.sleep(0.1)


def test_the_readme_has_examples_and_stays_short() -> None:
    assert len(examples(README)) >= 5
    assert len(README.split()) <= 600


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)", document.read_text())
    assert links
    for place, heading in links:
        there = (document.parent / place).resolve() if place else document
        assert there.exists(), place
        assert there.is_relative_to(ROOT), place
        if heading:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}


def test_every_option_that_a_page_names_exists() -> None:
    help_text = "".join(
        subprocess.run(
            [sys.executable, "-m", "service", command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for command in ("serve", "fit", "evaluate", "score", "export", "inspect")
    )
    for option in set(re.findall(r"`(--[a-z-]+)", README + HEADS)):
        assert option in help_text


def test_every_target_that_is_named_exists_and_is_listed_by_make_help() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"`make ([a-z-]+)", README + HEADS + CONTRIBUTING)
    assert set(targets) <= set(re.findall(r"^([a-z-]+) ", listed, re.MULTILINE))
