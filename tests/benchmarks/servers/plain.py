"""FastAPI with pydantic models in and out: what a user writes."""

from fastapi import FastAPI
from pydantic import BaseModel

from tests.benchmarks.servers.session import probabilities

app = FastAPI()


class Request(BaseModel):
    """Rows."""

    logits: list[list[float]]
    mask: list[list[bool]] | None = None
    temperature: list[float] | None = None


class Answer(BaseModel):
    """Their probabilities."""

    probabilities: list[list[float]]


@app.post("/v1/predict")
def predict(request: Request) -> Answer:
    """Answer one request."""
    answer = probabilities(request.logits, request.mask, request.temperature)
    return Answer(probabilities=answer.tolist())
