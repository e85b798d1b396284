"""`edgetl export` makes a bundle; `edgetl bundle` has the commands about a finished one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgetl.cli.option_groups import ModelOptions
from edgetl.cli.options import Answering, AsJson, Verbose, answering
from edgetl.cli.settings_options import with_settings
from edgetl.settings import ExportSettings

bundle_app = typer.Typer(
    name="bundle", help="Commands about a finished bundle.", no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}
)


@bundle_app.callback()
def bundle() -> None:
    """Commands about a finished bundle."""


@bundle_app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a bundle.")],
    browser: Annotated[bool, typer.Option("--browser", help="Run the web page in a headless browser, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a bundle: checksums, manifest, and the golden vectors in every graph and client that runs here. Exit code 1 if one is wrong."""
    from edgetl.bundle.check import check_bundle
    from edgetl.cli.console import VERDICT_FAILED

    findings = []
    for finding in check_bundle(folder, browser=browser):
        findings.append(finding)
        if not as_json:
            print(f"{finding.state:<8} {finding.part}{f': {finding.skipped}' if finding.skipped else ''}", flush=True)
            for line in (*finding.problems, *finding.notes):
                print(f"         {line}")
    failed = any(finding.problems for finding in findings)
    if as_json:
        rows = [
            {"part": f.part, "state": f.state, "problems": list(f.problems), "skipped": f.skipped, "notes": list(f.notes)} for f in findings
        ]
        print(json.dumps({"bundle": str(folder), "ok": not failed, "checks": rows}, ensure_ascii=False))
    if failed:
        raise typer.Exit(VERDICT_FAILED)


@with_settings(settings=ExportSettings)
def export(
    *,
    model: Annotated[
        Path, typer.Argument(metavar="STUDENT_OR_ONNX", help="A checkpoint, the folder of finetune or distill, or an ONNX file.")
    ],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="Folder to write.")],
    settings: ExportSettings,
    golden: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGES",
            help="Images for the golden vectors: any folder, a file or a CSV. Default: those of the model's own bundle, or digits.",
        ),
    ] = None,
    evaluation: Annotated[
        str | None, typer.Option("--eval", metavar="DATA", help="Labelled images, not of the test part: for temperature and threshold.")
    ] = None,
    known: ModelOptions,
    zipped: Annotated[bool, typer.Option("--zip", help="Also write BUNDLE.zip: the same bundle, the same bytes.")] = False,
    threads: Answering = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Write the bundle that an app embeds: model, labels, manifest, golden vectors."""
    from edgetl.bundle.archive import write_zip
    from edgetl.cli import stages
    from edgetl.cli.console import shown, tell
    from edgetl.data.pictures import open_pictures

    with shown(verbose=verbose), answering(threads):
        images = open_pictures(golden) if golden is not None else None
        bundle = stages.export(model, out, settings, images, evaluation=evaluation, **vars(known))
        packed = str(write_zip(out, out.with_name(f"{out.name}.zip"))) if zipped else None
    tell(
        as_json,
        {"bundle": str(bundle.path), "sha256": bundle.sha256, **({"zip": packed} if packed else {})},
        f"edgetl verify {out} --data LABELLED_IMAGES",
    )
