"""From a torch checkpoint to a checked float ONNX graph."""
