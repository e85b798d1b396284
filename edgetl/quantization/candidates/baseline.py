"""The baseline that all methods start from: a prepared float graph, the statistics of its activations, weights of least squared error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import onnx

from edgetl.quantization.candidates.equalization import equalized
from edgetl.quantization.candidates.exact_stem import exact_stem_nodes, on_whole_numbers, stem_blocks
from edgetl.quantization.candidates.pixel_codes import pixel_ranges, with_pixel_codes
from edgetl.quantization.candidates.qdq import as_qdq
from edgetl.quantization.candidates.saturation import Pairs, pairs_of
from edgetl.quantization.candidates.trials import NotTried, Trial, Trials, answers, decibels
from edgetl.quantization.candidates.weights import with_fitted_weights
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.int8_kernels import INT8_OPS
from edgetl.quantization.observe.ranges import ChosenRange, Range, choose_range, consumed_range, extremes
from edgetl.quantization.observe.split_for_judging import Arrays, few_images
from edgetl.quantization.observe.statistics import TensorStatistics, observe, tensors_beside
from edgetl.quantization.precision.boundary_layers import boundary_layers, first_layers
from edgetl.quantization.precision.computed_operands import with_computed_operands
from edgetl.quantization.precision.float_around_layernorm import without_weights
from edgetl.quantization.precision.placement import COMPUTED, ENDS, NORMALIZED, WHOLE_NUMBERS
from edgetl.quantization.precision.targets import saturates
from edgetl.runtime.session import InputSource
from edgetl.settings import Target

MARGIN_DB = 1.0  # dB, above what a few dozen images mistake: for less, the tuning starts from the nearest codes
FEWEST_IMAGES_TO_EQUALIZE = 16  # calibration images that equalization is tried with
EQUALIZED = "layers equalized"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A prepared float graph and the statistics of its activations.

    Attributes:
        model: the graph.
        seen: the statistics, by the name of the activation.
        target: the CPU that the int8 graph is for.
        equalizing: whether channels were equalized, and the reason.
    """

    model: onnx.ModelProto
    seen: Mapping[str, TensorStatistics]
    target: Target
    equalizing: Trial | None = None

    @staticmethod
    def of(
        model: onnx.ModelProto, source: InputSource, target: Target, *, batch_size: int, threads: int, not_equalized: str | None = None
    ) -> Baseline:
        """Adapt the graph to a few images of `source`, then collect statistics over all of them.

        If the images have the 256 levels of pixels, the first Conv reads these as codes, unless it stays in float. Channels are
        equalized if that helps, unless `not_equalized` gives a reason not to try.
        """
        few = Arrays(few_images(source))
        index = GraphIndex(model)
        if not stem_blocks(index, target) and not first_layers(index, target):
            model = with_pixel_codes(model, few.x)
        try:
            if not_equalized is not None:
                raise NotTried(not_equalized)
            if len(source) < FEWEST_IMAGES_TO_EQUALIZE:
                raise NotTried(f"fewer than {FEWEST_IMAGES_TO_EQUALIZE} calibration images to fit on")
            model, equalizing = _equalized(model, few, target, threads)
        except NotTried as error:
            model, equalizing = _exact(model, few, target, threads), Trial(name=EQUALIZED, why_not=str(error))
        return replace(Baseline.seeing(model, source, target, batch_size=batch_size, threads=threads), equalizing=equalizing)

    @staticmethod
    def seeing(model: onnx.ModelProto, source: InputSource, target: Target, *, batch_size: int, threads: int) -> Baseline:
        """Collect statistics over all images of `source`; the graph stays as it is."""
        seen = observe(model, tensors_beside(GraphIndex(model), INT8_OPS), source, batch_size=batch_size, threads=threads)
        return Baseline(model=model, seen=seen, target=target)

    @cached_property
    def boundary(self) -> tuple[str, ...]:
        """The first and last nodes, as far as they stay in float."""
        return boundary_layers(GraphIndex(self.model), self.target)

    @cached_property
    def in_float(self) -> Mapping[str, str]:
        """Names of all nodes that stay in float in any case, and why."""
        index = GraphIndex(self.model)
        ends = dict.fromkeys(self.boundary, ENDS) | dict.fromkeys(exact_stem_nodes(self.model), WHOLE_NUMBERS)
        return dict.fromkeys(without_weights(index), NORMALIZED) | ends | dict.fromkeys(with_computed_operands(index), COMPUTED)

    @cached_property
    def used(self) -> Mapping[str, Range]:
        """The part of its range that the only reader of an activation uses, by name; activations that are used whole are left out."""
        return consumed_range(GraphIndex(self.model))

    @cached_property
    def min_max_ranges(self) -> Mapping[str, Range]:
        """The range of each activation from its smallest to its largest value, by name."""
        return {name: extremes(found, self.used.get(name)) for name, found in self.seen.items()} | pixel_ranges(self.model)

    @cached_property
    def chosen(self) -> Mapping[str, ChosenRange]:
        """The ranges that reconstruct each activation best."""
        found = {name: choose_range(seen, self.used.get(name)) for name, seen in self.seen.items()}
        for name, bounds in pixel_ranges(self.model).items():
            found[name] = ChosenRange(range=bounds, rule="levels of pixels", error=0.0, min_max_error=0.0)
        return found

    @cached_property
    def min_max_qdq(self) -> onnx.ModelProto:
        """The QDQ graph with min-max ranges of activations and of weights."""
        return as_qdq(self.model, self.min_max_ranges, floating=self.in_float)

    @cached_property
    def pairs(self) -> Mapping[str, Pairs]:
        """Neighbours in its weights that must not saturate, by the name of their codes."""
        return pairs_of(self.min_max_qdq) if saturates(self.target) else {}

    @cached_property
    def by_extremes(self) -> onnx.ModelProto:
        """The QDQ graph with min-max ranges of activations and fitted weights."""
        return with_fitted_weights(self.min_max_qdq, self.model, self.pairs)

    def by_reconstruction(self) -> onnx.ModelProto:
        """The QDQ graph with the chosen ranges of activations and fitted weights."""
        ranges = {name: found.range for name, found in self.chosen.items()}
        return with_fitted_weights(as_qdq(self.model, ranges, floating=self.in_float), self.model, self.pairs)

    def try_ranges(self, trials: Trials) -> None:
        """Try the min-max ranges, then the chosen ranges."""
        trials.run("extremes as ranges", lambda: self.by_extremes)
        trials.run("ranges by reconstruction", self.by_reconstruction)


def _equalized(model: onnx.ModelProto, few: Arrays, target: Target, threads: int) -> tuple[onnx.ModelProto, Trial]:
    """The equalized graph, with first layers as `_exact` gives them, and its gain on a few images.

    Raises:
        NotTried: no channels that can be equalized, or it does not help.
    """
    begin = time.perf_counter()

    def seeing(graph: onnx.ModelProto) -> Baseline:
        return Baseline.seeing(graph, few, target, batch_size=len(few), threads=threads)

    plainly = seeing(model)
    balanced = equalized(model, plainly.seen, few.x)
    if balanced is None:
        raise NotTried("no two layers with only scale-equivariant operators between them")
    exact = _exact(model, few, target, threads)
    without, start = plainly if exact is model else seeing(exact), seeing(_exact(balanced, few, target, threads))
    wanted, plain, found = (answers(graph, few, threads) for graph in (model, without.by_extremes, start.by_extremes))
    before, after = decibels(wanted, plain), decibels(wanted, found)
    if after <= before:
        raise NotTried(f"on {len(few)} images {after:.1f} dB, {before:.1f} dB without")
    name = f"{EQUALIZED} ({before:.1f} dB without, on {len(few)} images that it was fitted on)"
    return start.model, Trial.of(name, wanted, found, sqnr_db=after, kept=True, seconds=time.perf_counter() - begin)


def _exact(model: onnx.ModelProto, few: Arrays, target: Target, threads: int) -> onnx.ModelProto:
    """The graph with its first layers on whole numbers, if `target` has such layers."""
    first = stem_blocks(GraphIndex(model), target)
    return on_whole_numbers(model, first, few.x, threads) if first else model
