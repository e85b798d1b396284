"""edgetl: from a folder of labelled photos to a verified int8 ONNX classifier."""
