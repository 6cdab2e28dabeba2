"""Rows of an even width: what makes a row's answer bitwise the same alone and in any batch.

ONNX Runtime takes Exp over the flattened tensor in packets of `PACKET` numbers and the rest one by one, which
differs in the last bit. Where the width of a row is a multiple of `PACKET` there is no rest.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from service.engine.rows import PACKET
from service.heads.graph import Dim, Graph, ints, scalar


class Width:
    """Pads the class axis, the last, of tensors [n, k] to a multiple of `PACKET`, and crops what comes out.

    No node is added where `k` is fixed and a multiple already. `like` names a tensor [..., k]: where `k` is a
    symbol, its width is read while running.
    """

    def __init__(self, graph: Graph, like: str, k: Dim) -> None:
        self._graph = graph
        self._k = k
        self._fits = isinstance(k, int) and k % PACKET == 0
        if self._fits:
            return
        self._last = graph.constant("last", ints(-1))
        if isinstance(k, int):
            self._end, self._pads = graph.constant("k", ints(k)), graph.constant("pads", ints(0, -k % PACKET))
        else:
            self._end = graph.add("Shape", like, name="k", start=-1)
            # (k mod 1, k mod 2) is 0 before and what an odd k lacks behind; a larger packet would need -k
            self._pads = graph.add("Mod", self._end, graph.constant("lanes", ints(1, PACKET)), name="pads")

    def pad(self, tensor: str, name: str) -> str:
        """float64 [n, k] in, [n, k rounded up] out: -inf in the new column."""
        if self._fits:
            return tensor
        fill = self._graph.constant("fill", scalar(-np.inf))
        return self._graph.add("Pad", tensor, self._pads, fill, self._last, name=name)

    def crop(self, tensor: str, name: str) -> str:
        """[n, k rounded up] in, [n, k] out."""
        if self._fits:
            return tensor
        start = self._graph.constant("start", ints(0))
        return self._graph.add("Slice", tensor, start, self._end, self._last, name=name)

    def widened(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Parameters for a fixed k, 0 in what is added to each axis of k."""
        return np.pad(values, (0, len(values) % PACKET))

    def output(self, name: str, n: Dim, tensor: str, type_: int = TensorProto.FLOAT) -> None:
        """Make a padded float64 tensor the output `name`, [n, k] of `type_`."""
        shape = [n, self._k]
        if self._fits:
            self._graph.output(name, type_, shape, "Cast", tensor, to=type_)
            return
        if type_ != TensorProto.DOUBLE:  # cast before the copy: half the bytes
            tensor = self._graph.add("Cast", tensor, name=f"{name}_wide", to=type_)
        start = self._graph.constant("start", ints(0))
        self._graph.output(name, type_, shape, "Slice", tensor, start, self._end, self._last)
