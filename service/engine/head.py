"""A head in memory: an ONNX Runtime session, checked and warm. The only importer of onnxruntime."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.engine.binding import run_with_binding
from service.engine.bound import Bound
from service.engine.feed import build_feed, pad_width
from service.engine.probe import STEPS, fastest_s, make_probe
from service.engine.reading import NEEDED, read_signature
from service.engine.refusal import ValueRefused, run_error
from service.engine.rows import PACKET, Runnable
from service.engine.session import AGAIN, PROVIDERS, RunOptions, open_session, open_short, run_options
from service.engine.single import Row
from service.errors import HeadError, InvalidValue, RunFailed
from service.families.outputs import GRAPH_OUTPUTS, OF_MEMBERS, graph_bits, graph_outputs
from service.metadata import SHORT_KEY, Metadata
from service.telemetry.tally import SILENCE, Tally

logger = logging.getLogger(__name__)

JUST: Final = ("probabilities",)
JUST_BITS: Final = graph_bits(JUST)
N_PROBE_CLASSES: Final = 16
N_PROBE_ROWS: Final = 64
LARGE_RUN: Final = 2**20  # numbers; the memory of larger runs is given back, which costs time, that of others is kept
MAX_BOUND: Final = 64  # widths
ALL_OUTPUTS: Final = sum(1 << i for i, name in enumerate(GRAPH_OUTPUTS) if name in NEEDED)


class Head:
    """One head file, ready to run.

    Attributes:
        metadata: what the file says of itself.
        signature: what a request brings, and what can be asked of it.
        provider: `cpu` or `cuda`, where it really runs.
        tally: where its runs are counted.
    """

    tally: Tally = SILENCE
    has_refused = False

    def __init__(
        self, path: Path, *, provider: str = "cpu", intra_op_threads: int = 1, content: bytes | None = None
    ) -> None:
        """Load, check and warm up; `content` is the file's where it is not written yet.

        Raises:
            HeadError: the file is not a head that can be served; the sentence says what to do.
            CannotStart: the provider was asked for and not given.
        """
        self.path = path
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
        # most requests want probabilities alone, and every node would run for them
        self.short = self.session
        self.widens = False
        if self.signature.takes == "logits" and self.provider == "cpu" and SHORT_KEY in props:
            self.widens = self.signature.inputs.get("logits", (np.float32, (0,)))[1][-1] is None
            self.short = open_short(path, props[SHORT_KEY], intra_op_threads)
        # a short graph without the input answers at the fitted temperature alone
        given = (entry.name for entry in self.short.get_overridable_initializers())
        self.takes_temperature = self.short is self.session or "temperature" in given
        self.bound: dict[int, Bound] = {}  # by K
        self.run_options, self.large_run_options = run_options(), run_options()
        self.large_run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self.seconds_per_run, self.seconds_per_number = self.warm_up()
        self.warm = True

    def __repr__(self) -> str:
        return f"<Head {self.path} K={self.signature.classes or 'any'} T={self.temperature:g} on {self.provider}>"

    def run(self, feed: Mapping[str, NDArray[Any]], bits: int) -> dict[str, NDArray[Any]]:
        """Run `feed` (name to `[N, ...]`) and return the graph outputs of `bits`, each `[N, ...]`.

        Raises:
            RunFailed: ONNX Runtime refused.
        """
        names = graph_outputs(bits)
        try:
            if names == JUST and self.is_for_short(feed):
                return {"probabilities": self.run_short(feed)}
            if self.provider == "cpu" or self.has_strings:
                outputs = self.session.run(names, feed, self.options_for(feed))
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
                bound = self.bound[k] = Bound(
                    self.short, k, k + (-k % PACKET if self.widens else 0), takes_temperature=self.takes_temperature
                )
            return bound.run(rows, self.temperature)
        except Exception as error:  # onnxruntime's exceptions share no root
            raise self.refuse(error) from error

    def refuse(self, error: Exception) -> InvalidValue | RunFailed:
        """The error for a run that ONNX Runtime refused; the client's is logged once, as it can be repeated at will."""
        found = run_error(error, takes_inputs=self.signature.takes == "inputs", may_quote=not self.has_strings)
        if isinstance(found, ValueRefused) and self.warm and not self.has_refused:
            self.has_refused = True
            logger.warning("%s: %s; answered with 422, and not logged again", self.path, found)
        return found

    def is_for_short(self, feed: Mapping[str, NDArray[Any]]) -> bool:
        """Whether the session for probabilities alone can run `feed`."""
        return (
            self.short is not self.session
            and not ("mask" in feed and self.metadata.masks_first)
            and (self.takes_temperature or "temperature" not in feed)
        )

    def run_short(self, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The probabilities, `[N, K]`, by the session that has nothing else."""
        options = self.options_for(feed)
        k = feed["logits"].shape[-1] if self.widens else 0
        if k % PACKET:
            feed = {**feed, "logits": pad_width(feed["logits"])}
        (probabilities,) = self.short.run(JUST, feed, options)
        return np.ascontiguousarray(probabilities[:, :k]) if k % PACKET else np.asarray(probabilities)

    def options_for(self, feed: Mapping[str, NDArray[Any]]) -> RunOptions:
        """Those of a run of this size."""
        large = max([values.size for values in feed.values()]) > LARGE_RUN
        return self.large_run_options if large else self.run_options

    def cost_s(self, n_numbers: int) -> float:
        """What a run over `n_numbers` input numbers is expected to take, seconds, as measured at warm-up."""
        return self.seconds_per_run + self.seconds_per_number * n_numbers

    def probe(self, n: int, open_size: int) -> dict[str, NDArray[Any]]:
        """Made-up inputs: `n` rows, `open_size` classes where their number is open; a classifier has its own size."""
        size = open_size if self.signature.takes == "logits" else self.open_size
        return make_probe(self.signature.inputs, n, size, self.metadata.example)

    def warm_up(self) -> tuple[float, float]:
        """Run one and two rows, which a fixed batch dimension does not survive, and time small and large runs.

        Returns:
            Seconds a run, and seconds a number of input on top.
        """
        self.find_open_size()
        for n in (1, 2):
            self.check_run(n)
        if self.short is not self.session:
            self.check_short()
        small, large = self.probe(1, N_PROBE_CLASSES), self.probe(N_PROBE_ROWS, N_PROBE_CLASSES**2)
        seconds = [fastest_s(partial(self.run, feed, 1)) for feed in (small, large)]
        numbers = [sum(values.size for values in feed.values()) for feed in (small, large)]
        slope = max(0.0, (seconds[1] - seconds[0]) / (numbers[1] - numbers[0]))
        return max(0.0, seconds[0] - slope * numbers[0]), slope

    def find_open_size(self) -> None:
        """Take the first size for a classifier's open dimensions that it runs on; the first of all where none is."""
        is_open = any(None in shape for _, shape in self.signature.inputs.values())
        for size in STEPS if is_open and self.signature.takes == "inputs" else ():
            self.open_size = size
            try:
                self.run(self.probe(1, size), JUST_BITS)
            except (InvalidValue, RunFailed):
                self.open_size = STEPS[0]
            else:
                return

    def check_run(self, n: int) -> None:
        """One run of `n` rows that must answer `n` rows of every output."""
        again = "export it again with a dynamic first dimension"
        try:
            outputs = self.run(
                self.probe(n, N_PROBE_CLASSES),
                ALL_OUTPUTS | self.signature.bits((OF_MEMBERS,) * self.signature.averages),
            )
        except (InvalidValue, RunFailed) as error:
            fixed = [i.shape[0] for i in self.session.get_inputs() if isinstance(i.shape[0], int) and i.shape[0] != n]
            why = f"its batch dimension is fixed at {fixed[0]}" if fixed else str(error.__cause__).splitlines()[0]
            raise HeadError(f"{self.path} cannot run {n} row{'s' * (n > 1)}, {why}: {again}") from error
        for name, values in outputs.items():
            if len(values) != n:
                raise HeadError(f"{self.path} answers {len(values)} rows of {name} for {n} rows of input: {again}")

    def check_short(self) -> None:
        """A run by the short graph that must answer what the whole one does."""
        feed = self.probe(2, N_PROBE_CLASSES) | (
            {"temperature": np.full((2, 1), 2.0)} if self.takes_temperature else {}
        )
        whole = self.run(feed, ALL_OUTPUTS)["probabilities"]
        try:
            found = self.run(feed, JUST_BITS)["probabilities"]
        except RunFailed as error:
            raise HeadError(f"{self.path} has a short graph that cannot run: {AGAIN}") from error
        if found.shape != whole.shape or not np.allclose(found, whole, rtol=0, atol=1e-6):
            raise HeadError(f"{self.path} has a short graph with other probabilities than its whole one: {AGAIN}")
