"""What people read: the words say what the numbers say, the page needs nothing from outside and obeys nobody's class names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from edgetl.report import figures
from edgetl.report.html import render
from edgetl.report.schema import ImageCounts, Models, Report
from edgetl.report.text import comparison, markdown, verdict_words

from .conftest import log, trial

HOSTILE = (
    "<script>alert(1)</script>",
    "a & b --> c",
    "$\\frac{1}{0}$",
    '"><img src=x onerror=alert(2)>',
    "]]>",
    "鳥",
    "عصفور",
    "\\n",
    "{{ 7*7 }}",
)


class Page(HTMLParser):
    """Tags with their attributes, ids, and the text between tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def alone(report: Report) -> Report:
    """What a standalone `verify` of an int8 file against a float file gives."""
    assert report.parity.int8
    return replace(
        report,
        bundle_sha256=None,
        models=Models(onnx_float=report.models.onnx_float, onnx_int8=report.models.onnx_int8),
        parity=replace(report.parity, export=None, end_to_end=None),
        verdict=report.parity.int8.verdict,
        data=replace(report.data, images=ImageCounts(test=report.data.images.test)),
    )


def small(report: Report) -> Report:
    """The same with two models, which are drawn sooner than four."""
    return replace(report, models=replace(report.models, student=None, onnx_float=None))


def without_matrices(report: Report) -> Report:
    """The same with one model and no confusion matrix: for tests of words."""
    assert report.models.onnx_int8
    return replace(report, models=Models(onnx_int8=replace(report.models.onnx_int8, confusion=None)))


CURVES = {"finetune": log(12), "distill": log(40)}


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render(report.to_json(), CURVES)


def test_the_table_holds_the_numbers_of_the_report(report: Report) -> None:
    header, *rows = comparison(report.to_json())
    assert [row[0] for row in rows] == ["teacher", "student", "float ONNX", "int8 ONNX (ships)"]
    assert report.models.onnx_int8 and report.models.teacher
    cells = dict(zip(header, rows[-1], strict=True))
    assert cells["top1"] == f"{100 * report.models.onnx_int8.score:.1f}%"
    assert (cells["size"], cells["smaller"]) == ("84.2 kB", f"{1_093_400 / 84_210:.1f}x")
    assert (cells["latency p50"], cells["faster"]) == ("0.11 ms", f"{0.68 / 0.11:.1f}x")


def test_markdown_has_as_many_cells_in_every_row(report: Report) -> None:
    lines = [line for line in markdown(report.to_json()).splitlines() if line.startswith("|")]
    assert len(lines) == 6 and len({line.count("|") for line in lines}) == 1


def test_words_for_each_verdict() -> None:
    certified = verdict_words(trial().report().to_json())
    assert re.fullmatch(
        r"Certified: the int8 model loses 1\.78 points against the teacher on 450 test images; .* within the budget of 5 points\.",
        certified,
    )
    failed = verdict_words(trial(max_drop=0.001).report().to_json())
    assert failed.startswith("Failed: the int8 model loses") and "over the budget of 0.1 points" in failed and "Do not ship" in failed


def test_passed_says_how_many_images_would_prove_it() -> None:
    report = trial(max_drop=0.02).report()
    assert report.verdict == "passed" and report.parity.end_to_end and report.parity.end_to_end.images_needed
    words = verdict_words(report.to_json())
    (said,) = re.findall(r"About ([\d,]+) test images", words)
    needed = report.parity.end_to_end.images_needed
    assert needed <= int(said.replace(",", "")) <= 1.1 * needed + 1
    assert said in Page(render(without_matrices(report).to_json(), {})).text


def test_a_failed_export_is_what_the_words_are_about(report: Report) -> None:
    assert report.parity.export
    broken = replace(
        report, verdict="failed", parity=replace(report.parity, export=replace(report.parity.export, passed=False, max_abs_diff=3.5))
    )
    words = verdict_words(broken.to_json())
    assert "outputs differ by up to 3.5" in words and "points" not in words
    assert "Report this as a bug" in Page(render(without_matrices(broken).to_json(), {})).text


def test_a_standalone_report_speaks_of_what_it_was_given(report: Report) -> None:
    data = alone(report).to_json()
    text = Page(render(data, {})).text
    assert "against the float model" in verdict_words(data)
    assert "teacher" not in text and "How the training went" not in text and "Bundle:" not in text


def test_the_page_says_what_happened_and_what_to_do(page: str, report: Report) -> None:
    text = Page(page).text
    for words in (
        "Certified",
        "What to know",
        "What to do",
        "Tango 1998",
        "golden vectors",
        "SQNR 31.4 dB",
        "How the training went",
        "finetune",
    ):
        assert words in text
    assert str(report.bundle_sha256) in text and "Its weakest class is “2”" in text


def test_same_report_same_bytes(page: str, report: Report) -> None:
    first, again = (render(small(report).to_json(), {"distill": log(5)}) for _ in range(2))
    assert first == again
    assert not re.search(r"\b20\d\d-\d\d-\d\d", page)


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    found = Page(page)
    assert not {"script", "link", "iframe", "object", "embed", "img"} & {tag for tag, _ in found.tags}
    for _, attributes in found.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert "@import" not in page and not re.search(r"url\((?!#)", page)


def test_ids_that_repeat_name_the_same_thing(page: str) -> None:
    found: dict[str, str] = {}
    for name, body in re.findall(r'<(?:clipPath|path) id="([^"]+)"(.*?)(?:/>|</clipPath>)', page, flags=re.DOTALL):
        assert found.setdefault(name, body) == body


def obeys_nothing(page: str) -> Page:
    found = Page(page)
    assert not {"script", "img"} & {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    return found


def test_class_names_are_text_and_nothing_else() -> None:
    page = render(small(trial(classes=HOSTILE, count=200).report()).to_json(), {})
    found = obeys_nothing(page)
    assert all(name in found.text for name in HOSTILE)
    for drawing in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(drawing)


def test_other_names_from_outside_are_text_and_nothing_else() -> None:
    report = small(trial(classes="ab", count=60).report())
    assert report.models.teacher
    named = replace(
        report,
        data=replace(report.data, name="data" + HOSTILE[0]),
        models=replace(report.models, teacher=replace(report.models.teacher, arch="arch" + HOSTILE[3])),
        notes=("note" + HOSTILE[0],),
    )
    found = obeys_nothing(render(named.to_json(), {"stage" + HOSTILE[0]: log(3)}))
    assert all(word in found.text for word in ("data<script>", 'arch"><img', "note<script>", "stage<script>"))


@pytest.mark.parametrize("count", [2, 30, 31, 100, 1000])
def test_confusion_matrices_of_any_size_stay_small_and_readable(count: int) -> None:
    matrix = np.eye(count, dtype=np.int64) * 5
    drawing = figures.svg(figures.confusion_figure(matrix.tolist(), [f"class {i}" for i in range(count)]))
    labels = ElementTree.fromstring(drawing).findall(".//{http://www.w3.org/2000/svg}text")
    assert len(labels) < 80 and len(drawing) < 200_000
    assert ("class 1" in drawing) == (count <= 30)


def test_figures_leave_no_state_and_no_date(report: Report) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figure, same = figures.curves_figure(log(5)), figures.curves_figure(log(5))
    assert figure and same
    first = figures.svg(figure)
    assert first == figures.svg(same) and dict(mpl.rcParams) == before
    assert "metadata" not in first and figures.INK not in first and figures.FAINT not in first
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "val score, %"] and figure.axes[1].get_xlabel() == "epoch"


def test_every_axis_of_numbers_carries_its_unit(report: Report) -> None:
    from edgetl.report.text import models_of

    models = list(models_of(report))
    latency = figures.latency_figure(models)
    assert latency and report.parity.int8
    drawn = (
        figures.score_figure(models, "top1"),
        figures.size_figure(models),
        latency,
        figures.drop_figure([("int8", report.parity.int8)]),
    )
    assert [figure.axes[0].get_xlabel() for figure in drawn] == [
        "top1, %",
        "ONNX file, MB",
        "latency of one image, ms",
        "drop, percentage points",
    ]


def test_drawing_writes_nothing_at_home_and_imports_no_torch_or_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from edgetl.report import figures\n"
        "figures.svg(figures.confusion_figure([[1, 0], [0, 1]], ['a', 'b']))\n"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules), 'imported'\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    environment |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
