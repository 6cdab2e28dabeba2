"""KServe's own inference gRPC client against a service: `python kserve_grpc.py ADDRESS`, in an environment with kserve.

Prints the probabilities of one request a line: raw contents first, typed contents second.
"""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest


async def main(address: str) -> None:
    """Ask everything that the client can."""
    async with InferenceGRPCClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("softmax")
        rows = np.array([[2.0, 1.0, 0.1], [0.3, -1.0, 4.0]], np.float32)
        for binary in (True, False):
            logits = InferInput("logits", [2, 3], "FP32")
            logits.set_data_from_numpy(rows, binary_data=binary)
            answer = await client.infer(InferRequest("softmax", [logits]))
            found = next(output for output in answer.outputs if output.name == "probabilities")
            sys.stdout.write(json.dumps(found.as_numpy().reshape(2, 3).tolist()) + "\n")


asyncio.run(main(sys.argv[1]))
