"""What a head file says of itself: one JSON document in the ONNX `metadata_props`, under the key `calibrant`.

Written by `heads/` and `calibration/`, read by `head.py` and `calibrant inspect`. No ONNX here.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service import __version__
from service.errors import HeadError

KEY: Final = "calibrant"
SHORT_KEY: Final = "calibrant.probabilities"
"""Beside it, where the head is small: its graph cut to the probabilities alone, in base64; see `heads.build`."""
NO_LOGSUMEXP_KEY: Final = "calibrant.no_logsumexp"
"""The same for all outputs but logsumexp, of a family that takes an exponential of every class for that alone."""


class Metadata(BaseModel):
    """What a file says of its head; unknown keys of later versions are kept and printed."""

    model_config = ConfigDict(extra="allow", frozen=True)

    family: str = Field("softmax", description="What is computed: the name of a family, such as `softmax`.")
    alpha: float | None = Field(None, description="Of `entmax`: above 1, the softmax, and below 2, the sparsemax.")
    thresholds: tuple[float, ...] | None = Field(
        None,
        description="Of a sigmoid: the probability from which each class is predicted; a half where there are none.",
    )
    prior: tuple[float, ...] | None = Field(None, description="Class frequencies of the rows that it was fitted on.")
    ensemble: dict[str, Any] | None = Field(
        None, description="Where members are averaged: `average`, of `logits` or `probabilities`, and `weights`."
    )
    takes: Literal["logits", "inputs"] = Field(
        "logits", description="What a request brings: `logits`, or the `inputs` of the classifier before the head."
    )
    classes: int | None = Field(None, description="Number of classes K; none where any number is served.")
    labels: tuple[str, ...] | None = Field(None, description="Class labels in the order of the logits.")
    calibrator: dict[str, Any] = Field(
        default_factory=lambda: {"method": "none", "temperature": 1.0},
        description="The method and its parameters; `temperature` is always there.",
    )
    metrics: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="`before` and `after`: metric name to value, on held-out rows."
    )
    n_rows: int | None = Field(None, description="Rows that the calibrator was fitted on.")
    data_sha256: str | None = Field(None, description="Checksum of the data file that it was fitted on.")
    masked_fit: bool = Field(False, description="Whether the fit saw masked logits.")
    masks_first: bool = Field(
        True,
        description="The graph applies the mask to the logits themselves: no affine stage stands before it.",
    )
    conformal: dict[str, Any] = Field(default_factory=dict, description="Scores for prediction sets.")
    reference_curve: dict[str, Any] | None = Field(
        None, description="How often the best class was right at a confidence, out of fold: see `measures.curve`."
    )
    example: dict[str, Any] | None = Field(
        None, description="A row of the classifier's inputs by name, where made-up numbers or words will not do."
    )
    class_reference: dict[str, Any] | None = Field(
        None, description="What the fit knows of single classes, out of fold: see `live.reference`."
    )
    refit: dict[str, Any] | None = Field(
        None,
        description="Of a refit on labels of a version that served: which one, its labels, evidence, who approved.",
    )
    created: str | None = Field(None, description="When, ISO 8601, UTC.")
    package_version: str = Field(__version__, description="The version of Calibrant that wrote the file.")

    @model_validator(mode="before")
    @classmethod
    def read_kind(cls, stored: Any) -> Any:
        """Read files that have a `kind`, from before there were families: all softmax, a `classifier` took inputs."""
        if isinstance(stored, dict) and "kind" in stored:
            kind = stored["kind"]
            rest = {key: value for key, value in stored.items() if key != "kind"}
            return rest | ({"takes": "inputs"} if kind == "classifier" else {})
        return stored

    @property
    def temperature(self) -> float:
        """The temperature inside the file, T > 0."""
        return float(self.calibrator.get("temperature", 1.0))

    def to_props(self) -> dict[str, str]:
        """As ONNX metadata properties."""
        return {KEY: self.model_dump_json(exclude_none=True)}

    @classmethod
    def from_props(cls, props: Mapping[str, str]) -> "Metadata":
        """Read back from ONNX metadata properties; a file without them is not a head.

        Raises:
            HeadError: the key is missing, or its value does not read.
        """
        if KEY not in props:
            raise HeadError("has no Calibrant metadata: make it with `calibrant export`")
        try:
            return cls.model_validate_json(props[KEY])
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            found = f"{where}: {first['msg']}" if where else "they are not a JSON object"
            raise HeadError(f"has metadata that cannot be read, {found}") from error
