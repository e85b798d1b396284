"""Laws of the three parts: what fits, what chooses and what reports share no image, and only the first sets a number."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

import edgetl
from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.engine import quantize
from edgetl.quantization.learn.tune import tune
from edgetl.quantization.observe.split_for_judging import (
    FEWEST_TO_CHOOSE,
    HELD_OUT_EVERY,
    Arrays,
    CalibrationParts,
    PartSizes,
    UnlabeledBatch,
    few_images,
    spread,
    subset,
)
from edgetl.quantization.record import QuantizationRecord
from edgetl.quantization.search.search import Budget
from edgetl.runtime.session import InputSource, open_session

from ...conftest import Told

COUNT = 60
TRIED = ("extremes as ranges", "ranges by reconstruction", "second-order rounding", "biases corrected", "tuned together")


def numbered(count: int) -> Arrays:
    """Images of one pixel, each its own number."""
    return Arrays(np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1))


def numbers(source: InputSource | None, size: int = 7) -> list[int]:
    """Which of `numbered` a source gives."""
    return [] if source is None else [int(value) for batch in source.batches(size) for value in batch.x.ravel()]


def places(count: int) -> dict[str, list[int]]:
    """What each of so many images does."""
    parts = CalibrationParts.of(numbered(count))
    return {"fitting": numbers(parts.fitting), "choosing": numbers(parts.choosing), "reporting": numbers(parts.reporting)}


@pytest.mark.parametrize("count", [*range(1, 45), 99, 256, 1003])
def test_every_image_does_one_thing(count: int) -> None:
    found, sizes, parts = places(count), PartSizes.of(count), CalibrationParts.of(numbered(count))
    assert [len(found["fitting"]), len(found["choosing"]), len(found["reporting"])] == [sizes.fitted, sizes.chose, sizes.reported]
    assert len(parts.fitting) == sizes.fitted and len(parts.reporting) == sizes.reported
    if count < HELD_OUT_EVERY:
        assert found["fitting"] == found["reporting"] == list(range(count)) and not found["choosing"] and not parts.held_out
        return
    assert sorted([*found["fitting"], *found["choosing"], *found["reporting"]]) == list(range(count)) and parts.held_out
    assert bool(found["choosing"]) == (count >= FEWEST_TO_CHOOSE) and (parts.choosing is None) == (count < FEWEST_TO_CHOOSE)
    assert sizes.fitted >= 0.8 * count and abs(sizes.chose - sizes.reported) <= (1 if count >= FEWEST_TO_CHOOSE else HELD_OUT_EVERY)


@pytest.mark.parametrize("order", ["one class after the other", "classes in turn"])
@pytest.mark.parametrize("classes", [2, 5, 10])
def test_parts_hold_every_class_whatever_the_order(order: str, classes: int) -> None:
    """A part of every tenth image would hold one of ten classes that come in turn; one of the first images those of the first class."""
    labels = np.repeat(np.arange(classes), 400 // classes) if order.startswith("one") else np.arange(400) % classes
    for held in (places(400)["choosing"], places(400)["reporting"], numbers(subset(numbered(400), 40)), few_images(numbered(400)).ravel()):
        share = np.bincount(labels[np.asarray(held, int)], minlength=classes) / len(held)
        assert share.min() > 0 and share.max() < 3 / classes, share


def test_places_are_one_in_each_slice() -> None:
    for images, count in ((10, 4), (1003, 200), (7, 7), (5, 0)):
        found = spread(images, count)
        assert [index for index, place in enumerate(found) if images * index // count <= place < images * (index + 1) // count] == list(
            range(count)
        )
        assert len(set(found.tolist())) == count


@pytest.mark.parametrize("size", [1, 3, 64])
def test_parts_are_the_same_in_any_batches(size: int) -> None:
    parts = CalibrationParts.of(numbered(101))
    for part in (parts.fitting, parts.choosing, parts.reporting):
        assert part is not None and numbers(part, size) == numbers(part, 101)
        assert all(len(batch.x) <= size for batch in part.batches(size))


@dataclass(frozen=True)
class Made:
    """`count` images, each made when it is asked for."""

    count: int

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int) -> Iterator[UnlabeledBatch]:
        for start in range(0, self.count, size):
            yield UnlabeledBatch(np.full((min(size, self.count - start), 3, 32, 32), start, np.float32))


def test_memory_does_not_grow_with_the_images() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        assert few_images(CalibrationParts.of(Made(count)).fitting).shape == (64, 3, 32, 32)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(100)
    assert peak(4000) < peak(400) + 1_000_000  # the images themselves are 49 MB


def drawn(noise: Any, seed: int = 0) -> NDArray[np.float32]:
    (batch,) = noise(COUNT, seed=seed).batches(COUNT)
    found: NDArray[np.float32] = batch.x
    return found


def made(small: Path, x: NDArray[np.float32], out: Path, **options: Any) -> tuple[QuantizationRecord, bytes]:
    record = quantize(small, Arrays(x), out=out, **{"tune_images": 64, **options})
    return record, out.read_bytes()


def choices(record: QuantizationRecord) -> list[tuple[str, bool, float | None, str | None]]:
    return [(trial.name, trial.kept, trial.sqnr_db, trial.why_not) for trial in record.trials]


@pytest.mark.parametrize("part", ["fitting", "choosing", "reporting"])
def test_an_absurd_image_moves_ranges_only_where_it_fits(small: Path, noise: Any, tmp_path: Path, part: str) -> None:
    """The planted leak: had a judge's image been seen, the extremes of 300 times its values were those of the ranges."""
    x = drawn(noise)
    plain, _ = made(small, x, tmp_path / "a.onnx", tune_images=0)
    x[places(COUNT)[part][1]] *= 300
    found, _ = made(small, x, tmp_path / "b.onnx", tune_images=0)
    assert (found.ranges == plain.ranges) == (part != "fitting")


def test_what_reports_changes_neither_the_bytes_nor_a_choice(small: Path, noise: Any, tmp_path: Path) -> None:
    """All of its images others, and one of them absurd: the same file by the same trials, only the report is another."""
    x, reporting = drawn(noise), places(COUNT)["reporting"]
    plain, before = made(small, x, tmp_path / "a.onnx", budget=Budget(min_agreement=0.5))
    x[reporting] = drawn(noise, seed=7)[reporting]
    x[reporting[0]] *= 300
    found, after = made(small, x, tmp_path / "b.onnx", budget=Budget(min_agreement=0.5))
    assert before == after and choices(found) == choices(plain) and found.noise == plain.noise
    assert [trial.name for trial in found.trials[1:]] == list(TRIED) and found.trials[-1].why_not is None
    assert found.within == plain.within and found.reported.sqnr_db != plain.reported.sqnr_db


def test_what_chooses_sets_no_number(small: Path, noise: Any, tmp_path: Path) -> None:
    """Wherever other images choose the same ways, every range, rounding, bias and tuned number is the same."""
    x, choosing = drawn(noise), places(COUNT)["choosing"]
    plain, before = made(small, x, tmp_path / "a.onnx")
    alike = 0
    for seed in range(1, 7):  # choices between ways that are as good are chance
        x[choosing] = drawn(noise, seed)[choosing]
        found, after = made(small, x, tmp_path / "b.onnx")
        assert found.ranges == plain.ranges and found.reported.images == plain.reported.images
        assert [trial.sqnr_db for trial in found.trials[1:]] != [trial.sqnr_db for trial in plain.trials[1:]]
        if [trial.kept for trial in found.trials] == [trial.kept for trial in plain.trials]:
            alike += 1
            assert before == after and found.reported == plain.reported
    assert alike


def test_what_fits_sets_numbers(small: Path, noise: Any, tmp_path: Path) -> None:
    """The laws above could hold of an engine that looks at nothing."""
    x = drawn(noise)
    _, before = made(small, x, tmp_path / "a.onnx")
    x[places(COUNT)["fitting"][3]] *= 1.5
    assert made(small, x, tmp_path / "b.onnx")[1] != before


def test_what_is_reported_is_what_onnxruntime_answers(small: Path, noise: Any, tmp_path: Path) -> None:
    """Both files run by onnxruntime itself on the images that report, by the usual formulas."""
    x = drawn(noise)
    record, _ = made(small, x, tmp_path / "int8.onnx", target="portable")
    chosen, answers = x[places(COUNT)["reporting"]], []
    for path in (small, tmp_path / "int8.onnx"):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        answers.append(np.concatenate([session.run(None, {"input": image[None]})[0] for image in chosen]).astype(np.float64))
    wanted, found = answers
    decibels = 10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum())
    assert record.reported.agreement == (wanted.argmax(1) == found.argmax(1)).mean()
    assert record.reported.sqnr_db == pytest.approx(decibels, abs=0.05)
    assert (record.reported.images, record.reported.held_out, record.reported.why_not) == (6, True, None)
    low, high = record.reported.interval
    assert 0 <= low <= record.reported.agreement <= high <= 1 and high - low > 0.3  # six images say little


@pytest.mark.parametrize(("count", "judged", "held_out", "images"), [(3, 0, False, 3), (12, 0, True, 2), (20, 4, True, 2)])
def test_with_few_images_fewer_ways_are_tried_and_it_is_said(
    small: Path, noise: Any, tmp_path: Path, told: Told, count: int, judged: int, held_out: bool, images: int
) -> None:
    record = quantize(small, noise(count), out=tmp_path / "q.onnx")
    tried = [trial for trial in record.trials if trial.name in TRIED and trial.why_not is None]
    assert len(tried) == max(1, judged) and all(trial.judged == bool(judged) for trial in tried)
    assert (record.reported.held_out, record.reported.images) == (held_out, images)
    said = told.text
    assert ("are not held out" in said and "not held out (too few calibration images" in said) == (not held_out)
    assert ("only one method is tried, since a choice between methods needs at least 20" in said) == (count == 12)
    assert ("the only method that is tried" in said) == (judged == 0)
    if judged:
        assert "of 20 calibration images 16 are for fitting, 2 for choosing between methods and 2 for the final figures" in said
    else:
        assert "too few to hold any out" in said or "to choose by" in said


def test_the_call_says_whether_its_figures_are_held_out(small: Path, noise: Any) -> None:
    many, few = (edgetl.quantize(small, drawn(noise)[:count], tune_images=0) for count in (40, 3))
    assert many.held_out and (many.images, many.interval) == (4, many.log.reported.interval)
    assert not few.held_out and few.images == 3 and "all there is" in str(few.log.reported.why_not)


@pytest.mark.parametrize(("count", "held_out"), [(12, False), (COUNT, True)])
def test_images_that_had_to_choose_layers_do_not_report(small: Path, noise: Any, tmp_path: Path, count: int, held_out: bool) -> None:
    """Below 20 images none can be spared for the search of layers: those that report judge it, and are no longer held out.

    Images that are held out are three times as strong as those that set the ranges, near which the classes are told apart: int8 fails.
    """
    (batch,), x = noise(1000).batches(1000), drawn(noise)[:count]
    model = onnx.load(small)
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "head.bias")
    shift = open_session(small).run(3 * batch.x).mean(0)
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) - shift, "head.bias"))
    onnx.save(model, tmp_path / "undecided.onnx")
    x[places(count)["choosing"] + places(count)["reporting"]] *= 3
    record = quantize(tmp_path / "undecided.onnx", Arrays(x), out=tmp_path / "a.onnx", tune_images=0, budget=Budget(min_agreement=1.0))
    assert len(record.evaluations) > 1 and record.floating_by == "calibration"
    assert record.reported.held_out == held_out and (record.reported.why_not is None) == held_out
    assert held_out or "these chose the layers" in record.reported.line()


def test_tuning_on_fewer_images_than_there_are_looks_at_spread_ones(small: Path, noise: Any) -> None:
    from edgetl.quantization.prepare.prepare import prepare_graph

    x = drawn(noise)
    start = Baseline.of(prepare_graph(small), Arrays(x), "portable", batch_size=32, threads=1)
    before, looked_at = start.by_extremes, set(spread(COUNT, 16).tolist())

    def tuned(images: NDArray[np.float32]) -> bytes:
        return tune(start.model, before, Arrays(images), pairs=start.pairs, images=16).SerializeToString(deterministic=True)

    plain, other = tuned(x), x.copy()
    left_out = [place for place in range(COUNT) if place not in looked_at]
    other[left_out] *= 5
    assert tuned(other) == plain and max(looked_at) > 50
    other[max(looked_at)] *= 5
    assert tuned(other) != plain
