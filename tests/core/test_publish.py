"""Publishing a folder: whole or not at all, whatever instant it is killed at; nothing of the user's is removed."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from edgetl.core import publish
from edgetl.core.errors import WorkspaceError
from edgetl.core.files import write_json
from edgetl.core.publish import check_place, publish_folder

MARKER = "manifest.json"


def result(folder: Path, content: bytes) -> Path:
    """A folder that says what is in it."""
    (folder / "golden").mkdir(parents=True)
    (folder / "golden" / "0.bin").write_bytes(content)
    write_json(folder / MARKER, {"files": {"golden/0.bin": "the sha256"}})
    return folder


def content(target: Path) -> bytes:
    return (target / "golden" / "0.bin").read_bytes()


def test_publishing_replaces_the_old_folder_and_leaves_no_other(tmp_path: Path) -> None:
    source, target = result(tmp_path / "source", b"new"), result(tmp_path / "bundle", b"old")
    publish_folder(source, target, MARKER)
    assert content(target) == content(source) == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "source"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("calls", range(7))
def test_killed_at_any_instant_the_next_run_finds_one_whole_folder_and_the_rest_is_gone(
    calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call that changes the disk is an instant; from the first that is not reached on, nothing changes any more."""
    source, target = result(tmp_path / "source", b"new"), result(tmp_path / "bundle", b"old")
    left = calls

    def until_killed(act: object) -> object:
        def run(*args: object, **kwargs: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return act(*args, **kwargs)  # type: ignore[operator]

        return run

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", until_killed(shutil.copytree))
        patch.setattr(shutil, "rmtree", until_killed(shutil.rmtree))
        patch.setattr(os, "replace", until_killed(os.replace))
        with suppress(Killed):
            publish_folder(source, target, MARKER)
    check_place(target, MARKER)
    assert content(target) in (b"old", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "source"]
    publish_folder(source, target, MARKER)
    assert content(target) == b"new"


def test_a_half_copied_folder_is_removed(tmp_path: Path) -> None:
    fresh, _ = publish._beside(tmp_path / "bundle")
    (fresh / "golden").mkdir(parents=True)
    check_place(tmp_path / "bundle", MARKER)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("neighbour", ["bundle.new", "bundle.old", ".bundle.new"])
def test_folders_of_the_user_with_names_alike_stay(neighbour: str, tmp_path: Path) -> None:
    source, target, mine = result(tmp_path / "source", b"new"), result(tmp_path / "bundle", b"old"), result(tmp_path / neighbour, b"mine")
    publish_folder(source, target, MARKER)
    assert content(mine) == b"mine"


def test_what_was_not_published_here_is_never_replaced(tmp_path: Path) -> None:
    source, target = result(tmp_path / "source", b"new"), tmp_path / "bundle"
    target.mkdir()
    (target / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(WorkspaceError, match=r"expected nothing or an earlier result \(a folder with manifest\.json\) at .*bundle"):
        publish_folder(source, target, MARKER)
    assert (target / "holiday.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("manifest", ['{"name": "a web app"}', "no JSON", '{"files": {"golden/0.bin": "sha"}}', "[]"])
def test_a_file_beside_those_that_were_published_is_never_removed(manifest: str, tmp_path: Path) -> None:
    source, target = result(tmp_path / "source", b"new"), tmp_path / "bundle"
    target.mkdir()
    (target / MARKER).write_text(manifest, encoding="utf-8")
    (target / "notes.txt").write_text("mine", encoding="utf-8")
    for name in (".DS_Store", "Thumbs.db"):
        (target / name).write_bytes(b"of a file manager")
    with pytest.raises(WorkspaceError, match=r"found files that edgetl did not write:\n  notes\.txt\nMove them elsewhere"):
        publish_folder(source, target, MARKER)
    assert (target / "notes.txt").read_text(encoding="utf-8") == "mine"
