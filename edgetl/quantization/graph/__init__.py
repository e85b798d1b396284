"""Reading and editing ONNX graphs: an index of values, layers, names, operators with int8 kernels."""
