"""From any float classifier to the graph that is quantized: one form for what exporters write in many.

Constants folded and BatchNorm merged into Conv (onnxruntime's basic level, whatever the CPU), spatial means as
GlobalAveragePool, HardSwish as one operator, every node named, every type known.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime as ort
from onnx import TensorProto

from edgetl.core.errors import InputError
from edgetl.quantization.graph.layers import WEIGHTED, inferred, without
from edgetl.quantization.graph.names import named, with_own_names
from edgetl.quantization.prepare.forms import full_pads, own_constants, plain_gemms, refuse_unholdable, scalar_bounds
from edgetl.quantization.prepare.rewrite import hard_swish, own_biases, spatial_means
from edgetl.runtime.engine import FATAL_ONLY, in_file
from edgetl.runtime.foreign.graph import nodes_in
from edgetl.runtime.foreign.refusals import refuse_changing_answers
from edgetl.runtime.loading import brief, load_proto, opset, refuse_external_data
from edgetl.runtime.onnx_metadata import clean

OLDEST_OPSET = 13  # the first whose QuantizeLinear knows channels
NEWEST_OPSET = 25  # the last whose QuantizeLinear and DequantizeLinear onnxruntime 1.32 has kernels for
OLDEST_IR, NEWEST_IR = 8, 10  # below 4, weights were inputs; above 10, older runtimes do not read the file
QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"})


def prepare(path: Path) -> onnx.ModelProto:
    """The graph of the float model at `path`, ready to be observed and quantized; same inputs, same outputs.

    Raises:
        InputError: no ONNX, quantized already, nothing in it that int8 would help, or an opset or operator that
            cannot be converted.
    """
    model = with_own_names(optimized(upgraded(_loaded(path), path), path))
    for rewrite in (full_pads, scalar_bounds, plain_gemms, own_constants, own_biases, hard_swish, spatial_means):
        model = rewrite(typed(model))
    refuse_unholdable(model, path.name)  # what is folded, too
    return named(typed(model))


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
            raise InputError(f"expected a model that onnxruntime {ort.__version__} runs, it refused {path.name}: {brief(error)}") from error
        result = onnx.load(target)
    del result.metadata_props[:]
    result.metadata_props.extend(props)
    return with_opsets_used(_without_weights_as_inputs(result))


def with_opsets_used(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that imports only the operator sets it uses, at an IR version that its readers know."""
    used = {node.domain for node in model.graph.node} | {""}
    trimmed = onnx.ModelProto()
    trimmed.CopyFrom(model)
    del trimmed.opset_import[:]
    trimmed.opset_import.extend(sorted((item for item in model.opset_import if item.domain in used), key=lambda item: item.domain))
    trimmed.ir_version = min(max(model.ir_version, OLDEST_IR), NEWEST_IR)
    return trimmed


def typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which the types and shapes of all values are written down, as far as they can be inferred."""
    return inferred(model)


def float_values(model: onnx.ModelProto) -> dict[str, int | None]:
    """Float32 inputs, outputs and intermediate values of a typed graph, by name: their rank, None where unknown."""
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    stored = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: len(value.type.tensor_type.shape.dim) if value.type.tensor_type.HasField("shape") else None
        for value in values
        if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in stored
    }


def _without_weights_as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    result = without(model, "input")
    result.graph.input.extend(inputs)
    return result


def _refuse_hopeless(model: onnx.ModelProto, path: Path) -> None:
    kinds = {node.op_type for node in model.graph.node} | {node.op_type for function in model.functions for node in function.node}
    if found := sorted(kinds & QUANTIZED):
        what = f"{path.name} quantized already ({', '.join(found)})"
        raise InputError(f"expected a float model, found {what}: give the model it was made from")
    if not kinds & WEIGHTED:
        only = ", ".join(sorted(kinds))
        raise InputError(f"expected {path.name} to contain Conv, Gemm or MatMul, found only {only}: nothing to quantize")
