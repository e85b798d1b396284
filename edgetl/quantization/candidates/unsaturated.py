"""The answers of an int8 graph without saturation, on any CPU: a target is judged by its own arithmetic, not by this machine's.

On x86 without VNNI onnxruntime multiplies uint8 with int8 by VPMADDUBSW, which saturates in 16 bits (see `saturation`), but uint8 with
uint8 by VPMADDWD, which does not. A weight stored as uint8, codes plus 128 and 128 as the zero point, is the same numbers. So are
the sums of whole numbers, and the answers: bit for bit those of VNNI or of ARM's dot products
(docs/adr/0021-targets-are-judged-exactly.md). It takes up to 2.5 times as long, so it stands in only where the graph itself would saturate.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from edgetl.core.progress import say
from edgetl.quantization.candidates.saturation import saturating
from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import layers
from edgetl.quantization.precision.targets import saturates
from edgetl.runtime.answers import outputs_of
from edgetl.runtime.cpu import cpu_name, saturates_here
from edgetl.runtime.loading import load_proto
from edgetl.runtime.onnx_metadata import TARGET, read_info
from edgetl.runtime.session import InputSource
from edgetl.settings import Target

SHIFT = 128  # from int8 to uint8
SHIFTED = "_uint8"
EXACT_TARGETS = tuple(target for target in get_args(Target) if not saturates(target))  # targets whose weights may be any


def unsaturated(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph with the same answers, whose sums no CPU saturates; the graph itself where none can."""
    risky = saturating(model)
    if not risky:
        return model
    result, stored = onnx.ModelProto(), GraphIndex(model).constants
    result.CopyFrom(model)
    new: dict[str, NDArray[np.uint8]] = {}
    for layer in layers(GraphIndex(result)):
        codes, scale, *zeros = layer.weight.input
        if codes not in risky:
            continue
        zero = stored[zeros[0]] if zeros and zeros[0] else np.zeros_like(stored[scale], np.int8)
        for name, values in ((codes, stored[codes]), (f"{codes}_zero", zero)):
            new[name + SHIFTED] = (values.astype(np.int16) + SHIFT).astype(np.uint8)
        del layer.weight.input[:]
        layer.weight.input.extend([codes + SHIFTED, scale, f"{codes}_zero{SHIFTED}"])
    return with_nodes(result, result.graph.node, new)


def graph_to_judge(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph that is run to judge `model`: itself wherever this CPU does not saturate it."""
    return unsaturated(model) if saturates_here() else model


@contextmanager
def judged_file(path: Path) -> Iterator[Path]:
    """The file that is run to judge the one at `path`, of the same name; itself wherever this CPU does not saturate it."""
    if not saturates_here() or (made := unsaturated(model := load_proto(path))) is model:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        file = Path(folder) / path.name
        file.write_bytes(made.SerializeToString())
        yield file


def judged_outputs(
    path: Path, source: InputSource, *, batch_size: int, threads: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """As `runtime.answers.outputs_of`, computed without saturation.

    Raises:
        InputError: as `runtime.answers.outputs_of`.
    """
    with judged_file(path) as file:
        return outputs_of(file, source, batch_size=batch_size, threads=threads)


def made_for_others(path: Path) -> bool:
    """Whether edgetl made an int8 file for a target without saturation, and this CPU saturates."""
    return saturates_here() and read_info(path).extra.get(TARGET) in EXACT_TARGETS and bool(saturating(load_proto(path)))


def saturation_notes(files: Mapping[str, Path]) -> tuple[str, ...]:
    """A note on each of these files whose sums saturate on this CPU; the keys of `files` are the names in the notes."""
    if not saturates_here():
        return ()
    return tuple(note for name, path in files.items() if (note := _note(name, path)) is not None)


def _note(name: str, path: Path) -> str | None:
    layers_hit = len(saturating(load_proto(path)))
    if not layers_hit:
        return None
    here = f"{name}: on this CPU ({cpu_name()}) sums of {layers_hit} int8 layers can saturate"
    if not made_for_others(path):
        return f"{here}, so it may answer otherwise on other CPUs. A file for the target portable answers the same on all"
    target = read_info(path).extra[TARGET]
    return f"{here}. It is made for {target}, so it is judged by exact arithmetic, as {target} answers; only its latency is this CPU's"


def tell_if_saturated(target: Target) -> None:
    """Report that this CPU saturates, if `target` does not."""
    if target in EXACT_TARGETS and saturates_here():
        say(
            f"quantize: int8 sums saturate on this CPU ({cpu_name()}), but not on the target {target}. edgetl therefore judges with exact "
            f"arithmetic, as on {target}. The answers and the latency of the file on this CPU are not those on {target}"
        )
