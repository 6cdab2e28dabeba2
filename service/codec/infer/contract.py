"""The Open Inference Protocol's `infer` as pydantic models: they describe it on the OpenAPI page, and judge nothing."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.families.outputs import Output

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "BF16",
    "FP32",
    "FP64",
    "BYTES",
]
CLOSED = ConfigDict(extra="forbid")
AddedOutput = Literal["prediction_set", "top_classes", "top_probabilities"]
CONTENT_TYPE = "Taken, and not used: a tensor is what its datatype says."


class InferInputParameters(BaseModel):
    """How an input comes."""

    model_config = CLOSED

    binary_data_size: int | None = Field(None, ge=0, description="Bytes of this tensor behind the JSON header.")
    content_type: str | None = Field(None, description=CONTENT_TYPE)


class InferInput(BaseModel):
    """A tensor: `logits`, or a classifier's own inputs; `mask` and `temperature` as one likes."""

    name: str
    datatype: Datatype
    shape: list[int] = Field(min_length=1, description="All axes: [K] or [N, K] for logits.")
    data: list[Any] | None = Field(None, description="Flat, or nested as the shape says; none where it is binary.")
    parameters: InferInputParameters | None = None


class InferOutputParameters(BaseModel):
    """How an output goes."""

    model_config = CLOSED

    binary_data: bool | None = Field(None, description="As binary data behind the header.")
    classification: int | None = Field(
        None, ge=0, description="As BYTES `value:index[:label]` of the best classes, at most so many."
    )
    content_type: str | None = Field(None, description=CONTENT_TYPE)


class InferOutput(BaseModel):
    """An output that is asked for."""

    name: Output
    parameters: InferOutputParameters | None = None


class InferParameters(BaseModel):
    """Of the request."""

    model_config = CLOSED

    temperature: float | str | None = Field(None, description="Replaces the fitted one; a number, or a string of one.")
    group: str | None = Field(None, description="The group of all rows, as in predict.")
    prior: dict[str, Any] | str | None = Field(None, description="As in predict; an object, or a string of its JSON.")
    abstain_below: float | str | None = Field(None, description="As in predict; the prediction is -1 then.")
    alpha: float | str | None = Field(
        None, description="As in predict: adds `prediction_set`, BOOL of the shape of the probabilities."
    )
    top_k: int | str | None = Field(
        None,
        description="Adds `top_classes`, INT64, and `top_probabilities`, FP32: the best classes of each row, best "
        "first, with -1 and 0 where a row has fewer that may be chosen.",
    )
    timeout: int | None = Field(None, ge=0, le=3_600_000_000, description="Deadline for queue and run, microseconds.")
    priority: int | None = Field(None, description="Taken, and not used: first come, first served.")
    binary_data_output: bool | None = Field(None, description="All outputs as binary data.")
    content_type: str | None = Field(None, description=CONTENT_TYPE)


class InferRequest(BaseModel):
    """The request, or the header in front of its binary data."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "id": "42",
                    "inputs": [{"name": "logits", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 1.0, 0.1]}],
                    "outputs": [{"name": "probabilities"}, {"name": "prediction"}],
                }
            ]
        },
    )

    id: str | None = Field(None, max_length=256, description="Echoed.")
    parameters: InferParameters | None = None
    inputs: list[InferInput]
    outputs: list[InferOutput] | None = Field(None, description="All there are, if none is named.")


class InferredOutput(BaseModel):
    """A tensor of the answer."""

    name: Output | AddedOutput
    datatype: Datatype
    shape: list[int]
    data: list[Any] | None = Field(None, description="Flat; null is -inf. None where it is binary.")
    parameters: InferInputParameters | None = None


class InferAnswer(BaseModel):
    """The answer, or the header in front of its binary data."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, str | float | bool] | None = Field(
        None,
        description="What the calibration has to say: `method`, `temperature`, `no_class_allowed`, "
        "`looks_like_probabilities`.",
    )
    outputs: list[InferredOutput]
