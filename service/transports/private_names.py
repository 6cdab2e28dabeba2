"""What is used of uvicorn that it does not promise to keep, and whether the installed one has it."""

from types import FunctionType
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PRIVATE_NAMES: Final = frozenset(
    {
        "_start_asgi_task",
        "_unset_keepalive_if_required",
        "client",
        "config",
        "connections",
        "cycle",
        "expect_100_continue",
        "flow",
        "headers",
        "loop",
        "on_body",
        "on_header",
        "on_headers_complete",
        "on_message_begin",
        "on_message_complete",
        "on_response_complete",
        "parser",
        "pipeline",
        "server_state",
        "timeout_keep_alive",
        "timeout_keep_alive_handler",
        "transport",
        "url",
    }
)


def missing_names(protocol: type = HttpToolsProtocol) -> list[str]:
    """Those of `PRIVATE_NAMES` that this uvicorn does not have: it cannot carry these transports then."""
    methods = [method for method in vars(protocol).values() if isinstance(method, FunctionType)]
    mentioned = [method.__code__.co_names for method in methods]  # the attributes that they set among them
    return sorted(PRIVATE_NAMES.difference(dir(protocol), *mentioned))
