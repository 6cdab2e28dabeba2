"""IO binding: ONNX Runtime reads and writes arrays where they are, with no copy but to and from a device."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def bind(how: Any, name: str, values: NDArray[Any]) -> None:
    """Bind an input or an output to an array, which must live as long.

    By its address: `bind_cpu_input` does not know inputs with a default.
    """
    how(name, "cpu", 0, values.dtype.type, values.shape, values.__array_interface__["data"][0])


def run_with_binding(
    session: Any, names: tuple[str, ...], feed: Mapping[str, NDArray[Any]], options: Any
) -> list[NDArray[Any]]:
    """The outputs `names` of a session for `feed`: one copy to the device, one back, none between the nodes."""
    binding = session.io_binding()
    given = {name: np.ascontiguousarray(values) for name, values in feed.items()}
    for name, values in given.items():
        bind(binding.bind_input, name, values)
    for name in names:
        binding.bind_output(name, "cpu")
    session.run_with_iobinding(binding, options)
    outputs: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
    return outputs
