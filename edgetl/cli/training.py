"""Commands that train, or say what to train: `recommend`, `finetune`, `distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgetl.cli.option_groups import MachineOptions
from edgetl.cli.options import DATA_ROOT, AsJson, KnownData, NeedData, Root, RunFolder, Unlabeled, Verbose
from edgetl.cli.settings_options import with_settings
from edgetl.settings import DataSettings, DistillSettings, FinetuneSettings


@with_settings(split=DataSettings)
def recommend(
    *,
    data: NeedData,
    split: DataSettings,
    out: Annotated[Path | None, typer.Option(help="Folder. [dim]\\[default: runs/<data name>-recommend][/]", show_default=False)] = None,
    machine: MachineOptions,
    root: Root = DATA_ROOT,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Rank the available pretrained networks for DATA by a linear head on frozen features. Test images are not used."""
    from edgetl.cli.console import show_recommendation
    from edgetl.cli.pipeline import data_name, opened

    folder = out or Path("runs") / f"{data_name(data)}-recommend"
    with (
        opened(data, folder, split, root, verbose=verbose) as (images, do),
        machine.running() as runtime,
    ):
        from edgetl.selection.recommend import recommend as rank
        from edgetl.selection.recommend import write

        found = rank(images, do, runtime, split.seed)
        write(found, folder)
    show_recommendation(found.as_json(), data, folder, as_json)


@with_settings(settings=FinetuneSettings, split=DataSettings)
def finetune(
    *,
    data: NeedData,
    out: RunFolder,
    settings: FinetuneSettings,
    split: DataSettings,
    machine: MachineOptions,
    root: Root = DATA_ROOT,
    allow_known_data: KnownData = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a pretrained network on DATA. The result is the teacher."""
    from edgetl.cli import stages
    from edgetl.cli.console import tell
    from edgetl.cli.pipeline import opened, write_results

    with (
        opened(data, out, split, root, verbose=verbose) as (images, do),
        machine.running() as runtime,
    ):
        checkpoint = stages.finetune(images, settings, do, runtime, allow_known_data=allow_known_data)
        write_results(out, {"finetune": checkpoint.path})
    tell(
        as_json,
        {"checkpoint": str(checkpoint.path), "sha256": checkpoint.sha256},
        f"edgetl distill {data} --teacher {out} --out {out}-student",
    )


@with_settings(settings=DistillSettings, split=DataSettings)
def distill(
    *,
    data: NeedData,
    teacher: Annotated[Path, typer.Option(help="Checkpoint of the teacher: a file, the folder of a stage, or a run folder.")],
    out: RunFolder,
    settings: DistillSettings,
    split: DataSettings,
    unlabeled: Unlabeled = None,
    machine: MachineOptions,
    root: Root = DATA_ROOT,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Distill the teacher into a smaller network. The result is the student."""
    from edgetl.cli import stages
    from edgetl.cli.console import tell
    from edgetl.cli.pipeline import opened, unlabelled, write_results

    with (
        opened(data, out, split, root, teacher, verbose=verbose) as (images, do),
        machine.running() as runtime,
    ):
        others = unlabelled(unlabeled, images, split)
        checkpoint = stages.distill(images, teacher, settings, do, runtime, unlabelled=others)
        write_results(out, {"distill": checkpoint.path})
    tell(
        as_json,
        {"checkpoint": str(checkpoint.path), "sha256": checkpoint.sha256},
        f"edgetl quantize {out} --calibration IMAGES --out model.onnx",
    )
