"""FastAPI without pydantic: orjson in and out by hand, and the run where it stands. Checks nothing."""

import orjson
from fastapi import FastAPI, Request, Response

from tests.benchmarks.servers.session import probabilities

app = FastAPI()


@app.post("/v1/predict")
async def predict(request: Request) -> Response:
    """Answer one request."""
    sent = orjson.loads(await request.body())
    answer = probabilities(sent["logits"], sent.get("mask"), sent.get("temperature"))
    content = orjson.dumps({"probabilities": answer}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, media_type="application/json")
