"""`edgetl bundle`: commands about a finished bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgetl.cli.options import AsJson

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
    """Prove a bundle: checksums, manifest, golden vectors in every graph and client that can run here. Exit code 1 if anything is wrong."""
    from edgetl.bundle.check import check_bundle
    from edgetl.cli.console import VERDICT_FAILED

    findings = []
    for finding in check_bundle(folder, browser=browser):
        findings.append(finding)
        if not as_json:
            print(f"{finding.state:<8} {finding.part}{f': {finding.skipped}' if finding.skipped else ''}", flush=True)
            for problem in finding.problems:
                print(f"         {problem}")
    failed = any(finding.problems for finding in findings)
    if as_json:
        rows = [{"part": f.part, "state": f.state, "problems": list(f.problems), "skipped": f.skipped} for f in findings]
        print(json.dumps({"bundle": str(folder), "ok": not failed, "checks": rows}, ensure_ascii=False))
    if failed:
        raise typer.Exit(VERDICT_FAILED)
