"""`kernels` of `report.json`: where the time of the int8 graph goes."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl.report.numbers import Exact, Share


@dataclass(frozen=True, kw_only=True)
class KernelReport(Exact):
    """A step that onnxruntime runs, by the network's own name; `share` of the model's time."""

    name: str
    kind: str
    share: Share

    @property
    def label(self) -> str:
        """`stages.0.0 (Conv)`, or what onnxruntime calls it where the network's own name is not known."""
        return self.name if self.name.endswith(")") else f"{self.name} ({self.kind})"


@dataclass(frozen=True, kw_only=True)
class KernelsReport(Exact):
    """Where the time of the int8 graph goes after onnxruntime's fusions (`edgetl.runtime.kernels`); shares of the whole.

    Attributes:
        int8: of kernels on codes.
        conversion: of QuantizeLinear and DequantizeLinear.
        floating: of the others.
        float_layers: Conv, Gemm and MatMul that stayed in float.
        islands: conversions within the graph.
    """

    int8: Share
    conversion: Share
    floating: Share
    float_layers: tuple[KernelReport, ...]
    islands: tuple[KernelReport, ...]
