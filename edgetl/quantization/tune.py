"""The last step: scales, zero points, biases and rounding, tuned together until the int8 answers follow the float ones.

No labels: the float graph says what is right. Finkelstein et al. 2022, "QFT: Post-training quantization via fast joint
finetuning of all degrees of freedom"; that rounding to the nearest code is not best: Nagel et al. 2020, "Up or down?".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from edgetl.core.progress import track
from edgetl.quantization.simulation import Bias, Quantizer, Simulation, Weight, dot, key
from edgetl.runtime.session import InputSource

WARM_UP = 0.05  # of the steps
INT32 = 2**31 - 1
BATCH = 16
PIXELS = 40_000_000  # of all images looked at, by default,
MOST_ROUNDS = 12  # and how often each is at most
CODE_LR = 0.02  # of weights, in int8 codes per step of Adam
BIAS_LR = 0.02  # of biases, in steps of 64 int32 codes
ZERO_LR = 0.02  # of zero points, in uint8 codes
SCALE_LR = 0.01  # of the logarithms of scales
MOST_INNER = 8
INNER = 0.1  # weight of the inner values' error beside that of the logits


def tune(
    float_model: onnx.ModelProto, qdq: onnx.ModelProto, source: InputSource, *, images: int | None = None, threads: int = 1
) -> onnx.ModelProto:
    """A QDQ graph of the same operators and types, with numbers that answer more like the float graph.

    Args:
        float_model: the graph that `qdq` was made from.
        qdq: where to start.
        source: images; their labels are not read.
        images: how many to look at in all, each counted every time; by default as many as have 40 million pixels, each at most 12 times.
        threads: of torch; another number gives other bytes.

    Raises:
        UnknownOperator: the graph cannot be run in torch.
    """
    floats = {tensor.name: numpy_helper.to_array(tensor) for tensor in float_model.graph.initializer}
    teacher, student = Simulation(float_model), Simulation(qdq, floats)
    pairs = same_values(float_model, qdq)
    optimizer = torch.optim.Adam(groups(student))
    rates = [group["lr"] for group in optimizer.param_groups]
    if images is None:
        first = next(iter(source.batches(1))).x
        images = images_for(len(source), first.shape[2] * first.shape[3])
    steps = max(1, images // BATCH)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with track("tune", total=steps, unit="step") as bar:
            for step, x in zip(range(steps), _forever(source, BATCH), strict=False):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * _schedule(step, steps)
                optimizer.zero_grad()
                loss_of(teacher, student, x, pairs).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                bar.advance()
    finally:
        torch.set_num_threads(before)
    return written(qdq, student)


def images_for(count: int, pixels: int) -> int:
    """How many images the default looks at, of `count` images of so many pixels: fewer large ones, each of a few not forever."""
    return max(BATCH, min(MOST_ROUNDS * count, PIXELS // pixels))


def loss_of(teacher: Simulation, student: Simulation, x: Tensor, pairs: Mapping[str, str]) -> Tensor:
    """Relative squared error of the logits, and a little of that of the values on the way (`pairs`: teacher's name -> student's)."""
    with torch.no_grad():
        wanted, inner_wanted = teacher(x, pairs)
    found, inner_found = student(x, pairs.values())
    loss = relative_error(found, wanted)
    if pairs:
        loss = loss + INNER * torch.stack([relative_error(inner_found[pairs[name]], inner_wanted[name]) for name in pairs]).mean()
    return loss


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error over squared signal: 10^(-SQNR / 10)."""
    difference = found - wanted
    return dot(difference, difference) / dot(wanted, wanted).clamp_min(1e-12)


def groups(student: Simulation) -> list[dict[str, Any]]:
    """What is learned, by kind, each in units of its own."""
    modules = list(student.modules())
    quantizers = [module for module in modules if isinstance(module, Quantizer)]
    found = [
        {"params": [module.codes for module in modules if isinstance(module, Weight)], "lr": CODE_LR},
        {"params": [module.steps for module in modules if isinstance(module, Bias)], "lr": BIAS_LR},
        {"params": [module.zero for module in quantizers if module.zero.requires_grad], "lr": ZERO_LR},
        {"params": [module.log_scale for module in quantizers], "lr": SCALE_LR},
    ]
    return [group for group in found if group["params"]]


def same_values(float_model: onnx.ModelProto, qdq: onnx.ModelProto) -> dict[str, str]:
    """Names of float values -> names of the same values behind their quantizers; a few, evenly spread, since each costs time."""
    made = {name for node in float_model.graph.node for name in node.output}
    behind = {node.input[0]: node.output[0] for node in qdq.graph.node if node.op_type == "DequantizeLinear"}
    found = [
        (node.input[0], behind[node.output[0]])
        for node in qdq.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in made and node.output[0] in behind
    ]
    return dict(found[:: -(-len(found) // MOST_INNER)] if found else [])


def written(qdq: onnx.ModelProto, student: Simulation) -> onnx.ModelProto:
    """The graph with the student's numbers; the scale of a bias stays that of input times weight, as int8 kernels need it."""
    new: dict[str, NDArray[Any]] = {}
    makers = {name: node for node in qdq.graph.node for name in node.output}
    for node in qdq.graph.node:
        if node.op_type == "QuantizeLinear":
            quantizer = student.quantizers[key(node.input[1])]
            assert isinstance(quantizer, Quantizer)
            new[node.input[1]] = np.array(quantizer.log_scale.exp().item(), np.float32)
            new[node.input[2]] = np.array(round(min(max(quantizer.zero.item(), 0), 255)), np.uint8)
    for node in qdq.graph.node:
        parts = [makers.get(name) for name in node.input]
        stored = [part for part in parts if part is not None and part.input[0] in student.constants]
        for part in stored:
            if key(part.input[0]) in student.fixed:
                if part.input[1] in new:  # in the codes of the activations beside it
                    value = student.fixed[key(part.input[0])].numpy() / new[part.input[1]] + new[part.input[2]]
                    new[part.input[0]] = np.clip(np.rint(value), 0, 255).astype(np.uint8)
                continue
            module = student.weights[key(part.input[0])]
            if isinstance(module, Weight):
                codes = torch.clamp(torch.round(module.codes), -module.limit, module.limit)
                new[part.input[0]] = codes.detach().numpy().astype(np.int8)
            elif (
                isinstance(module, Bias) and len(stored) == 2 and parts[0] is not None and parts[0].input[1:2] and parts[0].input[1] in new
            ):
                scale = new[parts[0].input[1]] * student.constants[stored[0].input[1]].astype(np.float32)
                values = module().detach().numpy()
                new[part.input[1]] = scale.astype(np.float32)
                new[part.input[0]] = np.clip(np.rint(values / scale), -INT32, INT32).astype(np.int32)
    return with_values(qdq, new)


def with_values(model: onnx.ModelProto, new: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """A copy with other numbers in some initializers; their shapes stay."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        if tensor.name in new:
            tensor.CopyFrom(numpy_helper.from_array(new[tensor.name].reshape(tuple(tensor.dims)), tensor.name))
    return result


def _forever(source: InputSource, size: int) -> Iterator[Tensor]:
    while True:
        for batch in source.batches(size):
            yield torch.from_numpy(np.ascontiguousarray(batch.x)).contiguous(memory_format=torch.channels_last)


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine."""
    return min(1.0, (step + 1) / (WARM_UP * steps + 1)) * 0.5 * (1 + math.cos(math.pi * step / steps))
