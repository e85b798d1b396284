"""Labelled images for a model, with labels that index into its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import say
from edgetl.data.calibration import NO_SPLIT, needs_preprocess, open_labelled, relabelled
from edgetl.data.images import Images, Part
from edgetl.data.npz import NpzTensors
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.runtime.session import Session, open_session
from edgetl.tasks.class_order import ClassOrder, check_width, order_of_folders


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Labelled images and the order of the classes that their labels index into.

    Attributes:
        session: the model, open at the output that answers.
    """

    images: Images | NpzTensors
    order: ClassOrder
    session: Session

    @property
    def output(self) -> str | None:
        """The name of that output, where the model has several."""
        return several(self.session)

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Near-duplicates among the images, by sha256."""
        return self.images.groups_here

    def inputs(self, preprocess: Preprocess | None) -> ImageTensors | NpzTensors:
        """The images as the network takes them.

        Raises:
            InputError: images without a Preprocess.
        """
        if isinstance(self.images, NpzTensors):
            return self.images
        return ImageTensors(images=self.images, preprocess=needs_preprocess(preprocess, self.images.name))


def images_for(
    model: Path,
    data: str,
    names: Sequence[str] | None,
    *,
    output: str | None = None,
    part: Literal["val", "test"] = "test",
    preprocess: Preprocess | None = None,
    skip_bad_images: bool = False,
    split: Mapping[str, Part] = NO_SPLIT,
) -> Placed:
    """The labelled images of `data` for the classifier at `model`.

    The order of the classes is, in this order: `names`; that of the folders, as `order_of_folders` says; of an .npz, that of
    its numbers. What is not in `names` is refused, what is only there stays: it may be answered, and is wrong then.

    Args:
        model: an ONNX file.
        data: as for `open_labelled`.
        names: class names in the order of the outputs, from the file or from `--labels`; None where nobody says them.
        output: the output that answers, of a file with several.
        part: of data that comes in parts.
        preprocess: to find out how many outputs there are by running the model, where the file does not say it.
        skip_bad_images: go on without files that cannot be decoded.
        split: as for `open_labelled`.

    Raises:
        InputError: as `open_labelled` and `open_session`; not as many outputs as classes.
    """
    images = open_labelled(data, classes=names, part=part, skip_bad_images=skip_bad_images, split=split)
    order = ClassOrder(classes=tuple(names)) if names else order_of_folders(images.classes) if isinstance(images, Images) else None
    session = open_session(model, output=output, classes=len(order.classes) if order else None)
    width = session.outputs or _by_running(session, images, preprocess)
    if order is None:
        order = ClassOrder(classes=tuple(str(index) for index in range(max(2, width or _numbers(images)))))
    elif width is not None:
        check_width(width, order.classes, session.name)
    if isinstance(images, Images):
        images = relabelled(images, order.classes, data)
    elif _numbers(images) > len(order.classes):
        raise InputError(
            f"expected labels from 0 to {len(order.classes) - 1} in {data}, as {session.name} has {width or len(order.classes)} outputs, "
            f"found {_numbers(images) - 1}. Give images of the model's classes"
        )
    for line in (order.said, _taken(session)):
        if line:
            say(line)
    return Placed(images=images, order=order, session=session)


def near_duplicates_in(source: TensorSource) -> tuple[tuple[str, ...], ...]:
    """The groups of near-duplicates among network inputs, by sha256; none where nobody looked for them."""
    match source:
        case ImageTensors():
            return source.images.groups_here
        case NpzTensors():
            return source.groups_here
        case _:
            return ()


def several(session: Session) -> str | None:
    """The name of the output that answers, where the model has others too."""
    return session.output_name if len(session.engine.get_outputs()) > 1 else None


def _taken(session: Session) -> str | None:
    others = [node.name for node in session.engine.get_outputs() if node.name != session.output_name]
    return f"{session.name}: answers are taken from {session.output_name}, not from {', '.join(others)} (--output)" if others else None


def _numbers(images: Images | NpzTensors) -> int:
    """How many classes the labels need."""
    labels = images.labels
    return int(labels.max()) + 1 if labels is not None and len(labels) else 0


def _by_running(session: Session, images: Images | NpzTensors, preprocess: Preprocess | None) -> int | None:
    if isinstance(images, Images) and preprocess is None:
        return None
    source = ImageTensors(images=images, preprocess=preprocess) if isinstance(images, Images) and preprocess else images
    if not len(source) or isinstance(source, Images):
        return None
    return int(session.compute(next(iter(source.batches(1))).x).shape[1])
