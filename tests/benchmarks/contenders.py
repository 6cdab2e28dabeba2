"""The servers of `make benchmark`: this project in its forms, and others, each as its own documentation has it.

All serve one head with one process that runs it, on ONNX Runtime with one thread, and take the same numbers.
"""

from functools import partial
from pathlib import Path
from typing import Final

from tests.benchmarks.forms import ARRAY, TENSORS
from tests.benchmarks.processes import ROOT, Spec, calibrant, uvicorn

PACKAGES: Final = {
    "image": ("calibrant", "fastapi", "uvicorn", "uvloop", "pydantic"),
    "mosec": ("mosec",),
    "litserve": ("litserve", "fastapi", "uvicorn"),
    "mlserver": ("mlserver", "fastapi", "uvicorn"),
    "bentoml": ("bentoml", "starlette", "uvicorn"),
}
"""The environments that `make benchmark` makes below .venv, and whose versions count there; numpy's everywhere."""


def python(environment: str) -> Path:
    """That of an environment."""
    return ROOT / ".venv" / environment / "bin" / "python"


Ours = partial(Spec, python=python("image"))


def compiled(port: int, *options: str) -> list[str]:
    """The command of what is installed there, and not of the source in this folder."""
    return ["-P", *calibrant("--models", str(ROOT / "models"), *options)(port)]


def mosec(port: int) -> list[str]:
    """Its command; the timeout is in milliseconds."""
    options = {"address": "127.0.0.1", "port": port, "timeout": 30_000, "log-level": "error"}
    return ["-m", "tests.benchmarks.servers.on_mosec", *(f"--{name}={value}" for name, value in options.items())]


def mlserver(port: int) -> dict[str, str]:
    """Its settings: no pool of processes, and ports that are free for gRPC and metrics."""
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": 0, "metrics_port": 0, "parallel_workers": 0}
    return {f"MLSERVER_{name.upper()}": str(value) for name, value in settings.items()}


CONTENDERS: Final = (
    Ours(
        "Calibrant", compiled, "as in the image: compiled, fast HTTP; checks every value; batches what comes meanwhile"
    ),
    Ours("Calibrant, ASGI", lambda port: compiled(port, "--no-fast-http"), "compiled, under plain ASGI"),
    Ours("Calibrant, source", calibrant(), "as in a checkout: interpreted, fast HTTP"),
    Ours("Calibrant, source, ASGI", calibrant("--no-fast-http"), "interpreted, under plain ASGI"),
    Ours(
        "FastAPI", uvicorn("plain"), "what a user writes: pydantic models in and out, a `def` in a thread; no batches"
    ),
    Ours("FastAPI by hand", uvicorn("by_hand"), "orjson in and out, run on the event loop; checks nothing; no batches"),
    Spec(
        "mosec, batches",
        mosec,
        "HTTP and batches in Rust, the head in a Python process with orjson; checks nothing; a batch has up to 64 "
        "requests and waits for them for 1 ms",
        python=python("mosec"),
        environment=lambda _: {"BATCHES": "1"},
    ),
    Spec("mosec", mosec, "the same without batches", python=python("mosec")),
    Spec(
        "LitServe",
        lambda port: ["-m", "tests.benchmarks.servers.on_litserve", str(port)],
        "HTTP in one process, the head in another; uvloop and httptools; checks nothing; no batches",
        python=python("litserve"),
    ),
    Spec(
        "MLServer",
        lambda _: ["-m", "mlserver.cli.main", "start", "tests/benchmarks/servers/mlserver"],
        "Open Inference Protocol in JSON, which it validates; in one process, without its pool; no batches",
        python=python("mlserver"),
        environment=mlserver,
        route="/v2/models/head/infer",
        form=TENSORS,
    ),
    Spec(
        "BentoML",
        lambda port: ["-m", "bentoml", "serve", "tests.benchmarks.servers.on_bentoml:Head", f"--port={port}"],
        "numpy arrays as types; no access log, no metrics; no batches, which take one argument alone",
        python=python("bentoml"),
        environment=lambda _: {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(ROOT / "build" / "bentoml")},
        form=ARRAY,
    ),
)
