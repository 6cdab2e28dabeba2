"""One version of a model, loaded: what is known of it, and which of several are out of service."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from service.engine.head import Head
from service.engine.loads import NOT_LOADED
from service.model_files import Stamp
from service.telemetry.tally import SILENCE, Tally


class Model:
    """One version of one model, loaded and warm: its signature, and the head that runs it."""

    def __init__(self, name: str, number: int, head: Head, stamp: Stamp, tally: Tally = SILENCE) -> None:
        self.name = name
        self.number = number
        self.version = str(number)
        self.head = head
        self.stamp: Stamp | None = stamp
        self.signature = replace(head.signature, name=name, version=self.version)
        self.tally = head.tally = tally
        head.name = f"{name}/{number}"

    def __repr__(self) -> str:
        return f"<Model {self.name}/{self.version} {self.head!r}>"

    def summary(self) -> dict[str, Any]:
        """The line that `/v1/models` has of it."""
        return {
            "model": self.name,
            "version": self.version,
            "family": self.signature.family.name,
            "takes": self.signature.takes,
            "classes": self.signature.classes,
            "method": self.signature.method,
            "temperature": self.signature.temperature,
            "provider": self.head.provider,
        }

    def details(self) -> dict[str, Any]:
        """Everything that its file says, and what a run costs here."""
        metadata = self.head.metadata.model_dump(mode="json", exclude_none=True)
        for scores in metadata["conformal"].values():
            if isinstance(scores, dict):  # the tables are for machines, and long
                scores.pop("tables", None)
        cost = {"run_s": self.head.seconds_per_run, "number_s": self.head.seconds_per_number}
        use = self.signature.family.use
        return {
            **self.summary(),
            "use": use,
            "inputs": list(self.signature.inputs),
            "metadata": metadata,
            "measured_cost": cost,
        }


Snapshot = Mapping[str, Mapping[int, Model]]


def stopped_heads(models: Snapshot) -> dict[str, str]:
    """`NAME/VERSION` to why its head was taken out of service; a new file, or a reload, brings it back."""
    return {key: model.head.stopped for key, model in by_key(models).items() if model.head.stopped}


def stopped_loads(failures: Mapping[str, str]) -> dict[str, str]:
    """The failures of heads that were stopped while the service loaded them."""
    return {key: why for key, why in failures.items() if NOT_LOADED in why}


def by_key(models: Snapshot) -> dict[str, Model]:
    """A snapshot by `NAME/VERSION`."""
    return {f"{name}/{number}": model for name, versions in models.items() for number, model in versions.items()}
