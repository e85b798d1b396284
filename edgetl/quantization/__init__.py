"""The int8 engine: a float ONNX graph and calibration images in, an int8 graph out.

In the order in which it uses them:

| what for | modules |
|---|---|
| one form of what exporters write in many | `prepare`, `rewrite` |
| what calibration images show | `observers`, `heldout`, `ranges` |
| the int8 graph | `qdq`, `layers`, `weights`, `saturation`, `targets`, `compact` |
| tried, judged, kept or not | `starting`, `equalization`, `trials` |
| what is said of the result | `reported`, `evidence` |
| the graph in torch | `simulation`, `operators`, `rounding`, `tune`, `attribution`, `noise` |
| layers in float, for a budget | `mixed`, `search`, `judging` |
| the engine in one call | `api` |
"""

import edgetl.runtime  # noqa: F401  telemetry off before any module here imports onnxruntime.quantization
