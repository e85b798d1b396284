"""model.ort and model.image.ort: what minimal builds of onnxruntime load, and the list of operators to build them with.

As onnxruntime's own converter makes them with optimization style Fixed (onnxruntime.ai, "ORT format models"):
all optimizations but NCHWc, which would tie the file to one kind of CPU; the converter itself imports torch. They take one image at a time.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
import onnxruntime as ort

from edgetl.bundle.image_graph import IMAGE_MODEL, MODEL, without_seen
from edgetl.bundle.ort_bytes import in_order
from edgetl.core.errors import InputError
from edgetl.core.files import write_whole
from edgetl.runtime.loading import brief, load_proto
from edgetl.runtime.plain_file import with_batch_of_one

CONFIG = "required_operators_and_types.config"
FORMS: Mapping[str, str] = {MODEL: "model.ort", IMAGE_MODEL: "model.image.ort"}
QUIET = 4
TYPES = {1: "float", 2: "uint8_t", 3: "int8_t", 6: "int32_t", 7: "int64_t", 9: "bool", 11: "double"}
# Which types of an operator a reduced build keeps, as onnxruntime's tools/ort_format_model/operator_type_usage_processors.py has it.
BY_INPUT = frozenset(
    {
        *("Abs", "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "DequantizeLinear", "Div", "Exp", "Floor", "Gemm"),
        *("MatMul", "Max", "MaxPool", "Min", "Mul", "Pad", "QLinearAdd", "QLinearConv", "QLinearMatMul", "QLinearMul", "ReduceMean"),
        *("ReduceSum", "Relu", "Round", "Sigmoid", "Softmax", "Split", "Sub", "Tanh", "Transpose"),
    }
)
KEEPS_TYPE = BY_INPUT - {"DequantizeLinear"} | {
    "Flatten",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "Reshape",
    "Squeeze",
}
BY_OUTPUT = frozenset({"QuantizeLinear"})
MODIFIES_BOTH = frozenset({"Cast"})


def write_ort_forms(folder: Path) -> None:
    """Write both forms and the list of operators beside model.onnx and model.image.onnx in `folder`; the same graphs give the same bytes.

    Raises:
        InputError: onnxruntime does not convert a graph.
    """
    needed: list[onnx.ModelProto] = []
    for source, name in FORMS.items():
        with tempfile.TemporaryDirectory(prefix="edgetl-") as place:
            single = without_seen(with_batch_of_one(load_proto(folder / source))).SerializeToString(deterministic=True)
            write_whole(folder / name, in_order(_optimized(single, Path(place) / name, "ORT").read_bytes()))
            needed.append(load_proto(_optimized(single, Path(place) / source, "ONNX")))
    write_whole(folder / CONFIG, config(needed))


def _optimized(model: bytes, path: Path, form: str) -> Path:
    """The graph as onnxruntime optimizes it, at `path`."""
    options = ort.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = QUIET, str(path)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.save_model_format", form)
    try:
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], disabled_optimizers=["NchwcTransformer"])
    except Exception as error:  # onnxruntime's errors derive from Exception and share no base of their own
        raise InputError(f"expected a graph that onnxruntime can save as {path.name}, found that it cannot: {brief(error)}") from error
    return path


def config(models: Iterable[onnx.ModelProto]) -> str:
    """Operators and types of optimized graphs as `--include_ops_by_config` of onnxruntime's build.py reads them, a line for each opset."""
    lines: dict[tuple[str, int], dict[str, dict[str, set[str]]]] = {}
    for model in models:
        opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
        kinds = _types(model)
        for node in model.graph.node:
            domain = node.domain or "ai.onnx"
            used = lines.setdefault((domain, _since(node, opsets.get(domain, 1))), {}).setdefault(node.op_type, {})
            for side, name in _typed(node):
                used.setdefault(side, set()).add(TYPES.get(kinds.get(name, 0), ""))
    rows = [f"{domain};{since};{','.join(map(_entry, sorted(names.items())))}" for (domain, since), names in sorted(lines.items())]
    return "\n".join(["# Operators and types of model.ort and model.image.ort", *rows, ""])


def _since(node: onnx.NodeProto, opset: int) -> int:
    """The opset since when the operator is as it is here; 1 of onnxruntime's own."""
    if node.domain not in ("", "ai.onnx"):
        return 1
    return int(onnx.defs.get_schema(node.op_type, opset, "").since_version)


def _typed(node: onnx.NodeProto) -> list[tuple[str, str]]:
    """Whose types count: ("inputs" or "outputs", name of the value)."""
    found = [("inputs", node.input[0])] if node.op_type in BY_INPUT | MODIFIES_BOTH else []
    return found + ([("outputs", node.output[0])] if node.op_type in BY_OUTPUT | MODIFIES_BOTH else [])


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Element types of values, by name, as far as they are known: onnxruntime writes none between operators."""
    known = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    known |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        match node.op_type:
            case "QuantizeLinear":
                kind = known.get(node.input[2]) if len(node.input) > 2 else onnx.TensorProto.UINT8
            case "DequantizeLinear" | "QGemm":
                kind = onnx.TensorProto.FLOAT if node.op_type == "DequantizeLinear" or len(node.input) < 9 else known.get(node.input[0])
            case "Cast":
                kind = next(item.i for item in node.attribute if item.name == "to")
            case "QLinearConcat":
                kind = known.get(node.input[2])
            case name if name in KEEPS_TYPE or name.startswith(("QLinear", "Nhwc", "Fused")):
                kind = known.get(node.input[0])
            case _:
                kind = None
        if kind is not None:
            known |= {name: known.get(name, kind) for name in node.output}
    return known


def _entry(operator: tuple[str, Mapping[str, set[str]]]) -> str:
    name, sides = operator
    if not sides or any("" in kinds for kinds in sides.values()):  # no type: all of them
        return name
    listed = {side: {"0": sorted(kinds)} for side, kinds in sorted(sides.items())}
    return name + json.dumps(listed)
