"""Plain gRPC stubs for a service, with nothing of a client library between."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
import numpy as np

from service.codec.infer.tensors import DTYPES
from service.process.sockets import reserve
from service.rpc.infer import CONTENTS
from service.rpc.messages import INFERENCE, ModelInferRequest, method_types
from tests.conftest import Running, serving
from tests.transports.infer import unbytes

OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
)


class Answered(NamedTuple):
    """A message, and the trailing metadata that came with it."""

    message: Any
    trailing: Mapping[str, str]


class Caller:
    """A channel to a service that answers over both."""

    def __init__(self, running: Running | None, port: int) -> None:
        self.running = running
        self.port = port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS)

    def method(self, name: str, service: str = INFERENCE) -> Any:
        """The stub of a unary method."""
        asked, answered = method_types(service, name)
        return self.channel.unary_unary(f"/{service}/{name}", asked.SerializeToString, answered.FromString)

    def stream(self, **options: Any) -> Any:
        """The stub of ModelStreamInfer."""
        asked, answered = method_types(INFERENCE, "ModelStreamInfer")
        path = f"/{INFERENCE}/ModelStreamInfer"
        return self.channel.stream_stream(path, asked.SerializeToString, answered.FromString, **options)

    def call(self, method: str, service: str = INFERENCE, /, **fields: Any) -> Any:
        """The answer of a unary method to a message of these fields."""
        return self.method(method, service)(method_types(service, method)[0](**fields), timeout=30)

    def infer(self, message: Any, **options: Any) -> Answered:
        """The answer to a ModelInferRequest."""
        message, call = self.method("ModelInfer").with_call(message, **{"timeout": 30, **options})
        return Answered(message, dict(call.trailing_metadata()))


@contextmanager
def calling(**options: Any) -> Iterator[Caller]:
    """Run a service in a thread, over HTTP and gRPC."""
    with reserve("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        with serving(grpc=port, **options) as running:
            caller = Caller(running, port)
            with caller.channel:
                yield caller


Given = tuple[str, str, Any]  # name, datatype, values as they are


def request(*inputs: Given, typed: bool = False, outputs: Any = (), **fields: Any) -> Any:
    """A ModelInferRequest, its tensors raw or as typed contents; an output is its name or `(name, parameters)`."""
    tensors, raw = [], []
    for name, datatype, given in inputs:
        values = np.asarray(given)
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": values.shape}
        if typed:
            tensor["contents"] = {CONTENTS[datatype]: values.reshape(-1).tolist()}
        else:
            raw.append(bfloats(values) if datatype == "BF16" else values.astype(DTYPES[datatype]).tobytes())
        tensors.append(tensor)
    wanted = [{"name": output} if isinstance(output, str) else output for output in outputs]
    about = {"model_name": "softmax", **fields}
    return ModelInferRequest(inputs=tensors, outputs=wanted, raw_input_contents=raw, **about)


def bfloats(values: Any) -> bytes:
    """The upper halves of float32, little-endian."""
    upper: bytes = (values.astype(np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    return upper


def arrays(message: Any) -> dict[str, Any]:
    """The tensors of a ModelInferResponse by name."""
    found = {}
    for output, data in zip(message.outputs, message.raw_output_contents, strict=True):
        is_text = output.datatype == "BYTES"
        values = np.array(unbytes(data), object) if is_text else np.frombuffer(data, DTYPES[output.datatype])
        found[output.name] = values.reshape(list(output.shape))
    return found
