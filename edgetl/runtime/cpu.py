"""The CPU that this process runs on: its name, and whether its int8 arithmetic saturates. Asked by running, not by reading flags."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from edgetl.runtime.engine import start

LARGEST_U8, LARGEST_S8, TERMS = 255, 127, 16
PROBE_ROWS = 4  # a single one has a kernel of its own


@cache
def saturates_here() -> bool:
    """Whether onnxruntime's sums of uint8 times int8 saturate on this CPU, as VPMADDUBSW of x86 without VNNI does (Intel SDM, volume 2)."""
    inputs = [
        helper.make_tensor_value_info("a", TensorProto.UINT8, [PROBE_ROWS, TERMS]),
        helper.make_tensor_value_info("b", TensorProto.INT8, [TERMS, TERMS]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.INT32, [PROBE_ROWS, TERMS])
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "largest sums", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    given = {"a": np.full((PROBE_ROWS, TERMS), LARGEST_U8, np.uint8), "b": np.full((TERMS, TERMS), LARGEST_S8, np.int8)}
    (found,) = start(model.SerializeToString()).run(None, given)
    return bool((found != LARGEST_U8 * LARGEST_S8 * TERMS).any())


@cache
def cpu_name() -> str:
    """The CPU's name as its maker gives it; the kind of machine where none is known."""
    return _on_linux() or _on_macos() or platform.processor() or platform.machine()


def _on_linux() -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), None)


def _on_macos() -> str | None:
    if platform.system() != "Darwin":
        return None
    asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or None
