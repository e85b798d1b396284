"""ONNX files of other makers, brought into the one form that the rest of edgetl knows."""
