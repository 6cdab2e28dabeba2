"""One row at a time through a session, without a feed: its numbers are put where ONNX Runtime will read them.

Half the time of an ordinary run of one row goes into arrays that come and go.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.binding import bind
from service.engine.rows import with_minus_infinity
from service.engine.session import unwrap_binding
from service.engine.single import Row


class Bound:
    """The buffers of one row of K classes, bound to a session once. Use it from one thread."""

    def __init__(self, session: Any, k: int, width: int, options: Any, *, takes_temperature: bool) -> None:
        """For rows of `k` logits, in tensors of `width`, run with `options`; what is wider stays -inf."""
        logits = np.full((1, width), -np.inf, np.float32)
        temperature = np.ones((1, 1))
        probabilities = np.zeros((1, width), np.float32)
        binding = session.io_binding()
        bind(binding.bind_input, "logits", logits)
        if takes_temperature:
            bind(binding.bind_input, "temperature", temperature)
        bind(binding.bind_output, "probabilities", probabilities)
        self.session, self.binding = unwrap_binding(session, binding)
        self.options = options
        self.logits = logits[0, :k]
        self.bytes: Any = self.logits.data.cast("B")
        self.temperature: Any = temperature[0].data
        self.answers: dict[str, NDArray[Any]] = {"probabilities": probabilities[:, :k]}
        self.held = binding, logits, temperature, probabilities  # ONNX Runtime knows but their addresses

    def run(self, row: Row, temperature: float) -> dict[str, NDArray[Any]]:
        """The probabilities, float32 `[1, K]`, until the next run."""
        self.bytes[:] = row.numbers
        if row.allowed is not None:
            self.logits[:] = with_minus_infinity(self.logits, np.frombuffer(row.allowed, np.bool_))
        self.temperature[0] = temperature if row.temperature is None else row.temperature
        self.session.run_with_iobinding(self.binding, self.options)
        return self.answers
