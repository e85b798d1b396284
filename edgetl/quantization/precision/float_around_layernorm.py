"""Networks with layer normalization: only products with weights run in int8.

Normalization, softmax and GELU have no int8 kernels, or none that is exact enough. Between them, Adds, gates, attention's own
products and copies are small, and on codes each pays for two conversions: all in int8, a small vision transformer was as slow as in
float. With floats from one product with weights to the next it takes two thirds of the time, at 18 dB less noise (docs/log.md).
"""

from __future__ import annotations

from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import WEIGHTED

APART = frozenset({"ReduceMean", "Sqrt"})  # a LayerNormalization of an exporter that knows none


def without_weights(index: GraphIndex) -> tuple[str, ...]:
    """Names of the nodes of a prepared graph that stay in float on every CPU; none in a graph without layer normalization."""
    if "LayerNormalization" not in index.kinds and not index.kinds >= APART:
        return ()
    return tuple(node.name for node in index.nodes if node.op_type not in WEIGHTED or not index.constants.keys() & {*node.input})
