"""Under a budget of milliseconds, what is too slow is known before anything is trained. Real networks, files and latencies, of digits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgetl.core.artifacts import Checkpoint
from edgetl.core.errors import InputError
from edgetl.core.preprocess import imagenet
from edgetl.core.progress import listening
from edgetl.core.workspace import Workspace
from edgetl.data.sources import open_images
from edgetl.models.build import build
from edgetl.models.channel_groups import parameter_count
from edgetl.models.checkpoint import load_model, read_checkpoint, save_checkpoint
from edgetl.report.frontier import read_frontier
from edgetl.selection.job import PipelineJob, prepare
from edgetl.settings import DataSettings, DistillSettings, FinetuneSettings, PipelineSettings, Runtime, SearchSettings
from edgetl.stages.finetune import Teacher
from edgetl.stages.timing import Timing
from edgetl.stages.untrained import Untrained
from edgetl.workflow import pipeline, screened, sought

from ..conftest import Told

ONE_THREAD = Runtime(device="cpu", threads=1)
LARGE = ("cifar_resnet16 pruned to 97% at 32 px", "edge_large at 32 px")  # the first round of digits


def job_of(budget: SearchSettings, folder: Path, wanted: DistillSettings | None = None) -> PipelineJob:
    """A search for a student of a few digits."""
    digits = open_images(None, DataSettings())
    settings = PipelineSettings(
        search=budget, distill=wanted or DistillSettings(), finetune=FinetuneSettings(arch="cifar_resnet16", image_size=32)
    )
    return prepare(replace(digits, refs=digits.refs[::9]), settings, ONE_THREAD, folder / "weights")


def made(run: Path, stage: str) -> dict[str, dict[str, Any]]:
    """Folder -> record, of each of the stages of this name that have ended."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(run.glob(f"stages/{stage}-*/result.json"))}


@dataclass
class Refused:
    """A run under a budget that nothing keeps."""

    run: Path
    said: list[str]
    error: str


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Refused:
    run = tmp_path_factory.mktemp("refused")
    with listening(told := Told()), Workspace(run) as do, pytest.raises(InputError) as caught:
        pipeline(job_of(SearchSettings(max_ms=1e-4), run), do)
    return Refused(run=run, said=told.lines, error=str(caught.value))


def latencies(run: Path) -> list[float]:
    """All that were measured, ms."""
    return [record["result"]["latency_ms"] for record in made(run, "timing").values()]


def test_what_nothing_can_keep_is_refused_before_the_teacher_learns_and_the_fastest_is_named(refused: Refused) -> None:
    assert not list(refused.run.glob("stages/finetune-*")) and not list(refused.run.glob("stages/distill-*"))
    fastest = f"the fastest, edge_tiny at 32 px, {min(latencies(refused.run)):.2f} ms"
    assert refused.error.startswith(
        "expected a budget that a student can meet, found 0.0001 ms: the smallest student that was tried, edge_"
    )
    assert fastest in refused.error and refused.error.endswith("Allow more with --max-kb or --max-ms")
    assert len(latencies(refused.run)) == 5


def test_each_round_says_in_one_line_what_was_too_slow(refused: Refused) -> None:
    lines = [line for line in refused.said if line.startswith("search: ")]
    assert [line.count(" takes ") for line in lines] == [2, 1, 1, 1]
    assert all(line.endswith(", more than 1.3 times the budget of 0.0001 ms: not trained") for line in lines)
    assert all(name in lines[0] for name in LARGE)


def test_what_is_too_slow_is_not_distilled_and_another_budget_measures_nothing_again(refused: Refused, tmp_path: Path) -> None:
    (slowest, *_), before = sorted(latencies(refused.run), reverse=True), made(refused.run, "timing")
    budget = 0.4 * slowest
    job = job_of(SearchSettings(max_ms=budget, epochs=1), refused.run)
    save_checkpoint(
        path := tmp_path / "teacher.safetensors",
        model=build("cifar_resnet16", 10, 32),
        arch="cifar_resnet16",
        classes=job.data.classes,
        preprocess=job.teacher.preprocess,
        seen=job.data.only("train", "val").seen(),
        provenance={},
    )
    with Workspace(refused.run) as do:
        found, frontier = sought(job, Teacher(checkpoint=Checkpoint.of(path), val_score=0.5, best_epoch=1), screened(job, do), do)
    trained = {record["fields"]["settings"]["arch"] for record in made(refused.run, "distill").values()}
    assert trained and trained <= {"edge_medium", "edge_small", "edge_tiny"} and found.student.settings.arch in trained
    written = read_frontier(frontier.path)
    assert written.too_slow is not None and tuple(row.student for row in written.too_slow[:2]) == LARGE
    assert not {row.student for row in written.tried} & set(LARGE) and all(row.latency_ms > budget for row in written.too_slow)
    assert made(refused.run, "timing") == before


def test_a_killed_measurement_goes_on_where_it_was(tmp_path: Path) -> None:
    """Two students are measured in the first round; the second time only what was missing."""
    job, run = job_of(SearchSettings(max_ms=99), tmp_path), tmp_path / "run"
    with Workspace(run) as do:

        def killed(stage: Any) -> Any:
            if isinstance(stage, Timing) and list(run.glob("stages/timing-*")):
                raise KeyboardInterrupt
            return do(stage)

        with pytest.raises(KeyboardInterrupt):
            screened(job, killed)
    (first,) = (before := made(run, "timing"))
    with Workspace(run) as do:
        found = next(screened(job, do))
    assert len(found.kept) == 2 and not found.slow
    assert len(made(run, "timing")) == 2 and made(run, "timing")[first] == before[first]


def test_a_student_by_name_that_is_too_slow_is_refused_and_leaving_the_name_out_is_offered(tmp_path: Path) -> None:
    job = job_of(SearchSettings(max_ms=1e-4), tmp_path, DistillSettings(arch="edge_tiny"))
    with Workspace(tmp_path / "run") as do, pytest.raises(InputError, match=r"edge_tiny at 32 px, takes .*, or leave out --student$"):
        screened(job, do)


def test_under_a_budget_of_bytes_nothing_is_measured(tmp_path: Path) -> None:
    asked: list[Any] = []
    rounds: Iterator[Any] = screened(job_of(SearchSettings(max_kb=100), tmp_path), asked.append)
    (found,) = rounds
    assert [choice.settings.arch for choice in found.kept] == ["pruned", "edge_small"] and not found.slow and not asked


def test_an_untrained_network_has_the_share_that_the_student_will_have_and_answers_with_finite_numbers(tmp_path: Path) -> None:
    stage = Untrained(arch="cifar_resnet16", keep=0.3, classes=("a", "b"), preprocess=imagenet(32), runtime=ONE_THREAD)
    state, paths = torch.get_rng_state(), []
    for name in ("once", "again"):
        (out := tmp_path / name).mkdir()
        paths.append(stage.run(out).checkpoint)
    assert paths[0].sha256 == paths[1].sha256 and torch.equal(torch.get_rng_state(), state)
    model, whole = load_model(paths[0].path), build("cifar_resnet16", 2, 32)
    share = parameter_count(model) / parameter_count(whole)
    assert 0.27 < share <= 0.3 and read_checkpoint(paths[0].path).pruned == pytest.approx(share)
    logits = model(torch.randn(4, 3, 32, 32))
    assert logits.std() > 1e-3 and logits.abs().max() < 1e3
