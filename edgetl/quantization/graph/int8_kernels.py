"""Which operators onnxruntime runs in int8, and which of a QDQ graph do."""

from __future__ import annotations

import onnx

from edgetl.quantization.graph.layers import WEIGHTED

# Operators with int8 kernels on onnxruntime's CPU provider, and those that hand codes on as they are. Softmax stays in
# float: its largest outputs, which decide, would share the top codes.
INT8_OPS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Mul",
    "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
JOINING = frozenset({"Add", "Concat", "Mul"})  # of all their inputs
FLOAT_OUTPUT = frozenset({"Gemm", "MatMul"})  # their int8 kernels can give float


def on_codes(model: onnx.ModelProto) -> dict[int, bool]:
    """Position of each operator of a QDQ graph -> whether onnxruntime can run it on int8 codes; pairs are left out.

    That needs a kernel, an input (of a product, sum or Concat, all) that was dequantized, and a quantized output, which Gemm and
    MatMul can do without.
    """
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    quantized = {name for node in model.graph.node if node.op_type == "QuantizeLinear" for name in node.input[:1]}
    found: dict[int, bool] = {}
    for index, node in enumerate(model.graph.node):
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            read = node.input if node.op_type in JOINING else node.input[: 2 if node.op_type in WEIGHTED else 1]
            reads = node.op_type in INT8_OPS and all(makers.get(name) == "DequantizeLinear" for name in read)
            found[index] = reads and (node.op_type in FLOAT_OUTPUT or quantized.issuperset(node.output))
    return found
