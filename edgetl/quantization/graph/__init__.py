"""ONNX graphs: values, layers, names, operators that have int8 kernels."""
