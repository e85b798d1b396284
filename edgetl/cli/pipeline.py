"""A pipeline as a person runs it: read the images, say what will happen, run, publish, write down what ran."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetl.bundle.read import MANIFEST
from edgetl.core.cpus import available_cpus
from edgetl.core.errors import InputError
from edgetl.core.files import disk_errors, read_json, write_json
from edgetl.core.plan import StagePlan, StageStatus, UnknownInputs
from edgetl.core.progress import say
from edgetl.core.publish import check_place
from edgetl.core.workspace import INDEX, RECORD, SPLIT, WEIGHTS, Workspace, library_versions
from edgetl.data.earlier import Earlier, write_split
from edgetl.data.files import find_images
from edgetl.data.images import Images
from edgetl.data.leftout import is_own
from edgetl.data.sources import KNOWN_NAMES, existing, no_such, open_images
from edgetl.runtime.cpu import cpu_name
from edgetl.settings import DataSettings, PipelineSettings, Runtime

if TYPE_CHECKING:
    from edgetl.selection.job import PipelineJob

STAGE_ORDER = ("finetune", "distill", "quantize", "export", "verify")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The request of a run, without its settings."""

    data: str | None
    root: Path
    unlabeled: str | None = None
    allow_known_data: bool = False
    rehash: bool = False
    runtime: Runtime = Runtime()


def run_pipeline(request: Request, out: Path, settings: PipelineSettings) -> dict[str, Any]:
    """Run the unfinished stages and publish `bundle/` and the reports in `out`; returns the content of report.json.

    Raises:
        EdgetlError: input or settings that cannot be used, the folder in use, the disk full.
    """
    check_out(out, request.data)
    with Workspace(out) as do:
        earlier = Earlier.read(out / SPLIT, settings.data)
        data = open_images(request.data, settings.data, root=request.root, index=out / INDEX, rehash=request.rehash, earlier=earlier.parts)
        write_split(out / SPLIT, data, settings.data)
        from edgetl.selection.job import prepare
        from edgetl.workflow import BUNDLE, pipeline, publish

        check_place(out / BUNDLE, MANIFEST)
        job = prepare(
            data,
            settings,
            request.runtime,
            out / WEIGHTS,
            allow_known_data=request.allow_known_data,
            unlabelled=unlabelled(request.unlabeled, data, settings.data),
        )
        write_record(out, settings, request)
        if left := unfinished_stages(job, out):
            from edgetl.cli.estimate import estimate, rehearse_pruning

            say(estimate(job, out).line())
            if "distill" in left:
                rehearse_pruning(job)
        outcome = pipeline(job, do)
        publish(outcome, out)
        write_record(out, settings, request, {stage: log.parent.name for stage, log in outcome.logs.items()})
        report: dict[str, Any] = read_json(out / "report.json")
        return report


def unlabelled(folder: str | Path | None, data: Images, settings: DataSettings) -> Images | None:
    """The photos in `folder`, without those that judge; None where no folder is given."""
    from edgetl.data.unlabelled import open_unlabelled

    return None if folder is None else open_unlabelled(Path(folder), data, skip_bad_images=settings.skip_bad_images)


def check_out(out: Path, data: str | None) -> None:
    """Pass unless the run would be written among photos of a class: run folders inside of them are left out, with all that is in them.

    Raises:
        InputError: `out` is the folder of the images, or one of theirs.
    """
    photos = None if data is None else existing(data)
    if photos is None or not photos.is_dir() or not out.is_dir() or is_own(out):
        return
    inside = photos.resolve() in out.resolve().parents and bool(find_images(out).images)
    if photos.resolve() == out.resolve() or inside:
        raise InputError(
            f"expected a run folder (--out) without photos, found that {out} contains images of DATA. "
            f"Choose another --out, for example {out / 'runs'}"
        )


def recorded_threads(out: Path) -> int | None:
    """The thread count of the run that began in `out`: what goes on there rounds alike."""
    with suppress(InputError, AttributeError):
        found = read_json(out / RECORD).get("request", {}).get("runtime", {}).get("threads")
        return found if isinstance(found, int) and found > 0 else None
    return None


def unfinished_stages(job: PipelineJob, out: Path) -> frozenset[str]:
    """The stages that have anything left to do, by name."""
    from edgetl.workflow import pipeline

    plan = StagePlan(out)
    with suppress(UnknownInputs):
        pipeline(job, plan)
    told = {finding.stage for finding in plan.findings}
    return frozenset(finding.stage for finding in plan.findings if not finding.done) | (frozenset(STAGE_ORDER) - told)


def explain(out: Path, changes: Mapping[str, Mapping[str, Any]]) -> list[StageStatus]:
    """What the command recorded in `out`, with some settings changed, would run again.

    Raises:
        InputError: `out` is no run folder of `edgetl pipeline`.
    """
    from edgetl.cli.settings_options import merged
    from edgetl.selection.job import prepare
    from edgetl.workflow import pipeline

    if not (out / RECORD).is_file():
        raise InputError(
            f"expected a run folder of `edgetl pipeline` at {out}, found no {RECORD} there. "
            f"Start one with `edgetl pipeline DATA --out {out}`"
        )
    record = read_json(out / RECORD)
    settings = PipelineSettings.from_tables(merged(record["settings"], changes))
    asked = record["request"]
    request = Request(
        data=asked["data"],
        root=Path(asked["root"]),
        unlabeled=asked.get("unlabeled"),
        allow_known_data=asked["allow_known_data"],
        runtime=Runtime(**asked["runtime"]),
    )
    earlier = Earlier.read(out / SPLIT, settings.data)
    data = open_images(request.data, settings.data, root=request.root, index=out / INDEX, earlier=earlier.parts)
    plan = StagePlan(out)
    with suppress(UnknownInputs):
        others = unlabelled(request.unlabeled, data, settings.data)
        job = prepare(data, settings, request.runtime, out / WEIGHTS, allow_known_data=request.allow_known_data, unlabelled=others)
        pipeline(job, plan)
    told = {finding.stage for finding in plan.findings}
    return plan.findings + [StageStatus(stage=name, done=False, reasons=("not run yet",)) for name in STAGE_ORDER if name not in told]


@contextmanager
def opened(
    data: str, out: Path, split: DataSettings, root: Path, teacher: Path | None = None, *, verbose: bool = False
) -> Iterator[tuple[Images, Workspace]]:
    """The images of `data` and the workspace at `out`, with progress shown; for one stage alone.

    Images keep the parts that they had in `out`, or else in the run of `teacher`: what that was trained on judges no student.
    """
    from edgetl.cli.console import shown

    check_out(out, data)
    with shown(verbose=verbose), Workspace(out) as do:
        earlier = {**Earlier.of_run(teacher, split).parts, **Earlier.read(out / SPLIT, split).parts}
        images = open_images(data, split, root=root, index=out / INDEX, earlier=earlier)
        write_split(out / SPLIT, images, split)
        yield images, do


def write_results(out: Path, results: Mapping[str, Path]) -> None:
    """`run.json` of one stage alone: versions, command line, and the folder that holds the stage's result."""
    folders = {stage: checkpoint.parent.name for stage, checkpoint in results.items()}
    with disk_errors(out):
        write_json(out / RECORD, {"versions": library_versions(), "command": sys.argv[1:], "results": folders})


def write_record(out: Path, settings: PipelineSettings, request: Request, results: Mapping[str, str] | None = None) -> None:
    """`run.json`: versions, git commit, command line, settings, machine; at the end also which folders hold the results."""
    asked = {**asdict(request), "root": str(request.root), "data": None if request.data is None else stable(request.data)}
    asked["unlabeled"] = None if request.unlabeled is None else stable(request.unlabeled)
    with disk_errors(out):
        write_json(
            out / RECORD,
            {
                "versions": {"python": platform.python_version(), **library_versions()},
                "git_commit": git_commit(),
                "command": sys.argv[1:],
                "request": asked,
                "results": dict(results or {}),
                "settings": settings.model_dump(mode="json"),
                "machine": {
                    "system": platform.platform(),
                    "processor": platform.machine(),
                    "cpu": cpu_name(),
                    "cores": os.cpu_count(),
                    "available_cores": available_cpus(),
                },
            },
        )


def stable(data: str) -> str:
    """DATA so that it means the same from another folder."""
    return str(Path(data).resolve()) if Path(data).exists() else data


def git_commit() -> str | None:
    """The commit of the checkout edgetl runs from, if it runs from one."""
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip() or None


def data_name(data: str | None) -> str:
    """The name of the run folder for DATA.

    Raises:
        InputError: there is no such data.
    """
    if data is None:
        return "digits"
    if (path := existing(data)) is not None:
        return path.resolve().stem if path.is_file() else path.resolve().name
    if data.lower() not in KNOWN_NAMES:
        raise no_such(data)
    return data.lower()
