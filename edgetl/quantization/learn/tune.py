"""The last step: scales, zero points, biases and rounding, tuned together until the int8 answers follow the float ones.

No labels: the float graph says what is right. Finkelstein et al. 2022, "QFT: Post-training quantization via fast joint
finetuning of all degrees of freedom"; that rounding to the nearest code is not best: Nagel et al. 2020, "Up or down?".
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import onnx
import torch
from torch import Tensor

from edgetl.core.progress import track
from edgetl.quantization.candidates.saturation import Pairs
from edgetl.quantization.candidates.trials import NotTried
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.quant_params import QuantParams, with_quant_params
from edgetl.quantization.learn.quantizers import Bias, Quantizer, Weight, dot
from edgetl.quantization.learn.simulation import Simulation, key
from edgetl.quantization.observe.effort import images_for
from edgetl.quantization.observe.split_for_judging import few_images, subset
from edgetl.runtime.session import InputSource
from edgetl.training.device import threaded
from edgetl.training.schedule import cosine

WARM_UP_SHARE = 0.05  # of the steps
BATCH_IMAGES, LEAST_STEPS = 16, 150  # images a step at most: fewer, where they would not be enough for so many steps (docs/log.md)
PIXELS_AT_ONCE = 100_000  # pixels whose activations and gradients are in memory, or one image
CODE_LR = 0.01  # of weights, in int8 codes per step of Adam
BIAS_LR = 0.01  # of biases, in steps of 64 int32 codes
ZERO_LR = 0.01  # of zero points, in uint8 codes
SCALE_LR = 0.005  # of the logarithms of scales,
SCALE_STEPS = 160  # and in how many steps: in more, smaller ones, since scales wander (MobileNetV3-small: docs/log.md)
MEAN, SQUARE = 0.9, 0.999  # of the past that Adam keeps
MOST_INNER_VALUES = 8
FLAT = frozenset({"HardSigmoid", "HardSwish", "Sigmoid"})  # operators, at one end or both
HOPELESS_GROWTH = 1.4  # of the error: rates that fall bring back what was lost, and little more (EfficientNet-Lite0: docs/log.md)
INNER_WEIGHT = 1.0  # weight of the inner values' error beside that of the logits


def tune(
    float_model: onnx.ModelProto,
    qdq: onnx.ModelProto,
    source: InputSource,
    *,
    pairs: Mapping[str, Pairs] | None = None,
    images: int | None = None,
    threads: int = 1,
    seconds: float | None = None,
    may_give_up: bool = False,
) -> onnx.ModelProto:
    """A QDQ graph of the same operators and types, with numbers that answer more like the float graph.

    Args:
        float_model: the graph that `qdq` was made from.
        qdq: where to start.
        source: images; their labels are not read.
        pairs: neighbours in weights that must not saturate, by the name of the codes.
        images: how many to look at in all, each counted every time; by default as many as have 60 million pixels, each at most 12 times.
        threads: of torch; another number gives other bytes.
        seconds: time limit; the learning rates then fall with the time that is left. None: none.
        may_give_up: whether to end after a quarter of the steps if the error has only grown by then.

    Raises:
        UnknownOperator: the graph cannot be run in torch.
        NotTried: it was given up.
    """
    teacher, student = Simulation(float_model), Simulation(qdq, GraphIndex(float_model).constants, pairs)
    alike = same_values(float_model, qdq)
    if images is None:
        first = next(iter(source.batches(1))).x
        images = images_for(len(source), first.shape[2] * first.shape[3])
    size, begun, source = batch_for(images), time.monotonic(), subset(source, images)
    steps = max(1, images // size)
    errors: list[float] = []
    learned = [Adam(parameter, rate) for parameter, rate in learnable(student, steps)]
    with threaded(threads), track("tune", total=steps, unit="step") as bar:
        usual = usual_squares(teacher, torch.from_numpy(few_images(source)), alike)
        for step, x in zip(range(steps), _forever(source, size), strict=False):
            if (gone := (time.monotonic() - begun) / seconds if seconds else 0.0) >= 1:
                break
            errors.append(0.0)
            for part in parts_of(x):
                loss = loss_of(teacher, student, part, alike, usual) * (len(part) / len(x))
                loss.backward()  # type: ignore[no-untyped-call]
                errors[-1] += float(loss.detach())
            for each in learned:
                each.step(cosine(max((step + 1) / (steps + 1), gone), WARM_UP_SHARE))
            bar.advance()
            if may_give_up and step + 1 == steps // 4 and (grown := growth(errors)) > HOPELESS_GROWTH:
                raise NotTried(f"given up after a quarter of its steps: its error had grown to {grown:.1f} times what it was at first")
    return with_learned_numbers(qdq, student)


def growth(errors: Sequence[float]) -> float:
    """The error of the last quarter of the steps divided by that of the first quarter; `errors` has one for each step."""
    count = max(1, len(errors) // 4)
    return sum(errors[-count:]) / max(sum(errors[:count]), 1e-12)


def batch_for(images: int) -> int:
    """The batch size, if `images` images are looked at in all."""
    return min(BATCH_IMAGES, max(1, images // LEAST_STEPS))


def usual_squares(teacher: Simulation, images: Tensor, names: Collection[str]) -> dict[str, float]:
    """The median image's sum of squares (the mean one, where that is 0), of the logits (by the name "") and of inner values."""
    found: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for part in parts_of(images):
            logits, inner = teacher(part, names)
            for name, values in {"": logits, **{name: inner[name] for name in names}}.items():
                found.setdefault(name, []).append(squared_norms(values))
    every = {name: torch.cat(each) for name, each in found.items()}
    return {name: float(each.median()) or float(each.mean()) for name, each in every.items()}


def loss_of(teacher: Simulation, student: Simulation, x: Tensor, pairs: Mapping[str, str], usual: Mapping[str, float]) -> Tensor:
    """Relative squared error of the logits, and that of the values on the way (`pairs`: teacher's name -> student's), mean over images.

    Args:
        teacher: the float graph.
        student: the int8 one.
        x: images, float32 [n, c, h, w].
        pairs: names of the values on the way.
        usual: see `usual_squares`.
    """
    with torch.no_grad():
        wanted, inner_wanted = teacher(x, pairs)
    found, inner_found = student(x, pairs.values())
    loss = relative_error(found, wanted, usual[""])
    if pairs:
        errors = [relative_error(inner_found[pairs[name]], inner_wanted[name], usual[name]) for name in pairs]
        loss = loss + INNER_WEIGHT * torch.stack(errors).mean()
    return loss


def relative_error(found: Tensor, wanted: Tensor, usual: float) -> Tensor:
    """Squared error over squared signal of each image, mean over images, as `metrics.parity.relative_noise` judges.

    Images count alike: the few whose values are far beyond the others', and those whose values are all near zero.
    """
    return (squared_norms(found - wanted) / squared_norms(wanted).clamp_min(max(usual, 1e-12))).mean()


def squared_norms(values: Tensor) -> Tensor:
    """Sum of squares of each image's values, [n]."""
    return torch.stack([dot(image, image) for image in torch.split(values, 1)])


def parts_of(x: Tensor) -> Iterator[Tensor]:
    """Parts of the images x [n, c, h, w], as many at a time as fit into memory with their activations."""
    yield from torch.split(x, max(1, PIXELS_AT_ONCE // (x.shape[2] * x.shape[3])))


class Adam:
    """Kingma and Ba 2015, "Adam: a method for stochastic optimization", for one parameter; torch.optim imports 150 MB."""

    def __init__(self, parameter: Tensor, rate: float) -> None:
        self.parameter, self.rate, self.steps = parameter, rate, 0
        self.mean, self.square = torch.zeros_like(parameter), torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self, share: float) -> None:
        """One step of `share` of the rate along the gradient, which is taken away."""
        gradient = self.parameter.grad
        self.parameter.grad = None
        if gradient is None:
            return
        self.steps += 1
        self.mean.lerp_(gradient, 1 - MEAN)
        self.square.mul_(SQUARE).addcmul_(gradient, gradient, value=1 - SQUARE)
        size = (self.square / (1 - SQUARE**self.steps)).sqrt_().add_(1e-8)
        self.parameter.addcdiv_(self.mean, size, value=-share * self.rate / (1 - MEAN**self.steps))


def learnable(student: Simulation, steps: int) -> Iterator[tuple[Tensor, float]]:
    """What is learned, and its rate, each in units of its own, where so many steps are made."""
    for module in student.modules():
        if isinstance(module, Weight):
            yield module.codes, CODE_LR
        elif isinstance(module, Bias):
            yield module.steps, BIAS_LR
        elif isinstance(module, Quantizer):
            if module.log_scale.requires_grad:
                yield module.log_scale, SCALE_LR * min(1.0, SCALE_STEPS / steps)
            if module.zero.requires_grad:
                yield module.zero, ZERO_LR


def same_values(float_model: onnx.ModelProto, qdq: onnx.ModelProto) -> dict[str, str]:
    """Names of float values -> names of the same values behind their quantizers; a few, evenly spread, since each costs time.

    None that only operators read which are flat at one end or both: what is flat needs no codes, and often has none (`ranges.useful`).
    """
    made = {name for node in float_model.graph.node for name in node.output}
    seen = {name for node in qdq.graph.node if node.op_type not in FLAT for name in node.input}
    behind = {node.input[0]: node.output[0] for node in qdq.graph.node if node.op_type == "DequantizeLinear" and node.output[0] in seen}
    found = [
        (node.input[0], behind[node.output[0]])
        for node in qdq.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in made and node.output[0] in behind
    ]
    return dict(found[:: -(-len(found) // MOST_INNER_VALUES)] if found else [])


def with_learned_numbers(qdq: onnx.ModelProto, student: Simulation) -> onnx.ModelProto:
    """The graph with the student's numbers."""
    scales = {node.input[1] for node in qdq.graph.node if node.op_type == "QuantizeLinear"}
    codes = {node.input[0] for node in qdq.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in student.constants}
    modules = {name: student.weights[key(name)] for name in codes if key(name) in student.weights}
    with torch.no_grad():
        return with_quant_params(
            qdq,
            QuantParams(
                activations={name: student.quantizers[key(name)].numbers() for name in scales},  # type: ignore[operator]
                weights={name: module.numbers() for name, module in modules.items() if isinstance(module, Weight)},
                biases={name: module().numpy() for name, module in modules.items() if isinstance(module, Bias)},
                beside={name: student.fixed[key(name)].numpy() for name in codes if key(name) in student.fixed},
            ),
        )


def _forever(source: InputSource, size: int) -> Iterator[Tensor]:
    while True:
        for batch in source.batches(size):
            yield torch.from_numpy(np.ascontiguousarray(batch.x)).contiguous(memory_format=torch.channels_last)
