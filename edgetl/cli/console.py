"""The output in a terminal: progress on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from edgetl.core.progress import LOGGED_FROM_S, Bar, finished_line, listening
from edgetl.report.questions import overruns
from edgetl.report.schema import read_report
from edgetl.report.text import comparison, verdict_words
from edgetl.report.units import percent

if TYPE_CHECKING:
    from edgetl.core.plan import StageStatus
    from edgetl.report.decision import Decision

VERDICT_FAILED = 1  # exit code
NARROW = (0, 1, 2, 3, 4, 5, 7)  # columns of the comparison that fit into 80 characters: all but p90


@dataclass
class _Line:
    """A progress bar while the work runs; afterwards one line that stays, if the work took a while."""

    title: str
    unit: str
    total: float
    progress: Progress
    task: TaskID
    started: float = field(default_factory=time.perf_counter)
    note: str = ""

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.note = note or self.note
        self.progress.update(self.task, advance=steps, note=self.note)


class Terminal:
    """A progress listener that draws on stderr."""

    def __init__(self, console: Console, *, bars: bool = True, verbose: bool = False) -> None:
        self.console, self.verbose = console, verbose
        self.progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[unit]}[/]"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            redirect_stdout=False,  # results stay where they were sent
            disable=not (bars and console.is_terminal),
        )

    def open(self, title: str, total: float, unit: str) -> Bar:
        """A new live line."""
        return _Line(title, unit, total, self.progress, self.progress.add_task(title, total=total, unit=unit, note=""))

    def close(self, bar: Bar) -> None:
        """Replace the progress bar by one line that stays."""
        assert isinstance(bar, _Line)
        self.progress.remove_task(bar.task)
        seconds = time.perf_counter() - bar.started
        if seconds >= LOGGED_FROM_S:
            self.say(finished_line(bar.title, bar.total, bar.unit, seconds, bar.note))

    def say(self, message: str) -> None:
        """Print one line."""
        self.console.print(message, markup=False, highlight=False, soft_wrap=not self.console.is_terminal)

    def detail(self, message: str) -> None:
        """Print one line if `--verbose` was given."""
        if self.verbose:
            self.say(message)


@contextmanager
def shown(*, bars: bool = True, verbose: bool = False) -> Iterator[Console]:
    """Show the progress of the block on stderr: its messages, with `bars` also progress bars, with `verbose` also details."""
    console = Console(file=sys.stderr)
    terminal = Terminal(console, bars=bars, verbose=verbose)
    with terminal.progress, listening(terminal):
        yield console


def show_report(report: Mapping[str, Any], folder: Path | None) -> None:
    """Print the final table, the verdict in sentences, and the next commands on stdout."""
    console = Console()
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    shown = [[row[column] for column in NARROW] for row in comparison(report)]
    for index, name in enumerate(shown[0]):
        table.add_column(name.removeprefix("latency "), justify="left" if index == 0 else "right", no_wrap=True)
    for row in shown[1:]:
        table.add_row(*row)
    console.print(table)
    console.print(verdict_words(report), markup=False, highlight=False)
    for line in overruns(read_report(report)):
        console.print(line, markup=False, highlight=False)
    for note in report.get("notes") or ():
        if note not in (report.get("reasons") or ()):  # the verdict has said those
            console.print(note, markup=False, highlight=False)
    if report["shipped"] == "float" and "onnx_int8" in report["models"]:
        why = report.get("shipped_because") or "the val images decided so"
        Console(stderr=True).print(
            f"warning: the float model ships, not the int8 model: {why}", style="yellow", markup=False, highlight=False
        )
    elif "undecided" in (report.get("shipped_because") or ""):
        Console(stderr=True).print(f"{report['shipped_because']}", markup=False, highlight=False)
    if folder:
        for line in next_steps(folder):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def next_steps(folder: Path) -> list[str]:
    """The exact commands to try after a pipeline, or where a standalone report lies."""
    if not (folder / "bundle").is_dir():
        return [f"report   {folder / 'report.html'}"]
    return [
        f"bundle   {folder / 'bundle'}",
        f"report   {folder / 'report.html'}",
        f"next     edgetl predict {folder / 'bundle'} IMAGE_OR_FOLDER",
        f"         edgetl status {folder} --set distill.epochs=80",
    ]


def conclude(report: dict[str, Any], folder: Path | None, as_json: bool, *, strict: bool = False) -> None:
    """Show the verdict; a failed one is exit code 1, where it is `strict` all but a certified one."""
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        show_report(report, folder)
    if report["verdict"] == "failed" or (strict and report["verdict"] != "certified"):
        raise typer.Exit(VERDICT_FAILED)


def warnings_of(decision: Decision, out: Path) -> list[str]:
    """Warnings about the model that `edgetl quantize` wrote to `out`."""
    told = []
    if decision.verdict == "failed":
        told += [f"failed: {reason}" for reason in decision.reasons or ()]
    elif decision.reasons:
        told += [f"warning: {reason}" for reason in decision.reasons]
    if decision.shipped == "float":
        told.append(f"warning: {decision.why or 'int8 loses too much'}. {out} is the float model")
        return told
    if decision.within is False:
        told.append(f"warning: no model within the whole budget was found; {out} is {decision.shipped}, with the figures below")
    if decision.standing == "undecided" and decision.why:
        told.append(f"warning: {decision.why}")
    return told


def warn(console: Console, decision: Decision, out: Path) -> None:
    """Print `warnings_of` in yellow."""
    for line in warnings_of(decision, out):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def show_recommendation(found: Mapping[str, Any], data: str, folder: Path, as_json: bool) -> None:
    """The networks as a table, the best first, the one to take, and the command that takes it; or one JSON object."""
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    console, table = Console(), Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("network", "input", "out of fold" if found["metric"] == "top1" else found["metric"], "parameters", "int8", "int8 p50"):
        table.add_column(name, justify="left" if name == "network" else "right", no_wrap=True)
    for row in found["networks"]:
        score = f"{percent(row['score'])} ± {100 * row['standard_error']:.1f}"
        cells = (f"{row['parameters']:,}", f"{row['int8_kb']:,.0f} kB", f"{row['int8_ms']:.2f} ms")
        table.add_row(row["arch"], f"{row['image_size']} px", score, *cells)
    taken = found["networks"][found["take"]]
    console.print(table)
    console.print(f"Take {found['reason']} ({found['images']} images, frozen features).", markup=False, highlight=False)
    console.print(f"plot     {folder / 'recommend.svg'}", markup=False, highlight=False, soft_wrap=True)
    line = f"next     edgetl pipeline {data} --teacher {taken['arch']} --image-size {taken['image_size']}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def show_findings(findings: Sequence[StageStatus], as_json: bool) -> None:
    """What would run again, and why: a line for each stage, or one JSON array."""
    if as_json:
        print(json.dumps([{"stage": f.stage, "done": f.done, "reasons": list(f.reasons), "network": f.network} for f in findings]))
    else:
        print("\n".join(finding.line() for finding in findings))


def tell(as_json: bool, facts: dict[str, Any], following: str) -> None:
    """Print the results and the next command on stdout."""
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        if value is not None and name != "reasons":  # which were said already
            print(f"{name:<12} {value}")
    print(f"next         {following}")
