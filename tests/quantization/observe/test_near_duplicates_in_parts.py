"""Near-duplicates may lie in two parts of the calibration images: then what reports is not held out, and it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetl.metrics.parity import wilson
from edgetl.quantization.engine import quantize
from edgetl.quantization.observe.split_for_judging import Arrays, CalibrationParts, groups_of_subset, subset
from edgetl.quantization.search.reported import Reported

from ...conftest import Told
from .test_split_for_judging import COUNT, drawn, numbered, numbers, places


@pytest.mark.parametrize("scenes", [5, 40, 200])
def test_what_reports_is_counted_by_its_scenes_and_by_those_that_lie_in_other_parts(scenes: int) -> None:
    groups = np.random.default_rng(scenes).integers(0, scenes, 200)
    parts, plain = CalibrationParts.of(numbered(200), groups), CalibrationParts.of(numbered(200))
    reporting, others = numbers(parts.reporting), {*numbers(parts.fitting), *numbers(parts.choosing)}
    assert parts.groups is not None and parts.groups.tolist() == [groups[place] for place in reporting]
    assert parts.alike == sum(any(groups[place] == groups[other] for other in others) for place in reporting)
    assert numbers(plain.reporting) == reporting and (plain.groups, plain.alike) == (None, 0)


def test_scenes_are_those_of_the_images_in_use_where_not_all_are() -> None:
    source, groups = numbered(COUNT), np.arange(COUNT) // 3
    used = subset(source, 20)
    found = groups_of_subset(used, source, groups)
    assert found is not None and found.tolist() == [number // 3 for number in numbers(used)]
    assert groups_of_subset(source, source, groups) is groups and groups_of_subset(used, source, None) is None


def test_an_image_whose_like_set_numbers_is_not_held_out_and_changes_no_byte(small: Path, noise: Any, tmp_path: Path, told: Told) -> None:
    """Six images report. One of them looks like one that fits; or three of them look alike, and tell as much as one."""
    x, at, out = drawn(noise), places(COUNT), tmp_path / "q.onnx"

    def found(groups: NDArray[np.int64] | None) -> tuple[Reported, bytes]:
        record = quantize(small, Arrays(x), out=out, tune_images=0, alike=groups)
        return record.reported, out.read_bytes()

    leaked, among, reporting = np.arange(COUNT), np.arange(COUNT), at["reporting"]
    leaked[reporting[2]], among[reporting[:3]] = at["fitting"][0], reporting[0]
    (plain, before), (single, _), (unsure, after), (fewer, _) = map(found, (None, np.arange(COUNT), leaked, among))
    assert plain == single and plain.held_out and plain.agreement == 1
    assert (unsure.held_out, unsure.agreement, after) == (False, plain.agreement, before)
    said = "on 6 calibration images, not held out (1 of them look like images that set the numbers or chose between methods)"
    assert unsure.line().startswith(said) and said in told.text
    assert fewer.held_out and (fewer.interval, plain.interval) == (pytest.approx(wilson(3, 3)), wilson(6, 6))
