"""ONNX Runtime sessions: provider, threads and options."""

import logging
import os
from base64 import b64decode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: the Linux wheel reports home by default

import onnxruntime as ort
from onnxruntime import InferenceSession as InferenceSession  # the two names that others use as types
from onnxruntime import RunOptions as RunOptions

from service.errors import CannotStart, HeadError

logger = logging.getLogger(__name__)

AGAIN: Final = "make the file again with `calibrant export`"
REASONS: Final = {  # what ONNX Runtime says, in other words
    "No graph was found in the protobuf": "it holds no graph",
    "Protobuf parsing failed": "it is damaged, or of another format",
    "Failed to load model because protobuf parsing failed": "it is damaged, or of another format",
}
PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def run_options() -> RunOptions:
    """Say that no graph of a GPU's is captured; left out, looking for it costs a bound run 30 us (1.31)."""
    options = RunOptions()
    options.add_run_config_entry("gpu_graph_id", "-1")
    return options


def open_session(path: Path, model: Path | bytes, provider: str, intra_op_threads: int) -> InferenceSession:
    """A session of `model`, from the file `path`, on the provider that was asked for: never a silent fall-back."""
    if isinstance(model, Path) and not path.is_file():
        raise HeadError(f"{path} is not a file; expected a head file, as `calibrant export` makes it")
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_threads or n_cpus()
    options.inter_op_num_threads = 1
    # else ONNX Runtime takes bytes that look like it for its own format, of which engine/contents.py reads nothing
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 4  # what ONNX Runtime has to say comes as exceptions
    wanted = choose_provider(provider)
    given = [PROVIDERS[wanted]] if wanted == "cpu" else [PROVIDERS["cuda"], PROVIDERS["cpu"]]
    try:
        session = ort.InferenceSession(model, options, providers=given)
    except Exception as error:  # onnxruntime's exceptions share no root
        reason = str(error).splitlines()[0].rpartition(":")[2].strip().rstrip(".")
        reason = REASONS.get(reason, reason)
        raise HeadError(
            f"{path} is not an ONNX model that can be loaded ({reason}): make it with `calibrant export`"
        ) from error
    if isinstance(model, bytes):
        session._model_bytes = None  # else its wrapper keeps the whole file, for a fall-back that is not wanted here
    if session.get_providers()[0] != given[0]:
        if provider == "auto":
            logger.warning("provider auto: cuda did not start for %s", path)
            return open_session(path, model, "cpu", intra_op_threads)
        raise CannotStart(f"provider {provider} was asked for, but ONNX Runtime gave {session.get_providers()[0]}")
    return session


def open_short(path: Path, text: str, intra_op_threads: int) -> InferenceSession:
    """A session of the short graph, base64 in the metadata of the file `path`, on the CPU.

    Raises:
        HeadError: it is not base64, or not a graph that ONNX Runtime loads.
    """
    try:
        return open_session(path, b64decode(text, validate=True), "cpu", intra_op_threads)
    except (ValueError, HeadError) as error:
        raise HeadError(f"{path} has a short graph that cannot be loaded: {AGAIN}") from error


def run_session(session: Any, names: Sequence[str], feed: Mapping[str, Any], options: RunOptions) -> list[Any]:
    """The outputs `names` of a session for `feed`, without what onnxruntime's wrapper checks of both in Python.

    That takes 1.8 of the 9 us of 8x10 (1.32), and its core checks them again. The core's name is private: where there
    is none, the wrapper runs.
    """
    outputs: list[Any] = getattr(session, "_sess", session).run(names, feed, options)
    return outputs


def unwrap_binding(session: Any, binding: Any) -> tuple[Any, Any]:
    """What runs a binding, and the binding, without their wrappers, as `run_session` does: 0.7 of 5.6 us of 1x10."""
    core, bound = getattr(session, "_sess", None), getattr(binding, "_iobinding", None)
    return (session, binding) if core is None or bound is None else (core, bound)


def choose_provider(provider: str) -> str:
    """`cpu` or `cuda` for `cpu`, `cuda` or `auto`.

    Raises:
        CannotStart: cuda was asked for, and this ONNX Runtime has none.
    """
    there = PROVIDERS["cuda"] in ort.get_available_providers()
    if provider == "cuda" and not there:
        raise CannotStart(
            "provider cuda was asked for, but this ONNX Runtime has none: install onnxruntime-gpu, or take cpu"
        )
    if not there or provider == "cpu":
        return "cpu"
    ort.preload_dlls()  # CUDA's libraries may lie where pip puts them, where the loader does not look
    return "cuda"


def n_cpus() -> int:
    """CPUs that this process may use: its affinity, and its cgroup's quota rounded up."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return mine
    return mine if quota == "max" else max(1, min(mine, -(-int(quota) // int(period))))
