"""Which network to take: the best, or the quickest of those that are as good as can be told; what was found is written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetl.selection.recommend import NetworkRow, Recommendation, choice, doubt, write


def row(arch: str, score: float, ms: float, kb: float = 100.0) -> NetworkRow:
    return NetworkRow(
        arch=arch, image_size=224, weights="package:x", score=score, standard_error=0.02, parameters=1000, int8_kb=kb, int8_ms=ms
    )


@pytest.mark.parametrize(
    ("rows", "taken"),
    [
        ([("a", 0.95, 9.0), ("b", 0.94, 2.0), ("c", 0.90, 1.0)], 1),  # within one standard error, and quicker
        ([("a", 0.95, 1.0), ("b", 0.94, 2.0)], 0),
        ([("a", 0.95, 9.0), ("b", 0.92, 1.0)], 0),  # quicker, but worse by more than one standard error
    ],
)
def test_of_those_within_one_standard_error_the_quickest_is_taken(rows: list[tuple[str, float, float]], taken: int) -> None:
    found = [row(*each) for each in rows]
    index, reason = choice(found)
    assert index == taken and reason.startswith(f"{found[taken].arch} at 224 px")


def test_a_ranking_by_chance_is_called_one() -> None:
    """Of 20 ants and 4 bees, five of six networks always said "ant", and the fastest was recommended as the best."""
    assert doubt(row("a", 0.515, 9.0), 2).startswith(". But no network is shown to tell the classes apart: 51.5% ± 2.0, where 50.0% are")
    assert doubt(row("a", 0.53, 9.0), 2) == doubt(row("a", 0.515, 9.0), 3) == ""


def test_numbers_of_networks_that_lie_on_each_other_stand_side_by_side(tmp_path: Path) -> None:
    """One network at two input sizes has one size of file: 1 and 2 were printed on each other."""
    rows = (row("a", 0.959, 93.0, 1820), row("a", 0.955, 23.0, 1820), row("b", 0.8, 41.0, 500))
    write(Recommendation(images=245, rows=rows, take=1, reason="so"), tmp_path)
    drawing = (tmp_path / "recommend.svg").read_text()
    assert drawing.count(">1, 2</text>") == 1 and drawing.count(">1</text>") == drawing.count(">2</text>") == 1


def test_table_and_plot_are_written(tmp_path: Path) -> None:
    rows = (row("a", 0.95, 9.0, 3000), row("b", 0.94, 2.0, 900))
    found = Recommendation(images=245, rows=rows, take=1, reason="b at 224 px: so")
    write(found, tmp_path)
    said = json.loads((tmp_path / "recommend.json").read_text())
    assert (
        said["take"] == 1
        and said["metric"] == "top1"
        and [each["arch"] for each in said["networks"]] == ["a", "b"]
        and said["images"] == 245
    )
    drawing = (tmp_path / "recommend.svg").read_text()
    assert drawing.startswith("<svg xmlns=") and "a 224 px" in drawing and "b 224 px" in drawing and "int8 file, kB" in drawing
