"""ONNX operators in torch, so that a graph has gradients. Semantics: the ONNX operator specifications, opset 13 to 21.

Each function takes the node's attributes and its inputs (None where one is left out) and gives its output or outputs.
Shapes are those of the ONNX specification: images are [n, c, h, w].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgetl.quantization.graph.layers import UnknownOperator

Attributes = Mapping[str, Any]
Operator = Callable[..., Any]


def conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv of 1 or 2 spatial dimensions; uneven padding is added first."""
    dims = x.dim() - 2
    begin, end = spatial_padding(a, x.shape[2:], weight.shape[2:])
    padding: Sequence[int] = begin
    if begin != end:
        x, padding = F.pad(x, interleaved(begin, end)), [0] * dims
    call = {1: F.conv1d, 2: F.conv2d}[dims]
    return call(x, weight, bias, _each(a, "strides", dims), list(padding), _each(a, "dilations", dims), a.get("group", 1))


def spatial_padding(a: Attributes, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Padding before and behind each spatial dimension, from `pads` or `auto_pad`."""
    dims, mode = len(sizes), a.get("auto_pad", b"NOTSET")
    if mode in (b"NOTSET", b"VALID", "NOTSET", "VALID"):
        pads = list(a.get("pads", [0] * 2 * dims)) if mode in (b"NOTSET", "NOTSET") else [0] * 2 * dims
        return pads[:dims], pads[dims:]
    strides, dilations = _each(a, "strides", dims), _each(a, "dilations", dims)
    needed = []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        outputs = -(-size // stride)
        needed.append(max(0, (outputs - 1) * stride + (window - 1) * dilation + 1 - size))
    small, large = [total // 2 for total in needed], [total - total // 2 for total in needed]
    return (small, large) if mode in (b"SAME_UPPER", "SAME_UPPER") else (large, small)


def interleaved(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """ONNX's (begins, ends) -> torch's list, last dimension first."""
    return [size for pair in zip(reversed(begin), reversed(end), strict=True) for size in pair]


def gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The matrix product: alpha * A B + beta * C."""
    left, right = (x.t() if a.get("transA") else x), (weight.t() if a.get("transB") else weight)
    result: Tensor = a.get("alpha", 1.0) * (left @ right)
    return result if bias is None else result + a.get("beta", 1.0) * bias


def max_pool(a: Attributes, x: Tensor) -> Tensor:
    """MaxPool of 2 spatial dimensions."""
    kernel = a["kernel_shape"]
    begin, end = spatial_padding(a, x.shape[2:], kernel)
    if any(begin) or any(end):
        x = F.pad(x, interleaved(begin, end), value=float("-inf"))
    return F.max_pool2d(x, kernel, _each(a, "strides", 2), dilation=_each(a, "dilations", 2), ceil_mode=bool(a.get("ceil_mode", 0)))


def average_pool(a: Attributes, x: Tensor) -> Tensor:
    """AveragePool of 2 spatial dimensions.

    Raises:
        UnknownOperator: uneven padding.
    """
    begin, end = spatial_padding(a, x.shape[2:], a["kernel_shape"])
    counted, ceil = bool(a.get("count_include_pad", 0)), bool(a.get("ceil_mode", 0))
    if begin != end:
        if not counted:
            raise UnknownOperator("AveragePool with uneven padding")
        x, begin = F.pad(x, interleaved(begin, end)), [0, 0]
    return F.avg_pool2d(x, a["kernel_shape"], _each(a, "strides", 2), begin, ceil, counted)


def clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Clip; bounds are inputs."""
    return torch.clamp(x, None if low is None else float(low), None if high is None else float(high))


def pad(a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
    """Pad, mode constant.

    Raises:
        UnknownOperator: another mode.
    """
    if a.get("mode", b"constant") not in (b"constant", "constant"):
        raise UnknownOperator(f"Pad with mode {a['mode']!r}")
    sizes, dims = pads.tolist(), x.dim()
    chosen = [axis % dims for axis in axes.tolist()] if axes is not None else list(range(dims))
    begin, end = [0] * dims, [0] * dims
    for axis, before, behind in zip(chosen, sizes[: len(chosen)], sizes[len(chosen) :], strict=True):
        begin[axis], end[axis] = before, behind
    return F.pad(x, interleaved(begin, end), value=0.0 if value is None else float(value.detach()))


def slices(a: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    """Slice with positive steps.

    Raises:
        UnknownOperator: a negative step.
    """
    chosen = axes.tolist() if axes is not None else list(range(len(starts)))
    strides = steps.tolist() if steps is not None else [1] * len(starts)
    if min(strides) < 1:
        raise UnknownOperator("Slice with negative steps")
    index = [slice(None)] * x.dim()
    for axis, begin, end, step in zip(chosen, starts.tolist(), ends.tolist(), strides, strict=True):
        index[axis] = slice(begin, end, step)
    return x[tuple(index)]


def reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    """Reshape; 0 keeps a size unless `allowzero`."""
    sizes = [int(size) for size in shape.tolist()]
    if not a.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def flatten(a: Attributes, x: Tensor) -> Tensor:
    """Flatten into two dimensions."""
    axis = a.get("axis", 1) % (x.dim() + 1)
    return x.reshape(int(torch.tensor(x.shape[:axis]).prod()), -1)


def squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Squeeze."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def unsqueeze(a: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    """Unsqueeze."""
    dims = x.dim() + len(axes)
    for axis in sorted(axis % dims for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    """Split along an axis."""
    axis = a.get("axis", 0)
    if sizes is not None:
        return torch.split(x, sizes.tolist(), axis)
    return torch.tensor_split(x, a["num_outputs"], axis) if "num_outputs" in a else torch.chunk(x, a["_outputs"], axis)


def reduce_mean(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """ReduceMean; axes as input (opset 18) or attribute."""
    over = axes.tolist() if axes is not None else a.get("axes", list(range(x.dim())))
    return x.mean(tuple(over), keepdim=bool(a.get("keepdims", 1)))


def layer_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """LayerNormalization."""
    return F.layer_norm(x, x.shape[a.get("axis", -1) % x.dim() :], scale, bias, a.get("epsilon", 1e-5))


def batch_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """BatchNormalization, inference."""
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


def gather(a: Attributes, x: Tensor, index: Tensor) -> Tensor:
    """Gather along an axis."""
    axis = a.get("axis", 0) % x.dim()
    found = x.index_select(axis, index.reshape(-1).long())
    return found.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def expand(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    """Expand by broadcasting."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))  # type: ignore[no-untyped-call]


def _each(a: Attributes, name: str, dims: int) -> list[int]:
    return list(a.get(name) or [1] * dims)


def _hard_sigmoid(a: Attributes, x: Tensor) -> Tensor:
    return torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1)


OPERATORS: Mapping[str, Operator] = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Clip": clip,
    "Concat": lambda a, *x: torch.cat(x, a["axis"]),
    "Conv": conv,
    "Div": lambda a, x, y: x / y,
    "Erf": lambda a, x: torch.erf(x),
    "Exp": lambda a, x: torch.exp(x),
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gelu": lambda a, x: F.gelu(x, approximate="tanh" if a.get("approximate") in (b"tanh", "tanh") else "none"),
    "Gemm": gemm,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda a, x: F.hardswish(x),
    "Identity": lambda a, x: x,
    "LayerNormalization": layer_norm,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "MatMul": lambda a, x, y: x @ y,
    "MaxPool": max_pool,
    "Mul": lambda a, x, y: x * y,
    "Neg": lambda a, x: -x,
    "Pad": pad,
    "Pow": lambda a, x, y: torch.pow(x, y.to(x.dtype)),
    "ReduceMean": reduce_mean,
    "Relu": lambda a, x: F.relu(x),
    "Reshape": reshape,
    "Round": lambda a, x: torch.round(x),
    "Shape": lambda a, x: torch.tensor(x.shape[a.get("start", 0) : a.get("end", x.dim())]),
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Slice": slices,
    "Softmax": lambda a, x: torch.softmax(x, a.get("axis", -1)),
    "Split": split,
    "Sqrt": lambda a, x: torch.sqrt(x),
    "Squeeze": squeeze,
    "Sub": lambda a, x, y: x - y,
    "Tanh": lambda a, x: torch.tanh(x),
    "Transpose": lambda a, x: x.permute(*a.get("perm", range(x.dim() - 1, -1, -1))),
    "Unsqueeze": unsqueeze,
}
