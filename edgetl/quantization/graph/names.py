"""Names that the passes and the QDQ writer give, and names of the user's that would be one of them: these give way.

From a value `x`, onnxruntime's writer makes `x_scale`, `x_zero_point`, `x_quantized`, `x_QuantizeLinear_Output` and more; edgetl's passes
have suffixes of their own, and names that begin with `edgetl_`. A file that has such a name already is legal all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

import onnx

from edgetl.runtime.foreign.graph import graphs_in

RESERVED_PREFIX = "edgetl_"
SUFFIXES = (
    "_scale", "_zero_point", "_quantized", "_QuantizeLinear", "_DequantizeLinear",  # of onnxruntime's writer
    "_codes", "_flat", "_held", "_last", "_least", "_of_", "_pooled", "_product", "_shape", "_turned",  # of edgetl's passes
)  # fmt: skip


def fresh(name: str, taken: Set[str]) -> str:
    """`name`, made longer until it is not `taken` and no suffix makes it from another name."""
    while name in taken or may_be_given(name, taken):
        name = f"own_{name}"
    return name


def may_be_given(name: str, names: Set[str]) -> bool:
    """Whether edgetl or the writer may give this name, from one of `names`."""
    if name.startswith(RESERVED_PREFIX):
        return True
    return any(name[:at] in names for suffix in SUFFIXES for at in _places(name, suffix))


def _places(name: str, suffix: str) -> Iterator[int]:
    at = name.find(suffix)
    while at >= 0:
        yield at
        at = name.find(suffix, at + 1)


def value_names(graph: onnx.GraphProto) -> Iterator[str]:
    """The names of all values, those inside branches and bodies too."""
    for part in graphs_in(graph):
        yield from (item.name for item in (*part.input, *part.output, *part.initializer))
        for node in part.node:
            yield from node.input
            yield from node.output


def rename_values(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give values other names, in place."""
    for part in graphs_in(graph) if names else ():
        for item in (*part.input, *part.output, *part.value_info, *part.initializer):
            item.name = names.get(item.name, item.name)
        for node in part.node:
            for fields in (node.input, node.output):
                for index, name in enumerate(fields):
                    fields[index] = names.get(name, name)
