"""A float model's file, as the passes take it: a known opset, constants folded, BatchNorm merged into Conv.

The last two are onnxruntime's basic level, whatever the CPU.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime as ort

from edgetl.core.errors import InputError
from edgetl.quantization.graph.editing import without
from edgetl.quantization.graph.layers import WEIGHTED
from edgetl.quantization.graph.opsets import with_opsets_used
from edgetl.quantization.prepare.unholdable import refuse_unholdable
from edgetl.runtime.engine import FATAL_ONLY, in_file
from edgetl.runtime.foreign.graph import nodes_in
from edgetl.runtime.foreign.refusals import refuse_changing_answers
from edgetl.runtime.loading import brief, load_proto, opset, refuse_external_data
from edgetl.runtime.onnx_metadata import clean

OLDEST_OPSET = 13  # the first whose QuantizeLinear knows channels
NEWEST_OPSET = 25  # the last whose QuantizeLinear and DequantizeLinear onnxruntime 1.32 has kernels for
QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"})


def read_float_graph(path: Path) -> onnx.ModelProto:
    """The graph at `path`; same inputs, same outputs, the same function up to float rounding.

    Raises:
        InputError: no ONNX, quantized already, nothing in it that int8 would help, weights that int8 cannot hold, or an opset or
            operator that cannot be converted.
    """
    return optimized(upgraded(_loaded(path), path), path)


def _loaded(path: Path) -> onnx.ModelProto:
    """What lies at `path`, without notes."""
    model = load_proto(path)
    refuse_external_data(model, path)
    refuse_changing_answers(model, path.name)
    _refuse_hopeless(model, path)
    refuse_unholdable(model, path.name)
    return clean(model)


def upgraded(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model at an opset that quantizes per channel and has kernels, if it is older or newer.

    Raises:
        InputError: an operator has no form there.
    """
    version = opset(model)
    wanted = min(max(version, OLDEST_OPSET), NEWEST_OPSET)
    if version == wanted:
        return model
    if version > wanted and _means_the_same(model, wanted):
        next(item for item in model.opset_import if item.domain in ("", "ai.onnx") and item.version == version).version = wanted
        return model
    try:
        return onnx.version_converter.convert_version(model, wanted)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"expected {path.name} to have opset {OLDEST_OPSET} to {NEWEST_OPSET}, found {version}, and it cannot be converted: "
            f"{brief(error)}. Export the model again, for example with torch.onnx.export(..., opset_version=20)"
        ) from error


def _means_the_same(model: onnx.ModelProto, version: int) -> bool:
    """Whether no operator of the graph has changed since opset `version`."""
    kinds = {node.op_type for node in nodes_in(model.graph) if node.domain in ("", "ai.onnx")}
    return all(onnx.defs.has(kind) and onnx.defs.get_schema(kind, opset(model), "").since_version <= version for kind in kinds)


def optimized(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """What onnxruntime's basic, hardware-independent optimizations make of it.

    Raises:
        InputError: onnxruntime does not take the model.
    """
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    props = [*model.metadata_props]
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        target = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(target)
        given = in_file(model.SerializeToString(), Path(folder))
        del model  # as large as the file; onnxruntime has copies of its own
        try:
            ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors derive from Exception and share no base of their own
            raise InputError(
                f"expected a model that onnxruntime {ort.__version__} can run, found that it cannot load {path.name}: {brief(error)}"
            ) from error
        result = onnx.load(target)
    del result.metadata_props[:]
    result.metadata_props.extend(props)
    return with_opsets_used(_without_weights_as_inputs(result))


def _without_weights_as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    result = without(model, "input")
    result.graph.input.extend(inputs)
    return result


def _refuse_hopeless(model: onnx.ModelProto, path: Path) -> None:
    kinds = {node.op_type for node in model.graph.node} | {node.op_type for function in model.functions for node in function.node}
    if found := sorted(kinds & QUANTIZED):
        raise InputError(
            f"expected a float model, found that {path.name} is quantized already ({', '.join(found)}). "
            "Give the float model that it was made from"
        )
    if not kinds & WEIGHTED:
        only = ", ".join(sorted(kinds))
        raise InputError(f"expected {path.name} to contain Conv, Gemm or MatMul, found only {only}: nothing to quantize")
