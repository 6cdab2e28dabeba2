"""`calibrant inspect`, on a head that was fitted."""

from pathlib import Path

import pytest

from service.cli import main
from service.heads.temper import publish_tempered
from tests.calibration.conftest import drawn
from tests.commands.test_fit import fitted, saved
from tests.conftest import ROOT


def test_the_curve_of_the_day_it_was_fitted_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = fitted(tmp_path, "--data", str(saved(tmp_path / "rows.npz", drawn(1000))), "--no-report")
    curve = story.reference_curve
    assert curve is not None
    assert curve.keys() == {"a", "b", "c", "n", "covariance", "own"}
    assert "no prediction changes in 1,000 rows" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "models" / "own" / "1" / "model.onnx")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"reference curve a {curve['a']:.6g}, b {curve['b']:.6g}, c {curve['c']:.6g}, n 1000" in shown
    assert f"{curve['covariance'][0][0]:.6g}" in shown


def test_a_refit_was_proposed_and_promoted_at_a_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refit = {"from": "1", "by": "ann", "proposed": 1795968557.3, "promoted": 1795968742.6}
    path = publish_tempered(ROOT / "models" / "digits" / "1" / "model.onnx", tmp_path, 1.5, {"refit": refit})
    assert main(["inspect", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "by ann, proposed 2026-11-29T16:09:17+00:00, promoted 2026-11-29T16:12:22+00:00" in shown
    assert main(["inspect", "--json", str(path)]) == 0
    assert '"promoted": 1795968742.6' in capsys.readouterr().out
