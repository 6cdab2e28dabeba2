"""The messages of the two .proto files beside this one, read from what `make rpc` compiles them to.

A description, and no generated code: that would run with one major version of protobuf only, this runs with any.
"""

from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from service.errors import BodyTooLarge, Malformed

COMPILED: Final = Path(__file__).with_name("messages.desc")
INFERENCE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"
MAX_QUESTION: Final = 2**16  # bytes of a message that brings no tensors

POOL: Final = DescriptorPool()  # of its own: a client in the same process has messages of these names, too
for file in FileDescriptorSet.FromString(COMPILED.read_bytes()).file:
    POOL.AddSerializedFile(file.SerializeToString())


def message(name: str) -> Any:
    """The class of a message, by its full name."""
    return GetMessageClass(POOL.FindMessageTypeByName(name))


def method_types(service: str, method: str) -> tuple[Any, Any]:
    """The classes of what a method takes and of what it gives."""
    found = POOL.FindServiceByName(service).methods_by_name[method]
    return GetMessageClass(found.input_type), GetMessageClass(found.output_type)


ModelInferRequest: Final = message("inference.ModelInferRequest")
ModelInferResponse: Final = message("inference.ModelInferResponse")
ModelStreamInferResponse: Final = message("inference.ModelStreamInferResponse")


def parse_message(kind: Any, body: bytes) -> Any:
    """A message.

    Raises:
        Malformed: the bytes are none of this kind.
    """
    try:
        return kind.FromString(body)
    except DecodeError:
        raise not_a_message(kind) from None


def not_a_message(kind: Any) -> Malformed:
    return Malformed(f"the bytes are not a message {kind.DESCRIPTOR.full_name}", code="bad_message")


def parse_question(kind: Any, body: bytes) -> Any:
    """A message that brings no tensors.

    Raises:
        BodyTooLarge: it has more bytes than any of these.
        Malformed: the bytes are none of this kind.
    """
    if len(body) > MAX_QUESTION:
        raise BodyTooLarge(
            f"the message has {len(body)} bytes; expected at most {MAX_QUESTION} of {kind.DESCRIPTOR.full_name}"
        )
    return parse_message(kind, body)
