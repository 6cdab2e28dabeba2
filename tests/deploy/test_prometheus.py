"""The configuration and the alerts: they parse, fire when they should, and not when they should not."""

import re
import subprocess

import yaml

from tests.conftest import ROOT
from tests.deploy.conftest import Tool
from tests.deploy.queries import PROMETHEUS, alerts, rules

NAME = re.compile(r"\b(?:calibrant|process)_\w+")


def promtool(tool: Tool, *arguments: str) -> str:
    """What promtool says; it must be content, and complain of nothing."""
    command = [tool("promtool", "apt-get install prometheus"), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    assert "SUCCESS" in said
    assert "WARNING" not in said
    return said


def test_the_rules_are_rules(tool: Tool) -> None:
    assert f"SUCCESS: {len(rules())} rules found" in promtool(tool, "check", "rules", f"{PROMETHEUS}/alerts.yml")


def test_the_configuration_is_one(tool: Tool) -> None:
    promtool(tool, "check", "config", f"{PROMETHEUS}/prometheus.yml")


def test_the_alerts_fire_and_stay_quiet_where_their_tests_say(tool: Tool) -> None:
    promtool(tool, "test", "rules", f"{PROMETHEUS}/alerts_test.yml")


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_could() -> None:
    ordinary, *faults = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    fire = [
        sample["labels"] for test in faults for asked in test["promql_expr_test"] for sample in asked["exp_samples"]
    ]
    there = {found[0] for series in ordinary["input_series"] if (found := NAME.match(series["series"]))}
    assert not any(asked["exp_samples"] for asked in ordinary["promql_expr_test"])
    for name, expr in alerts():
        assert any(f'"{name}"' in labels for labels in fire), f"{name} never fires"
        assert set(NAME.findall(expr)) <= there, f"{name} is quiet on an ordinary day for want of data"


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            assert set(rule["annotations"]) == {"summary", "description"}
