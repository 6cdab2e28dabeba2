"""`calibrant fit --keep-predictions`, on real logits."""

import json
from pathlib import Path

import pytest

from service.calibration.methods import KEEPING
from service.cli import main
from tests.calibration.conftest import drawn, published
from tests.commands.test_fit import fitted, saved


@pytest.mark.parametrize("name", ["agnews_gpt2", "pathmnist_resnet50", "cifar100_vgg19_bn_chenyaofo"])
def test_predictions_are_kept_where_that_is_asked_for(tmp_path: Path, name: str) -> None:
    """On real logits auto takes a bias or a scale, and predictions change; the best that keeps them is worse."""
    path = published() / f"{name}.npz"
    changes, nll = {}, {}
    for options in ((), ("--keep-predictions",)):
        story = fitted(tmp_path, "--data", str(path), *options)
        newest = max((tmp_path / "models" / "own").iterdir(), key=lambda version: int(version.name))
        report = json.loads((newest / "report.json").read_text())
        changes[options], nll[options] = report["changes"]["changed"], story.metrics["after"]["nll"]
        if options:
            assert story.calibrator["method"] in KEEPING
            assert {one["method"] for one in report["candidates"]} <= {*KEEPING}
            assert story.metrics["after"]["accuracy"] == story.metrics["before"]["accuracy"]
    assert changes[()] > 0
    assert changes["--keep-predictions",] == 0
    assert nll[()] < nll["--keep-predictions",] < story.metrics["before"]["nll"]


def test_a_method_that_may_change_predictions_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", str(saved(tmp_path / "rows.npz", drawn(300))), "--to", str(tmp_path / "h.onnx")]
    assert main(["fit", *options, "--keep-predictions", "--method", "vector"]) == 2
    assert "--method vector may change predictions; expected temperature, entropy," in capsys.readouterr().err
    assert main(["fit", *options, "--keep-predictions", "--method", "entropy+top", "--no-report"]) == 0
    assert main(["fit", *options, "--keep-predictions", "--family", "sigmoid"]) == 2
    assert "--keep-predictions is where one class is right; the family is sigmoid" in capsys.readouterr().err
