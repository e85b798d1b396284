"""Files of class names as people have them: read as meant and told, or named; never a name that is not one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgetl.cli.options import given_labels
from edgetl.core.errors import InputError
from edgetl.data.labelfile import read_labels

NAMES = ("cat", "dog", "old owl")


def written(tmp_path: Path, content: str | bytes, name: str = "labels.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path, outputs: int | None = None) -> str:
    with pytest.raises(InputError) as error:
        read_labels(path, outputs)
    return str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "cat\ndog\nold owl",
        "cat\ndog\nold owl\n\n  \n",
        "\ufeffcat\r\ndog\r\nold owl\r\n",
        " cat \ndog\t\nold owl",
        "cat\ndog\nold owl\n".encode("utf-16"),
        "0 cat\n1 dog\n2 old owl\n",
        "1 cat\n2 dog\n3 old owl\n",
        "0: cat\n1: dog\n2: old owl\n",
        "0,cat\n1,dog\n2,old owl\n",
        '0,"cat"\n1,"dog"\n2,"old owl"\n',
        "0\tcat\n1\tdog\n2\told owl\n",
        "0. cat\n1. dog\n2. old owl\n",
        "000 cat\n001 dog\n002 old owl\n",
        "cat 0\ndog 1\nold owl 2\n",
        "cat,0\ndog,1\nold owl,2\n",
        "index,name\n0,cat\n1,dog\n2,old owl\n",
        "2 old owl\n0 cat\n1 dog\n",
        json.dumps(NAMES),
        json.dumps({"0": "cat", "1": "dog", "2": "old owl"}),
        json.dumps({"2": "old owl", "1": "dog", "0": "cat"}),
        json.dumps({"dog": 1, "cat": 0, "old owl": 2}),
        json.dumps({"model_type": "vit", "id2label": {"0": "cat", "1": "dog", "2": "old owl"}}),
        json.dumps({"schema": 1, "classes": NAMES, "files": {}}),
    ],
)
def test_the_names_are_those_that_are_meant(content: str | bytes, tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, content), 3) == NAMES


@pytest.mark.parametrize(
    "names",
    [
        ("n01440764 tench", "n01443537 goldfish"),
        ("1 euro", "2 euro", "5 euro"),
        ("0", "1", "2"),
        ("0.5", "1.0", "1.5"),
        ("class 0", "class 1"),
        ("20 km/h", "30 km/h", "50 km/h"),
        ("mark-1", "mark-2"),
        ("[unknown]", "cat"),
        ("3 musketeers", "cat", "dog"),
        ("Äpfel", "Birnen & Co"),
    ],
)
def test_numbers_that_belong_to_names_stay(names: tuple[str, ...], tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, "\n".join(names))) == names


def test_what_was_taken_off_is_told(tmp_path: Path, told: Any) -> None:
    read_labels(written(tmp_path, "0 cat\n1 dog\n"))
    assert told.lines == ["labels.txt: the numbers beside the names give the order and are removed: '0 cat' becomes 'cat'"]
    told.lines.clear()
    read_labels(written(tmp_path, "1 dog\n0 cat\n"))
    assert told.lines == ["labels.txt: the names are sorted by their numbers, which are removed"]
    told.lines.clear()
    read_labels(written(tmp_path, "cat\n".encode("utf-16")))
    assert told.lines == ["labels.txt: read as UTF-16"]


def test_accents_in_two_characters_become_one(tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, "A\u0308pfel\ncat")) == ("Äpfel", "cat")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("cat\n\ndog\n", "found blank ones between names:\n  line 2\nTake them out"),
        ("cat\ndog\ncat\n", "expected each class name once in {path}, found:\n  cat (names 1, 3)\nGive each output a name of its own"),
        (
            "0 cat\n1 dog\n3 owl\n",
            "found none for 2. Add what is missing; if the numbers belong to the names, give the names as a JSON list",
        ),
        ("", "expected class names, one a line, in {path}, found none"),
        ("\n\n", "expected class names, one a line, in {path}, found none"),
        (b"caf\xe9\n", "found text that is not UTF-8: 'utf-8' codec can't decode"),
        ("cat\x07\ndog", "expected class names of one line each in {path}, found:\n  'cat\\x07'"),
        ("[1, 2]", "expected a list of class names or an object"),
        ('{"cat": 0, "dog": 0}', "expected a list of class names or an object"),
        ('{"0": "cat", "2": "dog"}', "found none for 1"),
        ('{"cat": "x"}', "expected a list of class names or an object"),
    ],
)
def test_what_is_not_clear_is_named(content: str | bytes, words: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    assert words.format(path=path) in refused(path)


def test_broken_json_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "found broken JSON" in refused(written(tmp_path, '{"0": "cat"', "labels.json"))
    assert "none.txt, found none that can be read (No such file" in refused(tmp_path / "none.txt")


def test_another_number_of_names_than_outputs_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "cat\ndog\n")
    assert f"expected a name for each of the 3 outputs in {path}, found 2 names" in refused(path, 3)
    assert "'background', seems to name no output" in refused(written(tmp_path, "background\ncat\ndog\n"), 2)


def test_the_command_line_reads_them_so(tmp_path: Path) -> None:
    assert given_labels(None) is None
    assert given_labels(written(tmp_path, "\ufeff0 cat\r\n1 dog\r\n"), 2) == ("cat", "dog")
