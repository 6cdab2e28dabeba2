"""Protocol requests by hand: a header, the binary data behind it, and the answer taken apart."""

import json
from typing import Any

import httpx
import numpy as np

from service.codec.infer.tensors import DTYPES
from tests.conftest import Running

OCTETS = "application/octet-stream"
PATH = "/v2/models/softmax/infer"
FP32 = np.dtype(np.float32)


def tensor(name: str, datatype: str, shape: Any, **more: Any) -> dict[str, Any]:
    """An input; `data` or `parameters` as given."""
    return {"name": name, "datatype": datatype, "shape": shape, **more}


def binary(name: str, datatype: str, shape: Any, n_bytes: Any) -> dict[str, Any]:
    """An input whose data follow the header."""
    return tensor(name, datatype, shape, parameters={"binary_data_size": n_bytes})


def wanted(*names: str, **parameters: Any) -> list[dict[str, Any]]:
    """Outputs, all with the same parameters."""
    return [{"name": name, **({"parameters": parameters} if parameters else {})} for name in names]


def framed(header: Any, *data: bytes) -> tuple[bytes, dict[str, str]]:
    """A body and the headers that it needs."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return b"".join((head, *data)), {"inference-header-content-length": str(len(head)), "content-type": OCTETS}


def post(running: Running, header: Any, *data: bytes, path: str = PATH, **headers: str) -> httpx.Response:
    """Send it: with data as binary, without as plain JSON."""
    if data:
        body, own = framed(header, *data)
    else:
        body = header if isinstance(header, bytes) else json.dumps(header).encode()
        own = {"content-type": "application/json"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return running.client.post(path, content=body, headers={"accept-encoding": "identity"} | own | given)


def outputs(response: httpx.Response) -> dict[str, Any]:
    """The answer's tensors by name, whether they came as JSON or as binary."""
    assert response.status_code == 200, response.text
    body = response.content
    length = int(response.headers.get("inference-header-content-length", len(body)))
    kind = OCTETS if "inference-header-content-length" in response.headers else "application/json"
    assert response.headers["content-type"] == kind
    found, at = {}, length
    for output in json.loads(body[:length])["outputs"]:
        name, datatype, shape = output["name"], output["datatype"], output["shape"]
        n_bytes = output.get("parameters", {}).get("binary_data_size")
        if n_bytes is None:
            data = [-np.inf if value is None else value for value in output["data"]]
            found[name] = np.array(data, DTYPES.get(datatype, object)).reshape(shape)
        elif datatype == "BYTES":
            found[name] = np.array(unbytes(body[at : at + n_bytes]), object).reshape(shape)
        else:
            found[name] = np.frombuffer(body[at : at + n_bytes], DTYPES[datatype]).reshape(shape)
        at += n_bytes or 0
    assert at == len(body)
    return found


def unbytes(data: bytes) -> list[str]:
    """The elements of a BYTES tensor."""
    elements, at = [], 0
    while at < len(data):
        n = int.from_bytes(data[at : at + 4], "little")
        elements.append(data[at + 4 : at + 4 + n].decode())
        at += 4 + n
    return elements
