"""From a QDQ graph to the one that is written: as onnxruntime's kernels run it fastest, in the fewest bytes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edgetl.quantization.graph.passes import Pass, run
from edgetl.quantization.layout.channels_last_adds import CHANNELS_LAST_ADDS
from edgetl.quantization.layout.clean_file import CLEAN_FILE
from edgetl.quantization.layout.compact import COMPACT
from edgetl.quantization.layout.exact_adds import EXACT_ADDS
from edgetl.quantization.layout.float_layers import FLOAT_LAYERS
from edgetl.quantization.layout.folded_pixel_codes import FOLDED_PIXEL_CODES
from edgetl.quantization.layout.padded_codes import PADDED_CODES
from edgetl.quantization.layout.public_names import public_names
from edgetl.quantization.layout.short_names import SHORT_NAMES
from edgetl.quantization.layout.space_to_depth import SPACE_TO_DEPTH
from edgetl.quantization.layout.strided_shortcut import STRIDED_SHORTCUT
from edgetl.quantization.layout.unread_nodes import UNREAD_NODES
from edgetl.quantization.layout.used_opsets import USED_OPSETS
from edgetl.quantization.layout.without_pixel_map import WITHOUT_PIXEL_MAP
from edgetl.settings import Target

FOR_PIXELS: tuple[Pass, ...] = (WITHOUT_PIXEL_MAP, FOLDED_PIXEL_CODES)
FOR_KERNELS: tuple[Pass, ...] = (
    EXACT_ADDS,
    *FOR_PIXELS,
    PADDED_CODES,
    UNREAD_NODES,
    CHANNELS_LAST_ADDS,
    STRIDED_SHORTCUT,
    SPACE_TO_DEPTH,
    FLOAT_LAYERS,
)


def passes(inputs: Sequence[str], outputs: Sequence[str]) -> tuple[Pass, ...]:
    """The passes in their order, for a file whose inputs and outputs have these names."""
    return (*FOR_KERNELS, CLEAN_FILE, public_names(inputs, outputs), USED_OPSETS, COMPACT, SHORT_NAMES)


def lay_out(
    model: onnx.ModelProto, target: Target, inputs: Sequence[str], outputs: Sequence[str], *, keep_names: bool = False
) -> onnx.ModelProto:
    """A QDQ graph as it is written for `target`, its inputs and outputs with these names, all else with long names or short ones."""
    return run([each for each in passes(inputs, outputs) if not (keep_names and each is SHORT_NAMES)], model, target)
