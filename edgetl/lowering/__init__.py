"""Export of a torch checkpoint to a float ONNX graph, with a check."""
