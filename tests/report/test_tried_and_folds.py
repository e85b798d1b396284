"""What was tried under a budget, and the folds, are in report.json and on the page."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from edgetl.core.errors import InputError
from edgetl.report.folds import Folds
from edgetl.report.frontier import Frontier, TooSlow, Tried
from edgetl.report.html import render
from edgetl.report.schema import Report, read_report


def tried(name: str, size: int, *, fits: bool, taken: bool = False) -> Tried:
    return Tried(student=name, image_size=224, score=0.9, size_bytes=size, latency_ms=2.5, fits=fits, taken=taken)


@pytest.fixture
def more(report: Report) -> Report:
    rows = (tried("net <a> at 224 px", 310_000, fits=True, taken=True), tried("b at 224 px", 400_000, fits=False))
    frontier = Frontier(part="val", images=34, standard_error=0.045, max_bytes=330_000, max_ms=None, tried=rows)
    folds = Folds(metric="mean recall", scores=(0.8, 0.9), mean=0.85, spread=0.0707, images=100, rarest=10)
    return replace(report, frontier=frontier, folds=folds)


def test_both_come_back_as_they_were_written(more: Report) -> None:
    assert read_report(more.to_json()) == more


def test_the_page_shows_them_and_lets_no_name_be_markup(more: Report) -> None:
    page = render(more.to_json(), {})
    assert "What smaller and larger students give" in page and "net &lt;a&gt; at 224 px" in page and "net <a>" not in page
    assert "310.0 kB" in page and "kept; distilled in full" in page and "exceeded" in page
    assert "has mean recall 85.0%, standard deviation 7.1 points (2 folds, 100 images, 10 of the rarest class)" in page


def test_the_plot_shows_the_score_that_chose(more: Report) -> None:
    """Nine of ten images are of one class: who always names it has the higher top1, and was not taken."""
    assert more.frontier is not None and "val score, %" in render(more.to_json(), {})
    rows = [replace(row, balanced=balanced) for row, balanced in zip(more.frontier.tried, (0.8, 0.5), strict=True)]
    plot = render(replace(more, frontier=replace(more.frontier, tried=tuple(rows))).to_json(), {}).partition("smaller and larger")[2]
    plot = plot[: plot.index("</figure>")]
    assert "mean recall on val, %" in plot and "val score" not in plot
    levels = [int(label) for label in re.findall(r">(\d+)</text>", plot) if int(label) >= 20]
    assert min(levels) <= 55


def test_what_was_too_slow_to_be_trained_is_in_the_table_and_has_no_score(more: Report) -> None:
    assert more.frontier is not None
    slow = TooSlow(student="slow <c> at 224 px", image_size=224, size_bytes=900_000, latency_ms=7.25)
    told = replace(more, frontier=replace(more.frontier, too_slow=(slow,)))
    assert read_report(told.to_json()) == told
    (row,) = re.findall(r"<tr>.*slow &lt;c&gt; at 224 px.*</tr>", render(told.to_json(), {}))
    assert re.findall(r"<td>(.*?)</td>", row) == ["-", "900.0 kB", "7.25 ms", "exceeded; not trained"]
    assert "too_slow" not in more.to_text() and "not trained" not in render(more.to_json(), {})


def test_without_them_nothing_is_said(report: Report) -> None:
    page = render(report.to_json(), {})
    assert "students give" not in page and "Cross-validation" not in page and "frontier" not in report.to_json()


def test_wrong_numbers_are_refused(more: Report) -> None:
    written: dict[str, Any] = more.to_json()
    written["folds"]["mean"] = 1.5
    with pytest.raises(InputError, match=r"folds\.mean"):
        read_report(written)
