"""Which operators onnxruntime runs in int8, and which of a QDQ graph do."""

from __future__ import annotations

from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import WEIGHTED

# Operators with int8 kernels on onnxruntime's CPU provider, and those that hand codes on as they are. Softmax stays in
# float: its largest outputs, which decide, would share the top codes.
INT8_OPS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Mul",
    "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
JOINING = frozenset({"Add", "Concat", "Mul"})  # of all their inputs
FLOAT_OUTPUT = frozenset({"Gemm", "MatMul"})  # their int8 kernels can give float


def runs_on_codes(index: GraphIndex) -> dict[int, bool]:
    """Position of each operator of a QDQ graph -> whether onnxruntime can run it on int8 codes; pairs are left out.

    That needs a kernel, an input (of a product, sum or Concat, all) that was dequantized, and a quantized output, which Gemm and
    MatMul can do without.
    """
    found: dict[int, bool] = {}
    for position, node in enumerate(index.nodes):
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            read = node.input if node.op_type in JOINING else node.input[: 2 if node.op_type in WEIGHTED else 1]
            reads = node.op_type in INT8_OPS and all(index.producer(name, "DequantizeLinear") is not None for name in read)
            found[position] = reads and (node.op_type in FLOAT_OUTPUT or index.quantizers.keys() >= {*node.output})
    return found
