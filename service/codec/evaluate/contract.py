"""The JSON contract of /evaluate: that of /predict, and what is known of the rows."""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from service.codec.predict.contract import Numbers, PerRow, PredictAnswer, PredictRequest, nested
from service.families.outputs import Output

Measure = Literal["loss", "gradient", "vjp", "metrics"]
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)

LABEL: Final = {"type": ["integer", "string"]}
Labels = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [LABEL, {"type": "array", "items": LABEL}, {"type": "array", "items": {"type": "array"}}],
            "description": "The true class of each row, by index or label; of a sigmoid a list of them a row.",
        }
    ),
]
Targets = Annotated[
    Any,
    WithJsonSchema(
        nested(
            {"type": "number", "minimum": 0, "maximum": 1},
            "Instead of `labels`: a probability a class, adding up to 1 unless the head is a sigmoid.",
        )
    ),
]
Upstream = Annotated[
    Any,
    WithJsonSchema(nested({"type": "number"}, "The gradient with respect to what is answered, in the logits' shape.")),
]


class EvaluateRequest(PredictRequest):
    """Rows, what is known of them, and what to say of that."""

    labels: Labels = None
    targets: Targets = None
    label_smoothing: float = Field(
        0.0,
        strict=True,
        description="From 0 to below 1: so much of each target goes to all classes that are allowed, in equal parts.",
    )
    upstream: Upstream = None
    of: Literal["probabilities", "log_probabilities"] = Field(
        "probabilities", description="What `upstream` is the gradient with respect to."
    )
    outputs: list[Measure | Output] | None = Field(  # type: ignore[assignment]  # more than can be predicted
        None,
        min_length=1,
        description="What to answer: loss if there are labels, else vjp; and anything that /predict answers.",
    )


class Metrics(BaseModel):
    """Of all rows together."""

    loss: float = Field(description="The mean of the rows' losses.")
    nll: float | None = Field(
        description="Mean negative log-likelihood; null where a target got exactly 0, which makes it infinite."
    )
    n_impossible: int = Field(description="Rows whose target got exactly 0.")
    brier: float = Field(description="Mean of the squared differences between probabilities and targets, summed.")
    accuracy: float = Field(description="Share of rows, or of a sigmoid's classes, that are predicted right.")
    ece: float = Field(description="Expected calibration error, 15 bins of equal width; of a sigmoid over all classes.")
    ece_macro: float | None = Field(None, description="Of a sigmoid: the mean of each class's.")
    n_rows: int


class EvaluateAnswer(PredictAnswer):
    """One key per output that was asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "softmax",
                    "version": "1",
                    "method": "none",
                    "temperature": 1.0,
                    "loss": 0.41703001642470816,
                    "gradient": [-0.3409988612108227, 0.24243297066910668, 0.09856589054171597],
                    "metrics": {
                        "loss": 0.41703001642470816,
                        "nll": 0.41703001642470816,
                        "n_impossible": 0,
                        "brier": 0.1847692033928074,
                        "accuracy": 1.0,
                        "ece": 0.3409988612108227,
                        "n_rows": 1,
                    },
                }
            ]
        }
    )

    loss: PerRow = None
    gradient: Numbers = None
    vjp: Numbers = None
    metrics: Metrics | None = None
