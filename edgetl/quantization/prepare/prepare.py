"""From any float classifier to the graph that is quantized: one form for what exporters write in many."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgetl.quantization.graph.passes import Pass, run
from edgetl.quantization.graph.types import inferred
from edgetl.quantization.prepare.full_pads import FULL_PADS
from edgetl.quantization.prepare.hard_swish import HARD_SWISH
from edgetl.quantization.prepare.node_names import NODE_NAMES
from edgetl.quantization.prepare.own_biases import OWN_BIASES
from edgetl.quantization.prepare.own_constants import OWN_CONSTANTS
from edgetl.quantization.prepare.own_names import OWN_NAMES
from edgetl.quantization.prepare.plain_gemms import PLAIN_GEMMS
from edgetl.quantization.prepare.read import read_float_graph
from edgetl.quantization.prepare.scalar_bounds import SCALAR_BOUNDS
from edgetl.quantization.prepare.spatial_means import SPATIAL_MEANS
from edgetl.quantization.prepare.unholdable import refuse_unholdable

PASSES: tuple[Pass, ...] = (
    OWN_NAMES,
    FULL_PADS,
    SCALAR_BOUNDS,
    PLAIN_GEMMS,
    OWN_CONSTANTS,
    OWN_BIASES,
    HARD_SWISH,
    SPATIAL_MEANS,
    NODE_NAMES,
)


def prepare_graph(path: Path) -> onnx.ModelProto:
    """The graph of the float model at `path`, ready to be observed and quantized.

    Same inputs, same outputs; every node has a name, and every type is written down as far as it is known.

    Raises:
        InputError: as `read_float_graph` does; and weights that int8 cannot hold, once constants are folded.
    """
    model = run(PASSES, read_float_graph(path))
    refuse_unholdable(model, path.name)  # what is folded, too
    return inferred(model)
