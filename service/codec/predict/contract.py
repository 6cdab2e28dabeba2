"""The JSON contract of /predict, as pydantic models: they make the OpenAPI page and judge everything but the numbers.

The arrays are judged in `arrays.py`, which can name the row and the class; here they are only described.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, WithJsonSchema

from service.families.outputs import OUTPUTS, Output

NUMBER: Final = {"type": ["number", "null"]}


def nested(item: dict[str, Any], description: str) -> dict[str, Any]:
    """The JSON schema of `[K]` or `[N][K]` items, or deeper."""
    row = {"type": "array", "items": item}
    deeper = {"type": "array", "items": {"type": "array"}}
    return {"anyOf": [row, {"type": "array", "items": row}, deeper], "description": description}


Logits = Annotated[
    Any,
    WithJsonSchema(
        nested(
            NUMBER,
            "`[K]` or `[N][K]`; the answer has the same rank. `null` is -inf: a class without a score.",
        )
    ),
]
Inputs = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "For a classifier with its head attached, instead of `logits`: its own inputs by name.",
            "additionalProperties": {"type": "array"},
        }
    ),
]
Mask = Annotated[
    Any,
    WithJsonSchema(
        nested(
            {"type": "boolean"},
            "true: the class may be chosen. The logits' shape, or one row for all. Nothing under a false is ever read.",
        )
    ),
]
Allowed = Annotated[
    Any,
    WithJsonSchema(
        nested(
            {"type": ["integer", "string"]},
            "Instead of `mask`: the classes that may be chosen, by index or label, per row.",
        )
    ),
]
Temperature = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}},
            ],
            "description": "Replaces the fitted temperature, for all rows or one a row.",
        }
    ),
]
Axis = Annotated[
    StrictInt | list[StrictInt],
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}, "minItems": 1}],
            "description": "-1, or several trailing axes such as [-2, -1]: one distribution over all of them.",
            "default": -1,
        }
    ),
]


class PredictRequest(BaseModel):
    """Rows to score, and what to say of them."""

    model_config = ConfigDict(extra="forbid")

    logits: Logits = None
    inputs: Inputs | None = None
    mask: Mask = None
    allowed: Allowed = None
    temperature: Temperature = None
    outputs: list[Output] = Field(
        default=["probabilities"],
        min_length=1,
        max_length=len(OUTPUTS),
        description=(
            "What to answer; entropy in nats, logsumexp after T, margin the lead of the best class over the second, "
            "mutual_information of heads that average members."
        ),
    )
    top_k: int | None = Field(
        None,
        ge=1,
        strict=True,
        description="Adds `top`: at most so many classes, best first; fewer where fewer may be chosen.",
    )
    alpha: float | None = Field(
        None,
        gt=0,
        lt=1,
        strict=True,
        allow_inf_nan=False,
        description=(
            "Adds `prediction_set`: classes that hold the true one with a probability of at least 1 - alpha, on "
            "average over rows that are exchangeable with those of the calibration. At the head's own temperature only."
        ),
    )
    group: str | list[str] | None = Field(
        None,
        description=(
            "The group of all rows, or one a row: its temperature, where the head has one for each group, and with a "
            "journal its name, by which is told what labels say."
        ),
    )
    prior: dict[str, Any] | None = Field(
        None,
        description=(
            "Other class frequencies than those of the fit: `new`, uniform if left out, `old`, those of the fit if the "
            "head knows them, and `strength`, 1. The answer is p new/old, shared out anew; a sigmoid's odds shift."
        ),
        json_schema_extra={
            "properties": {
                "new": {"type": "array", "items": {"type": "number", "minimum": 0}},
                "old": {"type": "array", "items": {"type": "number", "minimum": 0}},
                "strength": {"type": "number", "minimum": 0},
            },
            "additionalProperties": False,
        },
    )
    abstain_below: float | None = Field(
        None,
        ge=0,
        le=1,
        strict=True,
        allow_inf_nan=False,
        description="No prediction where the confidence, as it is answered, is lower.",
    )
    axis: Axis = -1
    timeout_ms: float | None = Field(
        None,
        gt=0,
        le=3_600_000,
        strict=True,
        allow_inf_nan=False,
        description="Deadline for queue and run, ms.",
    )
    id: str | None = Field(None, max_length=256, strict=True, description="Echoed.")


class Top(BaseModel):
    """The best classes of each row, best first; none that may not be chosen."""

    classes: list[int] | list[list[int]]
    labels: list[str] | list[list[str]] | None = None
    probabilities: list[float] | list[list[float]]


class PredictionSet(BaseModel):
    """The classes of each row that may be the true one, in the order of the classes."""

    classes: list[int] | list[list[int]]
    labels: list[str] | list[list[str]] | None = None


class Warned(BaseModel):
    """Something odd about rows that were answered all the same."""

    code: Literal["no_class_allowed", "looks_like_probabilities", "unknown_group"]
    rows: list[int]
    message: str


Numbers = Annotated[Any, WithJsonSchema(nested(NUMBER, "The shape of the logits; `null` is -inf."))]
PerRow = Annotated[Any, WithJsonSchema({"anyOf": [NUMBER, {"type": "array", "items": NUMBER}]})]


class PredictAnswer(BaseModel):
    """One key per output that was asked for; one value, or one a row as the logits had rows."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "softmax",
                    "version": "1",
                    "method": "none",
                    "temperature": 1.0,
                    "probabilities": [0.6590011, 0.24243297, 0.09856589],
                }
            ]
        }
    )

    model: str
    version: str
    id: str | None = None
    method: str = Field(description="How the head was calibrated, such as `temperature`; `none` if it was not.")
    temperature: float | list[float]
    probabilities: Numbers = None
    log_probabilities: Numbers = None
    prediction: PerRow = None
    labels: str | list[str | None] | None = Field(None, description="Beside `prediction`, where the model has labels.")
    confidence: PerRow = None
    margin: PerRow = None
    entropy: PerRow = None
    logsumexp: PerRow = None
    mutual_information: PerRow = None
    top: Top | None = None
    prediction_set: PredictionSet | None = None
    warnings: list[Warned] | None = None


class ErrorAnswer(BaseModel):
    """Every error there is."""

    error: str = Field(description="What was wrong and what was expected, one sentence.")
    code: str = Field(description="The same for programs, snake_case.")
    row: int | None = Field(None, description="The row it sits in.")
    class_: int | None = Field(None, alias="class", description="The class it sits at.")
