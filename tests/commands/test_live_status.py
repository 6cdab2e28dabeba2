"""`calibrant live status`: what is shown of the labels."""

import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from service.cli import main
from service.commands.live_status import MOST_GROUPS, duration, show
from service.journal.state import write_state
from tests.live.made import drawn, told


def shown(state: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    show(state, console)
    return str(console.file.getvalue())  # type: ignore[attr-defined] # of StringIO


def test_measures_the_diagram_and_the_alarm_are_shown() -> None:
    text = shown(told(drawn(2000, 0, sharper=1.6)))
    assert "digits/1: 4,000 predictions, 2,000 labels, 1 in conflict with another" in text
    assert "accuracy 0.8" in text
    assert re.search(r"labels after (9\.\d|1\d) s", text)
    assert "▇" in text
    assert "ALARM at " in text
    assert "expected accuracy of 10 recent rows 0.5000" in text


def test_a_calm_version_says_nothing_beside_its_monitors() -> None:
    text = shown(told(drawn(300, 0)))
    assert "ALARM" not in text
    assert "warning" not in text
    assert "ece<=0.02" in text


def test_a_warning_is_shown_before_the_alarm() -> None:
    state = told(drawn(300, 0))
    state["models"]["digits/1"]["report"]["monitors"][0] |= {"warning": True}
    state["models"]["digits/1"]["report"]["warnings"] = [{"code": "informative_delay", "message": "Early labels."}]
    assert re.search(r"model .* warning$", shown(state), re.MULTILINE)
    assert "warning: Early labels." in shown(state)


@pytest.mark.parametrize(
    ("state", "more", "line"),
    [
        (
            "collecting",
            {"refusal": "there are 0 labels"},
            "refit: collecting, fitted on 0 labels, judged by 0, e 1; there",
        ),
        ("earned", {"command": "calibrant live promote"}, "refit: earned, temperature 2 to 3, fitted on 1,600 labels"),
        ("dismissed", {}, "refit: dismissed\n"),
        ("none", {}, "  all, ece<=0.02"),
    ],
)
def test_a_refit_is_one_line_with_what_is_against_it_and_what_to_type(
    state: str, more: dict[str, str], line: str
) -> None:
    told_state, n = told(drawn(300, 0)), 1600 if state == "earned" else 0
    told_state["models"]["digits/1"]["refit"] = {
        "state": state,
        "temperature": {"served": 2.0, "proposed": 3.0 if n else None},
        "labels": {"fitted": n, "judged": n},
        "evidence": {"e": 1.0},
        "refusal": None,
        "command": None,
        **more,
    }
    assert line in shown(told_state)
    assert all(text in shown(told_state) for text in more.values())
    assert "refit: none" not in shown(told_state)


def test_of_many_groups_those_with_the_most_evidence_are_shown() -> None:
    rows = drawn(3000, 0)
    rows["group"] = [f"g{i % 40:02}" for i in range(3000)]
    rows["label"][rows["group"] == "g33"] = 1
    text = shown(told(rows))
    assert text.count("group g") == MOST_GROUPS
    assert text.index("group g33") < min(text.index(f"group g{other}") for other in ("1", "2") if f"g{other}" in text)


def test_the_command_reads_the_folder_of_the_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "status", "--journal", str(tmp_path)]) == 2
    assert "there is no live.json" in capsys.readouterr().err
    write_state(tmp_path, {"at_ns": time.time_ns(), "pending": 0, "models": {}})
    assert main(["live", "status", "--journal", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing was answered yet\n"


def test_what_was_told_long_ago_and_what_waits_is_said() -> None:
    text = shown({"at_ns": time.time_ns() - 7200 * 10**9, "pending": 3, "models": {}})
    assert text.splitlines()[:2] == [
        "told 2.0 h ago, and nothing since: the live process does not run, or its store is away",
        "3 labels of answers that were not read yet",
    ]


def test_a_folder_that_cannot_be_read_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["live", "status", "--journal", str(tmp_path / "file")]) == 2
    said = capsys.readouterr().err
    assert (
        "file cannot be read (Not a directory); expected the folder of a journal, and the user of the service" in said
    )


def test_one_version_or_those_of_one_model_are_shown_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    versions = ("digits/1", "digits/2", "other/1")
    found = {version: told(drawn(10, 0), version)["models"][version] for version in versions}
    write_state(tmp_path, {"at_ns": time.time_ns(), "models": found})
    assert main(["live", "status", "digits/2", "--journal", str(tmp_path)]) == 0
    assert re.findall("[a-z]+/[1-9]", capsys.readouterr().out) == ["digits/2"]
    assert main(["live", "status", "digits", "--journal", str(tmp_path)]) == 0
    assert re.findall("[a-z]+/[1-9]", capsys.readouterr().out) == ["digits/1", "digits/2"]
    assert main(["live", "status", "digits/3", "--journal", str(tmp_path)]) == 2
    assert "no answer of digits/3 was read yet; expected digits/1, digits/2, other/1" in capsys.readouterr().err


def test_one_label_is_not_one_labels() -> None:
    state = told(drawn(1, 0))
    state["models"]["digits/1"]["predictions"] = 1
    assert "digits/1: 1 prediction, 1 label, 1 in conflict" in shown(state)


def test_labels_that_wait_for_the_age_of_their_answers_are_told() -> None:
    state = told(drawn(1, 0))
    state["models"]["digits/1"] |= {"waiting": 1200}
    assert "1 label, 1,200 waiting until their answers are old enough, 1 in conflict" in shown(state)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "an unknown time"),
        (0.5, "0.5 s"),
        (99.7, "100 s"),
        (115, "115 s"),
        (150, "2.5 min"),
        (7200, "2.0 h"),
        (604800, "7.0 d"),
    ],
)
def test_durations_have_the_unit_that_suits_them(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
