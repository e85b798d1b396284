"""The int8 engine: a float ONNX graph and calibration images in, an int8 graph out.

The rooms, in the order in which they build on each other; a room imports from those above it in this table:

| room | what it does |
|---|---|
| `graph` | reads and edits graphs: one index, the layers, the loop that runs passes |
| `prepare` | passes on float graphs: one form for what exporters write in many |
| `observe` | statistics of activations, ranges, which calibration images fit, choose and report |
| `precision` | what stays in float, and why |
| `candidates` | writes QDQ graphs, and judges the methods that need no gradients |
| `learn` | the methods that need gradients; the only room with torch |
| `layout` | passes on QDQ graphs: as onnxruntime's kernels run them fastest, in the fewest bytes |
| `search` | layers in float for a budget; what is reported of the result |

`record` is what the engine did, for the decision log; `api` the engine in one call.
"""

import edgetl.runtime  # noqa: F401  telemetry off before any module here imports onnxruntime.quantization
