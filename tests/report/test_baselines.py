"""Whether pretraining helped the teacher: told in the page, negative transfer in words; what is no such file is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edgetl.core.errors import InputError
from edgetl.report.baselines import BaselineReport, Baselines, read_baselines
from edgetl.report.html import render
from edgetl.report.schema import Report, read_report

FOUND = Baselines(
    part="val",
    images=34,
    linear_probe=BaselineReport(score=0.97, standard_error=0.044),
    from_scratch=BaselineReport(score=0.41, standard_error=0.08, views=422, image_size=64),
    teacher=BaselineReport(score=0.971, standard_error=0.043),
    negative_transfer=False,
    strategy="features: as asked",
)


def test_the_page_shows_the_baselines_and_the_json_keeps_them(report: Report) -> None:
    told = replace(report, baselines=FOUND)
    assert read_report(json.loads(told.to_text())).baselines == FOUND
    page = render(told.to_json(), {})
    assert "Did pretraining help the teacher?" in page and "41.0%" in page and "422 of 64 px" in page
    assert "Negative transfer" not in page
    assert "Did pretraining help" not in render(report.to_json(), {})


def test_negative_transfer_is_said_in_words(report: Report) -> None:
    page = render(replace(report, baselines=replace(FOUND, negative_transfer=True)).to_json(), {})
    assert "Negative transfer: the network from scratch is better than the teacher" in page


def test_a_file_of_baselines_is_read_back_and_another_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "baselines.json"
    path.write_text(json.dumps(asdict(FOUND)))
    assert read_baselines(path) == FOUND
    path.write_text(json.dumps(asdict(FOUND) | {"part": "test"}))
    with pytest.raises(
        InputError, match=r"expected the baselines that finetune wrote at .*, found other content: (.|\n)*Delete its folder and run again"
    ):
        read_baselines(path)
