"""Notes of exporters, taken out: doc strings, and metadata of nodes, values and graphs. The model's own metadata stays."""

from __future__ import annotations

from edgetl.quantization.graph.passes import Pass
from edgetl.runtime.onnx_metadata import clean

CLEAN_FILE = Pass(name="clean file", rewrite=lambda index: clean(index.model), keeps="same bits")
