"""Changes to a graph that somebody else made: rename, put nodes behind, drop what nobody uses."""

from collections.abc import Collection, Iterator, Mapping

from onnx import AttributeProto, GraphProto, NodeProto

from service.heads.graph import Graph


def rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Rename tensors wherever they stand, sub-graphs included; a new name must be new everywhere.

    `onnx.compose.add_prefix` leaves a sub-graph's uses of an outer initializer behind.
    """
    for entry in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        entry.name = names.get(entry.name, entry.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    for node in graph.node:
        for places in (node.input, node.output):
            places[:] = [names.get(name, name) for name in places]
        for inner in subgraphs(node):
            rename(inner, names)


def extend(graph: GraphProto, head: Graph) -> None:
    """Put the nodes and the inputs of `head` into the graph; its outputs become the graph's only ones."""
    graph.node.extend(head.nodes)
    graph.initializer.extend(head.initializers.values())
    graph.input.extend(head.inputs)
    del graph.output[:]
    graph.output.extend(head.outputs)
    prune(graph)


def prune(graph: GraphProto) -> None:
    """Drop the nodes and the weights that no output needs: ONNX Runtime would run them all the same."""
    needed = {entry.name for entry in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(uses(node))
            kept.append(node)
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)
    known = [entry for entry in graph.value_info if entry.name in needed]
    del graph.value_info[:]
    graph.value_info.extend(known)


def keep_outputs(graph: GraphProto, names: Collection[str]) -> None:
    """Drop the other outputs, and the nodes, the weights and the inputs that they alone need."""
    kept = [entry for entry in graph.output if entry.name in names]
    del graph.output[:]
    graph.output.extend(kept)
    prune(graph)
    drop_unused_inputs(graph)


def bypass(graph: GraphProto, passing: Mapping[str, int]) -> None:
    """Take out nodes that change nothing: `passing` has a node's output, and which of its inputs that output equals.

    The two become one tensor, by the name of the graph's output where it is one.
    """
    outputs = {entry.name for entry in graph.output}
    for node in [node for node in graph.node if node.output[0] in passing]:
        made, read = node.output[0], node.input[passing[node.output[0]]]
        graph.node.remove(node)
        rename(graph, {read: made} if made in outputs else {made: read})


def drop_unused_inputs(graph: GraphProto) -> None:
    """Drop the inputs that no node reads."""
    needed = {name for node in graph.node for name in uses(node)}
    drop_inputs(graph, {entry.name for entry in graph.input} - needed)


def producers(graph: GraphProto) -> dict[str, NodeProto]:
    """The node that makes each tensor."""
    return {name: node for node in graph.node for name in node.output}


def drop_inputs(graph: GraphProto, names: set[str]) -> None:
    """Drop inputs by name."""
    kept = [entry for entry in graph.input if entry.name not in names]
    del graph.input[:]
    graph.input.extend(kept)


def uses(node: NodeProto) -> Iterator[str]:
    """The names that a node reads, its sub-graphs included."""
    yield from node.input
    for inner in subgraphs(node):
        yield from (entry.name for entry in inner.output)
        for child in inner.node:
            yield from uses(child)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The branches and bodies in a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def first_line(error: Exception) -> str:
    """What onnx says, without the stack that it puts behind."""
    return str(error).strip().partition("\n")[0]
