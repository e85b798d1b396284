"""The workspace: each stage runs once; killed at any instant nothing finished is lost, redone or half-read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from edgetl.core.artifacts import FileArtifact
from edgetl.core.errors import LockedError, WorkspaceError
from edgetl.core.files import write_whole
from edgetl.core.stage import Stage
from edgetl.core.workspace import Workspace, folder_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Text:
    file: FileArtifact
    length: int


@dataclass(frozen=True, kw_only=True)
class Write(Stage[Text]):
    """Writes a text; fails while a file `fuse` of its own says so."""

    name: ClassVar[str] = "write"
    runs: ClassVar[list[str]] = []
    text: str
    fail: ClassVar[bool] = False

    def run(self, out: Path) -> Text:
        self.runs.append(self.text)
        assert not (out / "result.json").exists()
        assert not folder_of(out.parents[1], self).exists()
        (out / "scratch").mkdir(exist_ok=True)
        with (out / "scratch" / "attempts").open("a", encoding="utf-8") as stream:
            stream.write("x")
        if type(self).fail:
            raise ValueError("the stage broke")
        (out / "deep").mkdir(exist_ok=True)
        write_whole(out / "deep" / "text.txt", self.text)
        write_whole(out / "attempts.txt", (out / "scratch" / "attempts").read_text(encoding="utf-8"))
        return Text(file=FileArtifact.of(out / "deep" / "text.txt"), length=len(self.text))


class WriteAnew(Write):
    version: ClassVar[int] = 2


class Breaks(Write):
    fail: ClassVar[bool] = True


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Write.runs.clear()


def do(root: Path, stage: Stage[Text]) -> Text:
    with Workspace(root) as workspace:
        return workspace(stage)


def test_a_stage_runs_once_and_its_result_comes_back_equal(tmp_path: Path) -> None:
    first = do(tmp_path, Write(text="hello"))
    result = folder_of(tmp_path, Write(text="hello")) / "result.json"
    stamp = result.stat().st_mtime_ns
    assert do(tmp_path, Write(text="hello")) == first
    assert Write.runs == ["hello"]
    assert result.stat().st_mtime_ns == stamp
    assert first.file.path.read_text(encoding="utf-8") == "hello"


def test_paths_of_a_result_lie_in_the_finished_folder_and_scratch_is_gone(tmp_path: Path) -> None:
    text = do(tmp_path, Write(text="hello"))
    folder = folder_of(tmp_path, Write(text="hello"))
    assert text.file.path == folder / "deep" / "text.txt"
    assert sorted(path.name for path in folder.iterdir()) == ["attempts.txt", "deep", "result.json"]
    assert [path.name for path in (tmp_path / "stages").iterdir()] == [folder.name]


def test_other_inputs_and_another_version_run_anew_beside_the_old(tmp_path: Path) -> None:
    for stage in (Write(text="a"), Write(text="b"), WriteAnew(text="a"), Write(text="a")):
        do(tmp_path, stage)
    assert Write.runs == ["a", "b", "a"]
    assert len(list((tmp_path / "stages").iterdir())) == 3


def test_a_run_folder_may_move(tmp_path: Path) -> None:
    do(tmp_path / "here", Write(text="a"))
    os.replace(tmp_path / "here", tmp_path / "there")
    assert do(tmp_path / "there", Write(text="a")).file.path.is_relative_to(tmp_path / "there")
    assert Write.runs == ["a"]
    record = (folder_of(tmp_path / "there", Write(text="a")) / "result.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in record


def test_reuse_names_the_files_that_changed_and_says_what_to_do(tmp_path: Path) -> None:
    text = do(tmp_path, Write(text="hello"))
    text.file.path.write_text("hellO", encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"found changed files: deep/text\.txt\. Restore them, or delete that folder and run again"):
        do(tmp_path, Write(text="hello"))
    (text.file.path.parents[1] / "attempts.txt").unlink()
    with pytest.raises(WorkspaceError, match=r"found changed files: attempts\.txt, deep/text\.txt\."):
        do(tmp_path, Write(text="hello"))
    text.file.path.write_text("hello", encoding="utf-8")
    (text.file.path.parents[1] / "attempts.txt").write_text("x", encoding="utf-8")
    assert do(tmp_path, Write(text="hello")) == text


def test_a_result_of_another_shape_is_refused(tmp_path: Path) -> None:
    do(tmp_path, Write(text="hello"))
    path = folder_of(tmp_path, Write(text="hello")) / "result.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**record, "result": {"length": 5}}), encoding="utf-8")
    with pytest.raises(WorkspaceError, match=r"expected a result of write in .*, found other content"):
        do(tmp_path, Write(text="hello"))


def test_a_failure_leaves_a_partial_folder_from_which_the_next_attempt_continues(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the stage broke"):
        do(tmp_path, Breaks(text="hello"))
    folder = folder_of(tmp_path, Write(text="hello"))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name + ".partial"]
    assert not (folder.parent / (folder.name + ".partial") / "result.json").exists()
    text = do(tmp_path, Write(text="hello"))
    assert (text.file.path.parents[1] / "attempts.txt").read_text(encoding="utf-8") == "xx"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_killed_between_the_last_write_and_the_rename_nothing_runs_again(tmp_path: Path) -> None:
    text = do(tmp_path, Write(text="hello"))
    folder = folder_of(tmp_path, Write(text="hello"))
    partial = folder.with_name(folder.name + ".partial")
    os.replace(folder, partial)
    (partial / "scratch").mkdir()
    assert do(tmp_path, Write(text="hello")) == text
    assert Write.runs == ["hello"]
    assert not (folder / "scratch").exists()


def test_the_record_says_what_went_in_and_what_came_out(tmp_path: Path) -> None:
    stage = Write(text="hello")
    text = do(tmp_path, stage)
    record = json.loads((folder_of(tmp_path, stage) / "result.json").read_text(encoding="utf-8"))
    assert (record["stage"], record["version"], record["key"], record["fields"]) == ("write", 1, stage.key, {"text": "hello"})
    assert record["files"]["deep/text.txt"] == text.file.sha256
    assert sorted(record["files"]) == ["attempts.txt", "deep/text.txt"]
    assert record["libraries"]["torch"]


def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("", encoding="utf-8")
    with (
        pytest.raises(WorkspaceError, match=r"expected a folder at .*run, found a file\. Choose another --out"),
        Workspace(tmp_path / "run"),
    ):
        pass


# What follows runs in real processes of its own.

TINY = '''
"""Two stages in a row: each chains sha256 over STEPS steps, keeping its state in scratch/."""
import hashlib, json, sys, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from edgetl.core.artifacts import FileArtifact
from edgetl.core.files import read_json, write_json, write_whole
from edgetl.core.stage import Stage
from edgetl.core.workspace import Workspace

STEPS = 4

@dataclass(frozen=True, kw_only=True)
class Chained:
    file: FileArtifact

@dataclass(frozen=True, kw_only=True)
class Chain(Stage[Chained]):
    source: FileArtifact | None
    salt: str

    def run(self, out: Path) -> Chained:
        (out / "scratch").mkdir(exist_ok=True)
        state = out / "scratch" / "state.json"
        step, value = read_json(state) if state.exists() else (0, self.salt + (self.source.digest if self.source else ""))
        while step < STEPS:
            step, value = step + 1, hashlib.sha256(f"{step}{value}".encode()).hexdigest()
            write_json(state, [step, value])
            write_whole(out / f"{step}.txt", value)
            tell(f"{self.name} {step}")
        write_whole(out / "final.txt", value)
        return Chained(file=FileArtifact.of(out / "final.txt"))

class First(Chain):
    name = "first"

class Second(Chain):
    name = "second"

def tell(line):
    print(line, flush=True)
    if line == sys.argv[2]:
        time.sleep(600)  # here the test kills this process

if __name__ == "__main__":
    if "--audit" in sys.argv:
        def hook(event, arguments):
            if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+") and "rb" not in arguments[1]:
                print("write", Path(str(arguments[0])).name)
            elif event == "os.rename":
                print("rename", Path(arguments[0]).name, Path(arguments[1]).name)
        sys.addaudithook(hook)
    with Workspace(Path(sys.argv[1])) as do:
        tell("held")
        do(Second(source=do(First(source=None, salt="s")).file, salt="t"))
    print("end", flush=True)
'''


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(TINY, encoding="utf-8")
    return path


def command(tiny: Path, root: Path, *more: str) -> tuple[list[str], dict[str, str]]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return [sys.executable, str(tiny), str(root), *more], {**os.environ, "PYTHONPATH": path}


def finished(tiny: Path, root: Path, *more: str) -> list[str]:
    """The lines that an undisturbed process prints."""
    arguments, environment = command(tiny, root, "", *more)
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.splitlines()


@contextmanager
def stuck(tiny: Path, root: Path, at: str) -> Iterator[list[str]]:
    """A process that stands still after the line `at`; killed (SIGKILL) when the block ends."""
    arguments, environment = command(tiny, root, at)
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while at not in lines:
                line = process.stdout.readline()
                assert line, f"ended before {at!r}: {lines}"
                lines.append(line.strip())
            yield lines
        finally:
            process.kill()


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in (root / "stages").rglob("*") if path.is_file() and path.name != "result.json")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("instant", ["first 1", "first 4", "second 2"])
def test_killed_and_run_again_gives_the_same_bytes_and_redoes_nothing(tiny: Path, tmp_path: Path, instant: str) -> None:
    whole = finished(tiny, tmp_path / "whole")
    with stuck(tiny, tmp_path / "run", at=instant) as before:
        pass
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "stages").glob("*/result.json")}
    after = finished(tiny, tmp_path / "run")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
    assert before + after[1:] == whole
    assert len(stamps) == (1 if instant.startswith("second") else 0)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_the_last_write_is_result_json_and_then_comes_the_rename(tiny: Path, tmp_path: Path) -> None:
    lines = finished(tiny, tmp_path / "run", "--audit")
    at = next(i for i, line in enumerate(lines) if line.startswith("rename first-"))
    first = lines[: at + 1]
    assert first[-1].split()[1] == first[-1].split()[2] + ".partial"
    assert first[-2].endswith(" result.json") and first[-2].startswith("rename .result.json.")
    assert first[-3].startswith("write .result.json.")
    assert not any(line.endswith("result.json") for line in first[:-2])


def test_a_second_process_gets_a_clear_error_and_a_killed_one_holds_no_lock(tiny: Path, tmp_path: Path) -> None:
    message = r"expected no other edgetl process in .*run, found one at work there\. Wait until it ends, or choose another --out"
    with stuck(tiny, tmp_path / "run", at="held"), pytest.raises(LockedError, match=message), Workspace(tmp_path / "run"):
        pass
    with Workspace(tmp_path / "run"):
        pass


# What a run that fails before its first stage takes away again.


def fails_at_once(root: Path, *files: str) -> None:
    with pytest.raises(ValueError, match="bad input"), Workspace(root) as workspace:
        for name in files:
            (workspace.root / name).write_text("{}", encoding="utf-8")
        raise ValueError("bad input")


def tree(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


def test_a_failure_before_the_first_stage_leaves_no_trace(tmp_path: Path) -> None:
    fails_at_once(tmp_path / "new" / "runs" / "a", "images.index", "split.json", "run.json")
    assert tree(tmp_path) == []


def test_the_run_of_a_neighbour_in_the_same_new_folder_stays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad input"), Workspace(tmp_path / "runs" / "a"):
        do(tmp_path / "runs" / "b", Write(text="hello"))
        before = tree(tmp_path / "runs" / "b")
        raise ValueError("bad input")
    assert tree(tmp_path / "runs") == ["b", *(f"b/{name}" for name in before)] and ".lock" in before


def test_what_lay_in_the_folder_before_stays_and_what_was_made_goes(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text("mine", encoding="utf-8")
    (tmp_path / "notes").mkdir()
    fails_at_once(tmp_path, "images.index")
    assert tree(tmp_path) == ["notes", "split.json"]


def test_what_somebody_put_into_the_new_folder_meanwhile_stays(tmp_path: Path) -> None:
    fails_at_once(tmp_path / "run", "images.index", "holiday.jpg")
    assert tree(tmp_path) == ["run", "run/holiday.jpg"]


class Refuses(Write):
    def run(self, out: Path) -> Text:
        raise ValueError("bad input")


def test_a_stage_that_refuses_its_input_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad input"):
        do(tmp_path / "run", Refuses(text="hello"))
    assert tree(tmp_path) == []


def test_a_failure_after_a_stage_keeps_everything(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad input"), Workspace(tmp_path / "run") as workspace:
        workspace(Write(text="hello"))
        before = tree(tmp_path)
        raise ValueError("bad input")
    assert tree(tmp_path) == before


def test_a_folder_that_is_in_use_is_refused_and_stays_whole(tmp_path: Path) -> None:
    with Workspace(tmp_path / "run"):
        before = tree(tmp_path)
        with pytest.raises(LockedError), Workspace(tmp_path / "run"):
            pass
        assert tree(tmp_path) == before


def test_files_of_killed_writers_are_no_part_of_a_result_and_go_with_the_next_run(tmp_path: Path) -> None:
    partial = folder_of(tmp_path, Write(text="hello"))
    partial = partial.with_name(partial.name + ".partial")
    (partial / "deep").mkdir(parents=True)
    for left in (tmp_path / ".report.json.7.new", partial / "deep" / ".text.txt.7.new"):
        left.write_text("half", encoding="utf-8")
    (tmp_path / ".report.json.new").write_text("mine: no number of a process", encoding="utf-8")
    text = do(tmp_path, Write(text="hello"))
    assert not [name for name in tree(tmp_path) if ".7.new" in name] and (tmp_path / ".report.json.new").exists()
    assert text.file.path.read_text(encoding="utf-8") == "hello"


HAMMER = """
import os, sys
from pathlib import Path
from edgetl.core.errors import LockedError
from edgetl.core.workspace import Workspace

root, token = Path(sys.argv[1]), Path(sys.argv[2])
entered = 0
while entered < 60:
    try:
        with Workspace(root) as do:
            os.close(os.open(token, os.O_CREAT | os.O_EXCL))  # fails if another is inside as well
            token.unlink()
            entered += 1
            raise ValueError
    except (LockedError, ValueError):
        pass
"""


@pytest.mark.skipif(os.name == "nt", reason="an open lock file cannot be removed there")
def test_runs_that_fail_and_start_in_one_new_folder_at_once_are_never_inside_together(tmp_path: Path) -> None:
    """Each takes the folder away as it fails, lock and all, while the other makes it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, "-c", HAMMER, str(tmp_path / "runs" / "a"), str(tmp_path / "token")]
    running = [subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert set(tree(tmp_path)) <= {"runs", "runs/a"}  # empty folders, where the last one out had not made them
