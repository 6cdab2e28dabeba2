"""A head in memory: an ONNX Runtime session, checked and warm. The only importer of onnxruntime."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.engine.binding import run_with_binding
from service.engine.bound import Bound
from service.engine.feed import build_feed, pad_width
from service.engine.pace import Pace
from service.engine.probe import STEPS
from service.engine.reading import read_signature
from service.engine.refusal import ValueRefused, run_error
from service.engine.rows import PACKET, Runnable
from service.engine.runner import RUN_TIMEOUT
from service.engine.session import (
    PROVIDERS,
    InferenceSession,
    RunOptions,
    open_session,
    open_short,
    run_options,
    run_session,
)
from service.engine.single import Row
from service.engine.warm_up import JUST_BITS, LOGSUMEXP_BIT, warm_up
from service.errors import HeadError, InvalidValue, RunFailed
from service.families.outputs import graph_outputs
from service.metadata import NO_LOGSUMEXP_KEY, SHORT_KEY, Metadata
from service.telemetry.tally import SILENCE, Tally

logger = logging.getLogger(__name__)

LARGE_RUN: Final = 2**20  # numbers; the memory of larger runs is given back, which costs time, that of others is kept
MAX_BOUND: Final = 64  # widths


class Head:
    """One head file, ready to run.

    Attributes:
        name: what the log calls it: `MODEL/VERSION` where it is served, else its path.
        metadata: what the file says of itself.
        signature: what a request brings, and what can be asked of it.
        provider: `cpu` or `cuda`, where it really runs.
        tally: where its runs are counted.
        pace: what its runs take by now, against what they took then.
        stopped: why it was told to stop, else empty.
    """

    tally: Tally = SILENCE
    stopped = ""
    has_refused = False

    def __init__(
        self,
        path: Path,
        *,
        provider: str = "cpu",
        intra_op_threads: int = 1,
        content: bytes | None = None,
        before_run: Callable[["Head"], None] | None = None,
    ) -> None:
        """Load, check and warm up.

        `content` is the file's where that was read, or is not written yet; `before_run` is called with the head before
        its first run, so that somebody else can stop it.

        Raises:
            HeadError: the file is not a head that can be served; the sentence says what to do.
            CannotStart: the provider was asked for and not given.
        """
        self.path = path
        self.name = str(path)
        self.session = open_session(path, path if content is None else content, provider, intra_op_threads)
        self.provider = next(name for name, long in PROVIDERS.items() if long == self.session.get_providers()[0])
        try:
            props = self.session.get_modelmeta().custom_metadata_map
            self.metadata = Metadata.from_props(props)
            self.signature = read_signature(self.session, self.metadata)
        except HeadError as error:
            raise HeadError(f"{path} {error}") from error
        self.temperature = self.signature.temperature
        self.open_size = STEPS[0]
        self.has_strings = any(dtype is np.object_ for dtype, _ in self.signature.inputs.values())
        self.warm = False
        if provider == "auto":
            logger.info("provider auto: %s runs on %s", path, self.provider)
        # most requests want probabilities alone or no logsumexp, and every node would run for them
        self.short = self.without_logsumexp = self.session
        takes_logits = self.signature.takes == "logits"
        self.widens = takes_logits and self.signature.inputs.get("logits", (np.float32, (0,)))[1][-1] is None
        if takes_logits and self.provider == "cpu" and SHORT_KEY in props:
            self.short = open_short(path, props[SHORT_KEY], intra_op_threads)
        if takes_logits and self.provider == "cpu" and NO_LOGSUMEXP_KEY in props:
            self.without_logsumexp = open_short(path, props[NO_LOGSUMEXP_KEY], intra_op_threads)
        # a short graph without the input answers at the fitted temperature alone
        given = (entry.name for entry in self.short.get_overridable_initializers())
        self.takes_temperature = self.short is self.session or "temperature" in given
        self.bound: dict[int, Bound] = {}  # by K
        self.run_options, self.large_run_options = run_options(), run_options()
        self.large_run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        if before_run is not None:
            before_run(self)
        self.seconds_per_run, self.seconds_per_number = warm_up(self)
        self.pace = Pace()
        self.warm = True

    def __repr__(self) -> str:
        return f"<Head {self.path} K={self.signature.classes or 'any'} T={self.temperature:g} on {self.provider}>"

    def __str__(self) -> str:
        return self.name

    def run(self, feed: Mapping[str, NDArray[Any]], bits: int) -> dict[str, NDArray[Any]]:
        """Run `feed` (name to `[N, ...]`) and return the graph outputs of `bits`, each `[N, ...]`.

        Raises:
            RunFailed: ONNX Runtime refused.
        """
        names = graph_outputs(bits)
        try:
            if (short := self.short_for(feed, bits)) is not None:
                outputs = self.run_short(short, names, feed)
            elif self.provider == "cpu" or self.has_strings:
                outputs = run_session(self.session, names, feed, self.options_for(feed))
            else:
                outputs = run_with_binding(self.session, names, feed, self.run_options)
        except Exception as error:  # onnxruntime's exceptions share no root
            raise self.refuse(error) from error
        return dict(zip(names, outputs, strict=True))

    def run_alone(self, rows: Runnable, bits: int) -> dict[str, NDArray[Any]]:
        """As `run`, for the rows of one request; on one thread, and what it returns is good until the next call.

        Raises:
            RunFailed: ONNX Runtime refused.
        """
        if (
            not isinstance(rows, Row)
            or bits != JUST_BITS
            or self.short is self.session
            or not (self.takes_temperature or rows.temperature is None)
        ):
            return self.run(build_feed([rows], self.temperature), bits)
        k = rows.n_numbers
        try:
            bound = self.bound.get(k)
            if bound is None:
                if len(self.bound) == MAX_BOUND:
                    self.bound.clear()
                width = k + (-k % PACKET if self.widens else 0)
                bound = self.bound[k] = Bound(
                    self.short, k, width, self.run_options, takes_temperature=self.takes_temperature
                )
            return bound.run(rows, self.temperature)
        except Exception as error:  # onnxruntime's exceptions share no root
            raise self.refuse(error) from error

    def refuse(self, error: Exception) -> InvalidValue | RunFailed:
        """The error for a run that ONNX Runtime refused; the client's is logged once, as it can be repeated at will."""
        if self.stopped:
            return RunFailed(self.stopped, code=RUN_TIMEOUT)
        found = run_error(error, takes_inputs=self.signature.takes == "inputs", may_quote=not self.has_strings)
        if isinstance(found, ValueRefused) and self.warm and not self.has_refused:
            self.has_refused = True
            logger.warning("%s: %s; answered with 422, and not logged again", self, found)
        return found

    def short_for(self, feed: Mapping[str, NDArray[Any]], bits: int) -> InferenceSession | None:
        """The session of a shorter graph that runs `feed` and has the outputs of `bits`, if there is one."""
        if self.short is self.without_logsumexp or ("mask" in feed and self.metadata.masks_first):
            return None
        short = self.session if bits & LOGSUMEXP_BIT else self.without_logsumexp
        if (
            bits == JUST_BITS
            and self.short is not self.session
            and (self.takes_temperature or "temperature" not in feed)
        ):
            short = self.short
        return None if short is self.session else short

    def run_short(
        self, short: InferenceSession, names: tuple[str, ...], feed: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        """The outputs `names`, by a session that takes rows of an even width where their width is open."""
        options = self.options_for(feed)
        k = feed["logits"].shape[-1] if self.widens else 0
        if k % PACKET == 0:
            return run_session(short, names, feed, options)
        answers = run_session(short, names, {**feed, "logits": pad_width(feed["logits"])}, options)
        return [np.ascontiguousarray(values[:, :k]) for values in answers]

    def options_for(self, feed: Mapping[str, NDArray[Any]]) -> RunOptions:
        """Those of a run of this size."""
        large = max([values.size for values in feed.values()]) > LARGE_RUN
        return self.large_run_options if large else self.run_options

    def stop(self, why: str) -> None:
        """Run no more; what runs ends before its next node, unless a node is what never ends."""
        self.stopped = why
        self.run_options.terminate = self.large_run_options.terminate = True

    def cost_s(self, n_numbers: int) -> float:
        """What a run over `n_numbers` input numbers is expected to take, seconds, as measured at warm-up."""
        return self.seconds_per_run + self.seconds_per_number * n_numbers
