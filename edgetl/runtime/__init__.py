"""onnxruntime sessions without telemetry; latency and memory."""

import os

# onnxruntime's official builds write telemetry under the home folder unless this is set before their first import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
