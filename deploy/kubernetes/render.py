"""Write the chart's manifests, with its default values, beside this file: `make manifests`."""

import re
from pathlib import Path
from typing import Any, Final

from helm_python import Chart

HERE: Final = Path(__file__).parent
CHART: Final = HERE.parent / "helm" / "calibrant"
# helm looks up how many pods there are; a number in a file would undo at each `kubectl apply` what the autoscaler did
SCALED: Final = re.compile(r"\n  # as many as run now:.*\n  replicas: \d+")
NOTE: Final = "# Rendered from deploy/helm/calibrant by `make manifests`; what is changed here is lost.\n"


def manifests(values: dict[str, Any] | None = None, name: str = "calibrant") -> dict[str, str]:
    """What `helm template` makes of the chart, by file name, without the notes and the test."""
    with Chart.load(CHART) as chart:
        rendered = chart.render(values, name=name, namespace="default")
    templates = {Path(path): SCALED.sub("", text.strip()) for path, text in rendered.items()}
    return {
        path.name: f"{text}\n"
        for path, text in sorted(templates.items())
        if text and path.suffix == ".yaml" and path.parent.name == "templates"
    }


def main() -> None:
    """Write them all; what is no longer rendered goes."""
    new = {file: NOTE + text for file, text in manifests().items()}
    for old in HERE.glob("*.yaml"):
        if old.name not in {*new, "kustomization.yaml"}:
            old.unlink()
    for file, text in new.items():
        (HERE / file).write_text(text)


if __name__ == "__main__":
    main()
