"""Where every way to int8 starts: a float graph, the ranges of what calibration images show of it, weights of least squared error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx

from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.equalization import equalized
from edgetl.quantization.heldout import Arrays, first_images
from edgetl.quantization.observers import Seen, observe, tensors_beside
from edgetl.quantization.pixels import exact, on_pixels
from edgetl.quantization.qdq import INT8_OPS, as_qdq
from edgetl.quantization.ranges import Choice, Range, choose, extremes, useful
from edgetl.quantization.saturation import Pairs, pairs_of
from edgetl.quantization.stem import stem
from edgetl.quantization.targets import saturates
from edgetl.quantization.trials import NotTried, Trials, answers
from edgetl.quantization.weights import with_fitted_weights
from edgetl.runtime.session import InputSource
from edgetl.settings import Target

MARGIN = 1.0  # dB, above what a few dozen images mistake: for less, the tuning starts from the nearest codes
FEWEST = 16  # calibration images that equalization is tried on
FEW, FEW_PIXELS = 64, 800_000  # that say whether it is worth a pass over all


@dataclass(frozen=True, kw_only=True)
class Start:
    """A prepared float graph and what was seen of it.

    Attributes:
        model: the graph.
        seen: of its activations, by name.
        target: the CPU it is for.
    """

    model: onnx.ModelProto
    seen: Mapping[str, Seen]
    target: Target

    @staticmethod
    def of(model: onnx.ModelProto, source: InputSource, target: Target, *, batch_size: int, threads: int) -> Start:
        """See all of `source`; where its images are pixels, the first Conv reads their codes, unless it stays in float."""
        if not stem(model, target):
            model = on_pixels(model, first_images(source, FEW_PIXELS, FEW))
        return Start._seeing(model, source, target, batch_size=batch_size, threads=threads)

    @staticmethod
    def _seeing(model: onnx.ModelProto, source: InputSource, target: Target, *, batch_size: int, threads: int) -> Start:
        """See all of `source` with the graph as it is."""
        seen = observe(model, tensors_beside(model, INT8_OPS), source, batch_size=batch_size, threads=threads)
        return Start(model=model, seen=seen, target=target)

    @cached_property
    def stem(self) -> tuple[str, ...]:
        """The first nodes, which stay in float."""
        return stem(self.model, self.target)

    @cached_property
    def used(self) -> Mapping[str, Range]:
        """What readers make use of, where that is not all."""
        return useful(self.model)

    @cached_property
    def widest(self) -> Mapping[str, Range]:
        """The ranges that hold all that was seen."""
        return {name: extremes(found, self.used.get(name)) for name, found in self.seen.items()} | exact(self.model)

    @cached_property
    def chosen(self) -> Mapping[str, Choice]:
        """The ranges that reconstruct each activation best."""
        found = {name: choose(seen, self.used.get(name)) for name, seen in self.seen.items()}
        for name, bounds in exact(self.model).items():
            found[name] = Choice(range=bounds, rule="levels of pixels", error=0.0, min_max_error=0.0)
        return found

    @cached_property
    def plain(self) -> onnx.ModelProto:
        """The QDQ graph of the widest ranges, weights to the nearest code of their extremes."""
        return as_qdq(self.model, self.widest, floating=self.stem)

    @cached_property
    def pairs(self) -> Mapping[str, Pairs]:
        """Neighbours in its weights that must not saturate, by the name of their codes."""
        return pairs_of(self.plain) if saturates(self.target) else {}

    @cached_property
    def by_extremes(self) -> onnx.ModelProto:
        """The QDQ graph of the widest ranges."""
        return with_fitted_weights(self.plain, self.model, self.pairs)

    def by_reconstruction(self) -> onnx.ModelProto:
        """The QDQ graph of the chosen ranges."""
        ranges = {name: found.range for name, found in self.chosen.items()}
        return with_fitted_weights(as_qdq(self.model, ranges, floating=self.stem), self.model, self.pairs)

    def try_ranges(self, trials: Trials, before: str = "") -> bool:
        """Both ways; whether one is the best so far."""
        found = [
            trials.run(f"{before}extremes as ranges", lambda: self.by_extremes),
            trials.run(f"{before}ranges by reconstruction", self.by_reconstruction),
        ]
        return any(found)

    def equalized(self, source: InputSource, *, batch_size: int, threads: int) -> Start:
        """The same function with more equal reaches of channels, all of `source` seen again.

        Raises:
            NotTried: no channels that can be equalized, or a few images say that it does not help.
        """
        if len(source) < FEWEST:
            raise NotTried(f"fewer than {FEWEST} calibration images")
        few = Arrays(first_images(source, FEW_PIXELS, FEW))
        balanced = equalized(self.model, self.seen, few.x)
        if balanced is None:
            raise NotTried("no two layers with only scale-equivariant operators between them")
        other = Start._seeing(balanced, few, self.target, batch_size=batch_size, threads=threads)
        wanted = answers(self.model, few, threads)
        without, with_it = (sqnr_db(wanted, answers(start.by_extremes, few, threads)) for start in (self, other))
        if with_it < without:
            raise NotTried(f"on {len(few)} images {with_it:.1f} dB, {without:.1f} dB without")
        return Start._seeing(balanced, source, self.target, batch_size=batch_size, threads=threads)
