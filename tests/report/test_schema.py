"""`report.json` is a contract: what is written reads back, and the checker names every way of breaking it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgetl.core.errors import InputError
from edgetl.metrics.parity import PairedDrop, verdict, verdict_of
from edgetl.report.schema import ImageCounts, Models, Report, read_report

CONTRACT = {  # design.md, section 5
    "": {"schema", "task", "metric", "bundle_sha256", "data", "models", "parity", "verdict", "shipped"},
    "data": {"name", "classes", "images"},
    "data.images": {"train", "val", "test", "calibration"},
    "models": {"teacher", "student", "onnx_float", "onnx_int8"},
    "models.onnx_int8": {"arch", "params", "size_bytes", "score", "score_ci95", "metrics", "latency_ms"},
    "models.teacher.latency_ms": {"p50", "p90", "threads", "runs"},
    "parity": {"export", "int8", "end_to_end"},
    "parity.export": {"images", "agreement", "max_abs_diff", "passed"},
    "parity.int8": {"images", "agreement", "sqnr_db", "drop", "drop_ci95", "max_drop", "verdict"},
    "parity.end_to_end": {"images", "agreement", "drop", "drop_ci95", "max_drop", "verdict"},
}


def at(data: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        data = data[name]
    return data


@pytest.mark.parametrize("path", CONTRACT)
def test_every_name_of_the_contract_is_there(report: Report, path: str) -> None:
    assert CONTRACT[path] <= set(at(report.to_json(), path))


def test_what_is_written_reads_back(report: Report) -> None:
    assert read_report(json.loads(report.to_text())) == report


def test_models_that_were_not_given_are_left_out(report: Report) -> None:
    alone = replace(
        report,
        models=Models(onnx_int8=report.models.onnx_int8),
        parity=replace(report.parity, export=None, end_to_end=None),
        data=replace(report.data, images=ImageCounts(test=450)),
    )
    data = alone.to_json()
    read_report(data)
    assert set(at(data, "models")) == {"onnx_int8"} and set(at(data, "parity")) == {"int8"} and set(at(data, "data.images")) == {"test"}


def test_equal_outputs_have_no_sqnr(report: Report) -> None:
    assert report.parity.int8
    equal = replace(report, parity=replace(report.parity, int8=replace(report.parity.int8, sqnr_db=None)))
    data = equal.to_json()
    assert at(data, "parity.int8")["sqnr_db"] is None
    read_report(data)


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    folder, _, name = path.rpartition(".")

    def change(data: dict[str, Any]) -> None:
        at(data, folder)[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("models.teacher.score", 1.2), "models.teacher.score: "),
        (_set("models.teacher.score", "0.9"), "models.teacher.score: "),
        (_set("models.onnx_float.score_ci95", [0.1, 0.2]), "models.onnx_float.score_ci95: [0.1, 0.2] does not hold the score"),
        (_set("models.teacher.latency_ms.p50", 9.0), "models.teacher.latency_ms: p50 is above p90"),
        (_set("models.student.confusion", [[450]]), "models.student.confusion: expected 10 rows of 10 numbers"),
        (_set("data.images.test", 451), "confusion: holds 450 images, data.images.test says 451"),
        (_set("data.classes", list("abcdefghij")), "per_class: not one row for each of data.classes"),
        (_set("parity.int8.droop", 0.0), "parity.int8.droop: "),
        (_set("parity.int8.sqnr_db", float("nan")), "Out of range float"),
        (_set("parity.end_to_end.verdict", "passed"), "parity.end_to_end.verdict: passed, but the numbers say certified"),
        (_set("parity.end_to_end.drop_ci95", [0.4, 0.5]), "parity.end_to_end.drop_ci95: [0.4, 0.5] does not hold the drop"),
        (_set("verdict", "fine"), "verdict: "),
        (_set("schema", 2), "schema: "),
    ],
)
def test_each_break_of_the_contract_is_named(report: Report, change: Callable[[dict[str, Any]], None], message: str) -> None:
    data: dict[str, Any] = json.loads(report.to_text())
    read_report(data)
    change(data)
    with pytest.raises(InputError) as error:
        read_report(data)
    assert message in str(error.value)


def test_all_breaks_are_named_together(report: Report) -> None:
    data: dict[str, Any] = json.loads(report.to_text())
    del data["metric"]
    data["shipped"] = "int4"
    with pytest.raises(InputError) as error:
        read_report(data)
    assert "metric: " in str(error.value) and "shipped: " in str(error.value)


def test_a_report_is_never_better_than_its_last_comparison(report: Report) -> None:
    data: dict[str, Any] = json.loads(report.to_text())
    data["parity"]["end_to_end"] |= {"max_drop": 0.001, "verdict": "failed"}
    with pytest.raises(InputError, match="verdict: certified, better than"):
        read_report(data)


@pytest.mark.parametrize(("drop", "high"), [(0.0, 0.0), (0.01, 0.01), (0.01, 0.011), (0.0101, 0.02), (-0.2, -0.1), (-0.1, 0.4)])
def test_verdicts_are_those_of_the_metrics(drop: float, high: float) -> None:
    measured = PairedDrop(drop=drop, low=-1, high=high, images=100, lost=1, gained=0, confidence=0.95)
    assert verdict_of(drop, -1, high, 0.01) == verdict(measured, 0.01)


def test_a_report_of_before_undecided_was_a_word_still_reads(report: Report) -> None:
    """It called failed what was only measured over its budget. Who says where the drop stands may not."""
    data: dict[str, Any] = json.loads(report.to_text())
    end = data["parity"]["end_to_end"]
    end |= {"max_drop": (end["drop"] + max(end["drop_ci95"][0], 0)) / 2, "verdict": "failed"}
    data["verdict"] = "failed"
    read_report(data)
    end["standing"] = "undecided"
    with pytest.raises(InputError, match="verdict: failed, but the numbers say undecided"):
        read_report(data)
