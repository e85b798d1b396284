"""The command line: one command is one call; errors become one message and an exit code."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from edgetl.cli.bundle import bundle_app, export
from edgetl.cli.exit_codes import guarded
from edgetl.cli.option_groups import MachineOptions, ModelOptions, TableOptions
from edgetl.cli.options import (
    DATA_ROOT,
    Answering,
    AsJson,
    Data,
    KnownData,
    Output,
    PreprocessOption,
    Rehash,
    Root,
    SkipBad,
    Strict,
    Threads,
    Unlabeled,
    Verbose,
    answering,
    running,
)
from edgetl.cli.settings_options import with_settings
from edgetl.cli.training import distill, finetune, recommend
from edgetl.pipeline_options import PipelineOptions
from edgetl.settings import (
    PipelineSettings,
    QuantizeSettings,
    Runtime,
    VerifySettings,
)

EPILOG = (
    "Exit codes: 0 done, and not shown to exceed the budget; 1 the verdict is failed; 2 wrong usage or input; 3 internal error; "
    "130 interrupted; 141 the reader of the output closed it."
)

app = typer.Typer(
    name="edgetl",
    help="From a folder of labelled photos to a small int8 ONNX classifier, tested for whether it still answers like the big one.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def common(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback if an error occurs.")] = False) -> None:
    """From a folder of labelled photos to a small int8 ONNX classifier, tested for whether it still answers like the big one."""


@app.command()
@with_settings(options=PipelineOptions)
def pipeline(
    *,
    options: PipelineOptions,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Run folder. [dim]\\[default: runs/<data name>][/]", show_default=False)] = None,
    unlabeled: Unlabeled = None,
    given: TableOptions,
    machine: MachineOptions,
    root: Root = DATA_ROOT,
    allow_known_data: KnownData = False,
    rehash: Rehash = False,
    strict: Strict = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Run all five stages: from photos to a verified int8 model."""
    settings = PipelineSettings.from_tables(given.tables(options.tables()))
    from edgetl.cli.console import conclude, shown
    from edgetl.cli.pipeline import Request, data_name, recorded_threads, run_pipeline

    folder = out or Path("runs") / data_name(data)

    with shown(verbose=verbose), machine.running(recorded_threads(folder)) as runtime:
        others = None if unlabeled is None else str(unlabeled)
        request = Request(data=data, root=root, unlabeled=others, allow_known_data=allow_known_data, rehash=rehash, runtime=runtime)
        report = run_pipeline(request, folder, settings)
    conclude(report, folder, as_json, strict=strict)


for command in (recommend, finetune, distill):
    app.command()(command)


@app.command()
@with_settings(settings=QuantizeSettings)
def quantize(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A float ONNX classifier, a checkpoint, or the folder of a stage.")],
    calibration: Annotated[Path, typer.Option(help="Folder of images, or an .npz file with `x` (float32 NCHW, already preprocessed).")],
    out: Annotated[Path, typer.Option(metavar="FILE.onnx", help="Model to write; intermediate files go to FILE.onnx.work/.")],
    settings: QuantizeSettings,
    evaluation: Annotated[
        str | None,
        typer.Option(
            "--eval",
            metavar="DATA",
            help="Labelled images that decide whether int8 or float ships; none of them may be in the calibration set.",
        ),
    ] = None,
    known: ModelOptions,
    skip_bad_images: SkipBad = False,
    threads: Threads = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Quantize a float classifier to int8."""
    from edgetl.cli import stages
    from edgetl.cli.console import VERDICT_FAILED, shown, tell, warn

    with shown(verbose=verbose) as console, running(threads) as runtime:
        result = stages.quantize(
            model, calibration, out, settings, evaluation=evaluation, skip_bad_images=skip_bad_images, **vars(known), runtime=runtime
        )
        decision, before, after = result.decision, result.float_model.path.stat().st_size, out.stat().st_size
        warn(console, decision, out)
    facts = {"model": str(out), "shipped": decision.shipped, "size_ratio": round(after / before, 4), **vars(decision)}
    tell(as_json, facts, f"edgetl verify {out} --reference {model} --data LABELLED_IMAGES")
    if decision.verdict == "failed":
        raise typer.Exit(VERDICT_FAILED)


app.command()(export)


@app.command()
@with_settings(settings=VerifySettings)
def verify(
    *,
    subject: Annotated[Path, typer.Argument(metavar="BUNDLE_OR_MODEL", help="A bundle, or an ONNX file.")],
    data: Annotated[str, typer.Option(help="Labelled test images that no model has seen: class folders, a CSV, or an .npz file.")],
    settings: VerifySettings,
    reference: Annotated[Path | None, typer.Option(metavar="MODEL", help="Model to compare with: an ONNX file or a checkpoint.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json and report.html. Default: they are not written.")] = None,
    known: ModelOptions,
    skip_bad_images: SkipBad = False,
    threads: Answering = None,
    strict: Strict = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Compare a bundle or a model with its reference on test images, with onnxruntime on the CPU."""
    from edgetl.cli.console import conclude, shown
    from edgetl.cli.verify import verify as run
    from edgetl.core.files import read_json
    from edgetl.core.workspace import Workspace
    from edgetl.report.publish import publish_report

    with (
        shown(verbose=verbose),
        answering(threads) as count,
        tempfile.TemporaryDirectory(prefix="edgetl-") as folder,
        Workspace(out or Path(folder)) as do,
    ):
        verdict = run(
            subject, data, do, settings, reference=reference, skip_bad_images=skip_bad_images, **vars(known), runtime=Runtime(threads=count)
        )
        report = read_json(verdict.report.path)
        if out:
            publish_report(verdict.folder, out)
    conclude(report, out, as_json, strict=strict)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="BUNDLE_OR_ONNX")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE_OR_FOLDER...", help="Images, or folders of them; - reads paths from stdin.")
    ],
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the answers to a CSV file; - is stdout.")] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, metavar="N", help="Number of answers for each image, the most likely first.")] = 1,
    preprocess: PreprocessOption = None,
    output: Output = None,
    threads: Answering = None,
    as_json: AsJson = False,
) -> None:
    """Classify images with a bundle or an ONNX file. If an image cannot be read, the others are still classified; exit code 2."""
    from edgetl.cli.console import shown
    from edgetl.cli.options import given_preprocess
    from edgetl.cli.predict import STANDARD_INPUT, run_predict

    given, out, prepared = sys.stdin.buffer, sys.stdout, given_preprocess(preprocess)
    bars = csv not in (None, STANDARD_INPUT) or not out.isatty()  # on a terminal the answers are the progress
    options: dict[str, Any] = {"csv": csv, "top_k": top_k, "preprocess": prepared, "output": output, "as_json": as_json}
    with shown(bars=bars), answering(threads) as count:
        run_predict(model, images, **options, threads=count, given=given, out=out)


@app.command()
@with_settings(options=PipelineOptions)
def status(
    *,
    options: PipelineOptions,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder of `edgetl pipeline`.")],
    given: TableOptions,
    as_json: AsJson = False,
) -> None:
    """List the stages that `edgetl pipeline` would run again in this folder with these options, and why."""
    from edgetl.cli.console import show_findings, shown
    from edgetl.cli.pipeline import explain

    with shown():
        findings = explain(folder, given.tables(options.tables()))
    show_findings(findings, as_json)


app.add_typer(bundle_app)


def main() -> None:
    """Run the command line; never returns."""
    sys.exit(guarded(lambda: app(standalone_mode=False)))
