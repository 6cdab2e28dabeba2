"""What the live process finds of journaled rows is what was served."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.journal.answers import Heads, answers_of
from service.journal.record import LOGITS, Block, pack_block, read_blocks
from service.journal.segments import SEGMENTS
from tests.conftest import ROOT, Running
from tests.journal.reading import blocks
from tests.journal.test_observer import until

Run = Callable[..., Running]


def block_of(model: str, k: int = 3) -> Block:
    """A block of one row."""
    (found,) = read_blocks(
        b"".join(pack_block(LOGITS, model.encode(), [b"a"], [1], k, bytes(1), [np.zeros(k, np.float32)]))
    )
    assert isinstance(found, Block)
    return found


def test_classes_confidences_and_log_probabilities_are_those_that_were_served(
    run: Run, family_models: Path, tmp_path: Path
) -> None:
    running = run(models=family_models, journal=tmp_path, default_model="softmax")
    served: dict[str, dict[str, Any]] = {}
    wanted = ["prediction", "confidence", "log_probabilities", "probabilities"]
    random = np.random.default_rng(0)
    for name, versions in running.service.repository.models.items():
        signature = next(iter(versions.values())).signature
        if not signature.family.chooses_one:
            continue
        k = signature.classes or 4
        lead = (3, signature.members or 2) if signature.averages else (3,)
        logits = random.standard_normal((*lead, k)) * 3
        bodies: list[dict[str, Any]] = [{}, {"temperature": [0.5, 2.0, 3.0]}]
        bodies.append({"mask": (np.arange(3 * k).reshape(3, k) % 3 > 0).tolist()})
        if signature.groups:
            bodies.append({"group": ["nobody", *list(signature.groups)[:1] * 2]})
        for i, body in enumerate(bodies):
            key = f"{name}-{i}"
            answer = running.predict({"logits": logits.tolist(), "outputs": wanted, "id": key, **body}, model=name)
            assert answer.status_code == 200, answer.text
            served[key] = answer.json()
            if not signature.averages and "group" not in body:
                single = {name: value[0] if isinstance(value, list) else value for name, value in body.items()}
                one = running.predict({"logits": logits[0].tolist(), **single}, model=name)
                served[one.headers["x-request-id"]] = {
                    "prediction": [int(np.argmax(one.json()["probabilities"]))],
                    "confidence": [max(one.json()["probabilities"])],
                }
    until(
        lambda: sum(len(block.ids) for block in blocks(tmp_path / SEGMENTS) if isinstance(block, Block)) == len(served)
    )
    heads = Heads(family_models, "softmax")
    for block in blocks(tmp_path / SEGMENTS):
        assert isinstance(block, Block)
        head = heads.find(block.model)
        assert head is not None
        answers = answers_of(block, head)
        assert answers is not None
        ends = block.rows.cumsum().tolist()
        for name, start, end in zip(map(bytes.decode, block.ids), [0, *ends], ends, strict=False):
            expected = served[name]
            assert answers.classes[start:end].tolist() == expected["prediction"]
            assert answers.confidences[start:end] == pytest.approx(expected["confidence"], rel=1e-6)
            if "log_probabilities" in expected:
                assert answers.log_p is not None
                log_p = np.array(expected["log_probabilities"], np.float64)  # null is NaN here
                found = answers.log_p[start:end]
                assert np.where(np.isneginf(found), np.nan, found) == pytest.approx(
                    log_p, rel=1e-5, abs=1e-5, nan_ok=True
                )


def test_more_rows_than_one_run_holds_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).standard_normal((50, 10)).astype(np.float32)
    (block,) = read_blocks(b"".join(pack_block(LOGITS, b"digits/1", [b"a"], [50], 10, bytes(1), [values])))
    assert isinstance(block, Block)
    head = Heads(ROOT / "models", "softmax").find("digits/1")
    assert head is not None
    whole = answers_of(block, head)
    monkeypatch.setattr("service.journal.answers.MAX_NUMBERS", 70)
    parts = answers_of(block, head)
    assert whole is not None
    assert parts is not None
    assert parts.classes.tolist() == whole.classes.tolist()
    assert parts.confidences.tobytes() == whole.confidences.tobytes()


def test_a_head_that_is_not_there_is_told_once_and_looked_for_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heads = Heads(tmp_path, "softmax")
    assert heads.find("digits/1") is None
    shutil.copytree(ROOT / "models" / "digits", tmp_path / "digits")
    assert heads.find("digits/1") is None
    assert caplog.text.count("rows of digits/1 are not kept, its head does not load: no such file") == 1
    monkeypatch.setattr("service.journal.answers.time.monotonic", lambda: 1e9)
    assert heads.find("digits/1") is not None


def test_a_head_whose_file_is_gone_goes_on_and_a_new_file_takes_its_place(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models")
    heads = Heads(tmp_path / "models", "softmax")
    first = heads.find("digits/1")
    assert heads.find("digits/1") is first
    file = tmp_path / "models" / "digits" / "1" / "model.onnx"
    content = file.read_bytes()
    file.unlink()
    assert heads.find("digits/1") is first
    file.write_bytes(content)
    second = heads.find("digits/1")
    assert second is not first
    assert second is not None


def test_rows_that_do_not_fit_the_head_are_told_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    head = Heads(ROOT / "models", "softmax").find("digits/1")
    assert head is not None
    assert answers_of(block_of("digits/1", 7), head) is None
    assert "rows of digits/1 are not kept, they do not fit its head" in caplog.text
