"""Scores on a Ray cluster: the parts that one process writes, byte for byte, whatever happens in between."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.commands import score as command
from service.errors import CannotStart, CommandError, DataError
from service.scoring import cluster, job
from service.scoring.options import Options
from service.scoring.parts import Folder
from service.scoring.scorer import Scorer
from tests import heads_made
from tests.benchmarks.processes import free_port
from tests.benchmarks.usage import family
from tests.conftest import ROOT
from tests.processes import environment
from tests.scoring.files import DIGITS, MODELS, logits, save, score, table

PYTHON = ROOT / ".venv" / "ray" / "bin" / "python"
N_ROWS = 6_300_000  # of three classes: 13 parts


class Ray:
    """A cluster of two nodes, and `calibrant score` on it."""

    def __init__(self, folder: str) -> None:
        # of its own, so that no other Ray on this machine is met, and on the loopback alone
        own = {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex()}
        own |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "PYTHONPATH": str(ROOT)}
        self.environment = environment(**own)
        self.process = subprocess.Popen(
            [PYTHON, "-m", "tests.scoring.ray_cluster"], env=self.environment, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.environment["RAY_ADDRESS"] = self.process.stdout.readline().strip()
        self.started = family(self.process.pid)

    def score(
        self, data: Path, output: Path, *options: str, model: str = "digits", start: Sequence[str] = ("-m", "service")
    ) -> subprocess.CompletedProcess[str]:
        arguments = ["--engine", "ray", "--jobs", "2", "--model", model, "--data", str(data), "--output", str(output)]
        return subprocess.run(
            [PYTHON, *start, "score", *arguments, *MODELS, *options],
            env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    def actors(self) -> list[int]:
        """The processes that score."""
        return [pid for pid in family(self.process.pid) if "MapWorker" in read_command(pid)]

    def stop(self) -> None:
        self.started += family(self.process.pid)
        self.process.communicate(timeout=60)
        for pid in self.started:
            if "ray" in read_command(pid):
                os.kill(pid, signal.SIGKILL)


def read_command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def ray(request: pytest.FixtureRequest) -> Iterator[Ray]:
    if not PYTHON.exists():
        (pytest.fail if request.config.getoption("thorough") else pytest.skip)("needs Ray: make ray")
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray = Ray(folder)
        try:
            yield ray
        finally:
            ray.stop()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.npz"
    np.savez(path, logits=logits(N_ROWS), id=np.arange(N_ROWS))
    return path


@pytest.fixture(scope="module")
def whole(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the rows."""
    output = tmp_path_factory.mktemp("whole") / "out"
    assert score(rows, output, "--outputs", "prediction,confidence", model="softmax") == 0
    return output


def same_parts(found: Path, expected: Path) -> bool:
    """Whether two folders hold the same, to the byte and without anything unfinished."""
    names = sorted(path.name for path in expected.iterdir())
    same = [path.name for path in sorted(found.iterdir())] == names
    return same and all((found / name).read_bytes() == (expected / name).read_bytes() for name in names)


def test_two_actors_on_two_nodes_write_what_one_process_writes(ray: Ray, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i, n in enumerate((600_000, 1, 10_000)):
        others = {"id": np.arange(n), "note": [f"row {j}, of {i}" for j in range(n)]}
        save(tmp_path / "in" / f"{i}.parquet", table(logits(n, 10, i), DIGITS, **others), row_group_size=2**16)
    options = ("--outputs", "probabilities,prediction")
    assert score(tmp_path / "in", tmp_path / "out", *options) == 0
    done = ray.score(tmp_path / "in", tmp_path / "ray", *options)
    assert "610,001 rows in" in done.stdout, done.stderr
    assert len(list((tmp_path / "out").glob("part-*"))) == 4
    assert same_parts(tmp_path / "ray", tmp_path / "out")


def test_a_csv_becomes_one_csv(ray: Ray, tmp_path: Path) -> None:
    save(tmp_path / "rows.csv", table(logits(5000, 10), DIGITS, id=np.arange(5000)))
    assert score(tmp_path / "rows.csv", tmp_path / "out.csv") == 0
    done = ray.score(tmp_path / "rows.csv", tmp_path / "ray.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()


def test_an_actor_that_is_killed_is_replaced_and_nothing_is_lost(
    ray: Ray, rows: Path, whole: Path, tmp_path: Path
) -> None:
    killed = []

    def kill_one() -> None:
        end = time.monotonic() + 120
        while not list((tmp_path / "out").glob("part-*")) and time.monotonic() < end:
            time.sleep(0.001)
        for pid in ray.actors()[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killer = threading.Thread(target=kill_one)
    killer.start()
    done = ray.score(rows, tmp_path / "out", "--outputs", "prediction,confidence", model="softmax")
    killer.join()
    assert done.returncode == 0, done.stderr
    assert killed
    assert same_parts(tmp_path / "out", whole)


def test_what_another_engine_has_finished_is_kept(ray: Ray, rows: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    gone = [*output.glob("part-*0[258].parquet")]
    for part in gone:
        part.rename(part.with_name(f".{part.name}.left"))
    kept = {part: part.stat().st_mtime_ns for part in output.glob("part-*")}
    done = ray.score(rows, output, "--outputs", "prediction,confidence", model="softmax")
    n_gone = len(gone) * 2**19
    assert f"{n_gone:,} rows in" in done.stdout, done.stderr
    assert f"{N_ROWS - n_gone:,} rows had been written before" in done.stdout
    assert {part: part.stat().st_mtime_ns for part in kept} == kept
    assert same_parts(output, whole)


def test_a_number_that_is_none_ends_the_score_with_its_place(ray: Ray, tmp_path: Path) -> None:
    values = logits(3000, 10)
    values[2000, 3] = np.nan
    np.savez(tmp_path / "rows.npz", logits=values)
    done = ray.score(tmp_path / "rows.npz", tmp_path / "out")
    assert done.returncode == 2
    assert "rows.npz, row 2000, column 3: the number is missing, or NaN; expected a logit" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_of_the_page_writes_what_one_process_writes(ray: Ray, tmp_path: Path) -> None:
    (line,) = re.findall(r"^calibrant (score --engine ray .*)", (ROOT / "docs" / "files.md").read_text(), re.MULTILINE)
    save(tmp_path / "rows.parquet", table(logits(1000, 10), DIGITS))
    (tmp_path / "models").symlink_to(ROOT / "models")
    done = subprocess.run(
        [PYTHON, "-m", "service", *line.split()], env=ray.environment, cwd=tmp_path,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert score(tmp_path / "rows.parquet", tmp_path / "out") == 0
    assert same_parts(tmp_path / "scored", tmp_path / "out")


BROKEN = """
import sys
from service.cli import main
from service.scoring import cluster
class Broken:
    def __init__(self, *_):
        pass
    def __call__(self, row):
        raise ModuleNotFoundError("No module named 'onnxruntime'")
cluster.Worker = Broken
sys.exit(main(sys.argv[1:]))
"""


def test_an_actor_that_cannot_work_ends_the_score_with_a_sentence(ray: Ray, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", logits=logits(10, 10))
    done = ray.score(tmp_path / "rows.npz", tmp_path / "out", start=("-c", BROKEN))
    assert done.returncode == 1
    assert "an actor failed: ModuleNotFoundError: No module named 'onnxruntime'; expected calibrant[ray]" in done.stderr
    assert "Traceback" not in done.stderr


def make_worker(tmp_path: Path, values: NDArray[Any]) -> cluster.Worker:
    np.savez(tmp_path / "rows.npz", logits=values)
    options = Options(heads_made.head(tmp_path / "model.onnx", classes=3))
    plan = job.make_plan([tmp_path / "rows.npz"], Scorer(options))
    return cluster.Worker(plan, options, Folder(tmp_path / "out", "parquet", {}, overwrite=False))


def test_a_worker_writes_a_span(tmp_path: Path) -> None:
    worker = make_worker(tmp_path, logits(1000))
    assert worker({"item": 0}) == {"outcome": (1000, 0, Counter()), "error": None}
    assert worker({"item": 0}) == {"outcome": (0, 1000, Counter()), "error": None}
    assert len(worker.folder.parts()) == 1


def test_a_worker_answers_an_error(tmp_path: Path) -> None:
    error = make_worker(tmp_path, np.full((10, 3), np.nan))({"item": 0})["error"]
    assert isinstance(error, DataError)
    assert error.row == 0


def test_parts_that_lie_somewhere_else_are_missed(tmp_path: Path) -> None:
    worker = make_worker(tmp_path, logits(1000))
    outcome = worker({"item": 0})["outcome"]
    cluster.check_parts(worker.folder, [outcome], worker.plan)
    worker.folder.clear()
    with pytest.raises(CommandError, match=r"out has 0 of 1 parts; expected a folder that all nodes share"):
        cluster.check_parts(worker.folder, [outcome], worker.plan)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("", "RAY_ADDRESS is not set; expected HOST:PORT of a Ray cluster"),
        ("http://127.0.0.1:{port}", "RAY_ADDRESS is http://.*; expected HOST:PORT"),
        ("127.0.0.1:{port}", "where nothing answers"),
    ],
)
def test_a_cluster_that_is_not_there_is_missed_at_once(
    monkeypatch: pytest.MonkeyPatch, address: str, sentence: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address.format(port=free_port()))
    with pytest.raises(CannotStart, match=sentence), cluster.connect():
        pass


def test_without_ray_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "ray" else name)
    assert score(tmp_path / "rows.npz", tmp_path / "out", "--engine", "ray") == 3
    assert "the package ray is not installed: pip install 'calibrant[ray]'" in capsys.readouterr().err
