"""What clients ask beside ModelInfer: each answer is that of the same question over HTTP, in a message."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from service.api.protocol.answers import (
    ServerMetadata,
    Serving,
    index_of,
    metadata_of,
    readiness_error,
    reload,
    statistics_of,
)
from service.api.protocol.configuration import configuration
from service.errors import NotFound
from service.model import Model
from service.rpc.messages import HEALTH, INFERENCE

Operation = Callable[[Serving, Any], Awaitable[dict[str, Any]]]


def find(state: Serving, asked: Any) -> Model:
    """The model that is meant; an empty version is the highest.

    Raises:
        UnknownModel, UnknownVersion: there is none.
    """
    return state.repository.find(asked.name, asked.version or None)


async def server_live(_: Serving, __: Any) -> dict[str, Any]:
    return {"live": True}


async def server_ready(state: Serving, _: Any) -> dict[str, Any]:
    """As /v2/health/ready; not ready is an answer here, and no error."""
    return {"ready": readiness_error(state) is None}


async def server_metadata(_: Serving, __: Any) -> dict[str, Any]:
    return ServerMetadata().model_dump()


async def model_ready(state: Serving, asked: Any) -> dict[str, Any]:
    """As /v2/models/.../ready; not ready is an answer here, too, and so is a model that is not there."""
    try:
        stopped = find(state, asked).head.stopped
    except NotFound:
        return {"ready": False}
    return {"ready": False} if stopped else await server_ready(state, asked)


async def model_metadata(state: Serving, asked: Any) -> dict[str, Any]:
    return metadata_of(state, find(state, asked)).model_dump()


async def model_config(state: Serving, asked: Any) -> dict[str, Any]:
    return {"config": configuration(find(state, asked), state.settings)}


async def model_statistics(state: Serving, asked: Any) -> dict[str, Any]:
    """As /v2/models/.../stats: of a version, of all versions of a model, or of all models."""
    models = state.repository.models
    if asked.name:
        found = find(state, asked)
        every = [found] if asked.version else list(models[found.name].values())
    else:
        every = [model for versions in models.values() for model in versions.values()]
    return statistics_of(state, every).model_dump()


async def repository_index(state: Serving, asked: Any) -> dict[str, Any]:
    return {"models": [line.model_dump() for line in index_of(state, only_ready=asked.ready)]}


async def repository_load(state: Serving, asked: Any) -> dict[str, Any]:
    return await reload(state, asked.model_name, served=True)


async def repository_unload(state: Serving, asked: Any) -> dict[str, Any]:
    return await reload(state, asked.model_name, served=False)


async def check(state: Serving, asked: Any) -> dict[str, Any]:
    """gRPC's own health check, of the server or of its one service."""
    if asked.service not in ("", INFERENCE):
        raise NotFound(f"there is no service of that name; there is {INFERENCE}")
    return {"status": "SERVING" if readiness_error(state) is None else "NOT_SERVING"}


OPERATIONS: Final[dict[str, dict[str, Operation]]] = {
    INFERENCE: {
        "ServerLive": server_live,
        "ServerReady": server_ready,
        "ServerMetadata": server_metadata,
        "ModelReady": model_ready,
        "ModelMetadata": model_metadata,
        "ModelConfig": model_config,
        "ModelStatistics": model_statistics,
        "RepositoryIndex": repository_index,
        "RepositoryModelLoad": repository_load,
        "RepositoryModelUnload": repository_unload,
    },
    HEALTH: {"Check": check},
}
