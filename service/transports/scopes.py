"""Which scope a key needs for a path, over HTTP and gRPC: one table. What it does not name needs `admin`.

A line of it is for every method, unless it begins with those that it is for.
"""

import re
from functools import lru_cache
from typing import Final

PREDICT_SCOPE: Final = "predict"  # that of all endpoints of `endpoints.py`
MODEL: Final = "models/[^/]+"
VERSION: Final = f"{MODEL}/versions/[^/]+"
GRPC: Final = r"/inference\.GRPCInferenceService"
TABLE: Final[dict[str | None, tuple[str, ...]]] = {
    None: (  # these need no key: probes, and pages without anything of the models
        "/|/healthz|/readyz|/v2/health/(live|ready)",
        "/openapi.json|/(docs|console)(/.*)?",
        f"{GRPC}/Server(Live|Ready)",
        r"/grpc\.health\.v1\.Health/Check",
    ),
    PREDICT_SCOPE: (
        f"/v1/({MODEL}/|{VERSION}/)?(predict|evaluate)",
        f"/v2/({MODEL}|{VERSION})/infer",
        f"{GRPC}/Model(Stream)?Infer",
    ),
    "label": ("/v1/labels",),
    "observe": (
        "/metrics",
        f"/v1/(models|{MODEL}|{VERSION}(/report|/calibration)?)",
        f"(GET|HEAD) /v1/{VERSION}/refit",
        f"/v2|/v2/models(/stats)?|/v2/({MODEL}|{VERSION})(/ready|/config|/stats)?|/v2/repository/index",
        f"{GRPC}/(ServerMetadata|Model(Ready|Metadata|Config|Statistics)|RepositoryIndex)",
    ),
    "admin": (
        "/v1/labels/.+",
        f"/v1/{VERSION}/(calibration/acknowledge|refit|promote|dismiss)",
        f"/v2/repository/{MODEL}/(un)?load",
        f"{GRPC}/RepositoryModel(Unl|L)oad",
    ),
}
PATTERNS: Final = [
    (re.compile(line if " " in line else rf"\S+ (?:{line})"), scope) for scope, lines in TABLE.items() for line in lines
]
MAX_REMEMBERED_PATH: Final = 256  # characters; whoever sends longer ones shall not fill the memory


def find_scope(method: str, path: str) -> str | None:
    """The scope that a request needs, none where it needs no key; the path is decoded, as it is for the routes."""
    line = f"{method} {path}"
    return remembered_scope(line) if len(line) <= MAX_REMEMBERED_PATH else match_scope(line)


def match_scope(line: str) -> str | None:
    return next((scope for pattern, scope in PATTERNS if pattern.fullmatch(line)), "admin")


remembered_scope = lru_cache(maxsize=1024)(match_scope)
