"""KServe's own inference REST client against a service: `python kserve_rest.py URL MODEL`, where kserve is installed.

Prints the probabilities of one request a line, JSON first and binary second.
"""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def main(url: str, model: str) -> None:
    """Ask everything that the client can."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=10))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, model)
    rows = np.array([[2.0, 1.0, 0.1], [0.3, -1.0, 4.0]], np.float32)
    for binary in (False, True):
        logits = InferInput("logits", [2, 3], "FP32")
        logits.set_data_from_numpy(rows, binary_data=binary)
        wanted = [RequestedOutput("probabilities", parameters={"binary_data": binary})]
        request = InferRequest(model, [logits], request_outputs=wanted)
        answer = await client.infer(url, request, model_name=model)
        sys.stdout.write(json.dumps(answer.outputs[0].as_numpy().reshape(2, 3).tolist()) + "\n")


asyncio.run(main(*sys.argv[1:]))
