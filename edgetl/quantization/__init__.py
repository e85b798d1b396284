"""The int8 engine: float ONNX in, int8 ONNX out. No torch."""

import edgetl.runtime  # noqa: F401  telemetry off before any module here imports onnxruntime.quantization
