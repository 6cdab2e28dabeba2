"""That the benchmark of the families times the same of all, and says so where it does not."""

from pathlib import Path

import numpy as np
import pytest

from service.families import FAMILIES, find_family
from tests.benchmarks import families, graphs, peers
from tests.benchmarks.options import Options
from tests.benchmarks.test_benchmarks import measured
from tests.benchmarks.work import WrongAnswer


def test_every_family_is_timed_beside_numpy(tmp_path: Path) -> None:
    figures = measured(tmp_path, "families", "--seconds", "0.04")["families"]
    runs = figures["runs"]
    assert {run["family"].partition(" ")[0].strip(",") for run in runs} == {*FAMILIES, "ensemble"}
    for family in families.HEADS:
        assert {"head", "numpy, float64"} <= {run["by"] for run in runs if run["family"] == family}
    for run in runs:
        assert set(run["us"]) == set(run["to_head"]) == {"1x10", "1x1000", "64x1000", "1x50000"}
        assert all(us > 0 for us in run["us"].values())
        assert run["by"] != "head" or set(run["to_head"].values()) == {1}
    softmax, *others = figures["graphs"]
    assert set(softmax["to_softmax"].values()) == set(softmax["designed"].values()) == {1}
    assert {line["family"] for line in others} == set(families.HEADS)
    for line in others:
        assert set(line["to_softmax"]) == set(line["designed"]) == set(run["us"])
        assert min(line["to_softmax"].values()) > 0


@pytest.mark.parametrize("missing", [("torch", "entmax"), ("entmax",), ()])
def test_what_is_not_there_to_be_timed_is_named(
    missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(families, "find_spec", lambda name: None if name in missing else object())
    monkeypatch.setattr(families, "contests", lambda _: [families.Contest("softmax", 1.0, {"head": lambda _: list})])
    monkeypatch.setattr(families, "SHAPES", [(1, 10)])
    families.run(Options(rounds=1, seconds=0.001))
    assert ("Nothing is timed beside" in (printed := capsys.readouterr().out)) == bool(missing)
    assert " and ".join(missing) in printed


@pytest.mark.parametrize("scale", families.SCALES)
@pytest.mark.parametrize("name", [name for name in peers.NUMPY if not name.startswith("ensemble")])
def test_what_is_timed_beside_a_head_is_its_family(name: str, scale: float) -> None:
    family, _, alpha = name.partition(" ")
    expected = find_family(family, float(alpha) if alpha else None)
    contest = families.Contest(
        name,
        scale,
        {
            "head": lambda x: lambda: expected.distribution(x.astype(np.float64))[0],
            "numpy": peers.ways(name)["numpy, float64"],
        },
    )
    logits = contest.draw(64, 100, 0)
    assert len(contest.calls(logits)) == 2
    contest.ways["numpy"] = lambda x: lambda: peers.NUMPY[name](x[:, ::-1].astype(np.float64))
    with pytest.raises(WrongAnswer, match=f"numpy of {name} is off by"):
        contest.calls(logits)


def test_a_graph_that_is_slower_than_it_was_designed_is_red(capsys: pytest.CaptureFixture[str]) -> None:
    ratios = {"1x10": 1.0, "1x1000": 1.16}
    line = {"family": "softmax", "with": "", "to_softmax": ratios, "designed": dict.fromkeys(ratios, 1.0)}
    [*_, fast, slow] = [next(iter(column.cells)) for column in graphs.table([line]).columns]
    assert (fast, slow) == ("[green]1.00[/] (1.00)", "[red]1.16[/] (1.00)")
