"""Several processes: one that is ended from outside ends the score, with a sentence."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from service.errors import CommandError
from service.scoring import job, workers
from service.scoring.options import Options
from service.scoring.parts import Folder
from service.scoring.scorer import Scorer
from tests import heads_made
from tests.scoring.files import logits


def test_a_process_that_is_ended_from_outside_ends_the_score(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", logits=logits(3_000_000))
    options = Options(heads_made.head(tmp_path / "model.onnx", classes=3))
    scorer = Scorer(options)
    plan = job.make_plan([tmp_path / "rows.npz"], scorer)
    folder = Folder(tmp_path / "out", "parquet", {}, overwrite=False)

    def kill_one() -> None:
        end = time.monotonic() + 60
        while not folder.parts() and time.monotonic() < end:
            time.sleep(0.001)
        pid = multiprocessing.active_children()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(CommandError, match=r"a process was ended from outside.*the same command goes on from here"):
        workers.run(plan, scorer, folder, 2, lambda _: None)
    killer.join()
    assert 1 <= len(folder.parts()) < 6
    outcome = workers.run(plan, scorer, folder, 2, lambda _: None)
    assert outcome.n_written + outcome.n_kept == 3_000_000
    assert outcome.n_kept >= plan.sizes.part
