"""DATA as a CSV."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgetl.core.errors import InputError
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.settings import DataSettings

Photos = Callable[..., Path]


def write(root: Path, text: str, encoding: str = "utf-8") -> Path:
    path = root / "list.csv"
    path.write_text(text, encoding=encoding)
    return path


def opened(path: Path) -> Images:
    return open_images(str(path), DataSettings())


def refused(path: Path) -> str:
    with pytest.raises(InputError) as error:
        opened(path)
    return str(error.value)


def rows(folders: dict[str, int], part: str = "") -> str:
    return "".join(f"{folder}/{n:03d}.png,{folder.split('/')[-1]}{part}\n" for folder, count in folders.items() for n in range(count))


def test_a_csv_gives_the_same_images_as_class_folders(photos: Photos) -> None:
    root = photos({"ants": 20, "bees": 20})
    listed = opened(write(root, "path,label\n" + rows({"ants": 20, "bees": 20}), encoding="utf-8-sig"))
    assert listed.digest == open_images(str(root), DataSettings()).digest
    assert listed.name == "list" and listed.read(0)


def test_parts_columns_in_any_order_and_absolute_paths(photos: Photos, told: Any) -> None:
    root = photos({"ants": 12, "bees": 12})
    lines = [
        f"{label},{'valid' if n < 3 else 'TRAIN'},{(root / label / f'{n:03d}.png').as_posix()},x\n"
        for label in ("ants", "bees")
        for n in range(12)
    ]
    images = opened(write(root, "Label,Part,Path,note\n" + "".join(lines)))
    assert images.counts()["test"] == 6 and len(images) == 24
    assert "list.csv: ignored the columns note" in told.lines
    assert "list: val is used as the test part; a share of train is used as the val part" in told.lines


def test_everything_that_is_wrong_is_in_one_message(photos: Photos) -> None:
    root = photos({"ants": 12, "bees": 12})
    (root / "bees/000.png").write_bytes(b"broken")
    text = (
        "path,label,part\n"
        + rows({"ants": 12, "bees": 12}, ",train")
        + "nowhere.png,ants,val\nants/000.png,,val\nants/001.png,bees,\nants/002.png,ants,dev\na,b,c,d\n"
    )
    message = refused(write(root, text))
    for line in (
        "- lines without a path or a label, or with more cells than columns (put text with commas into double quotes):\n"
        "  line 27\n  line 30",
        "- parts other than train, val and test:\n  line 29: 'dev'",
        "- lines without a part, where other lines have one:\n  line 28",
        "- files that are not there (paths are relative to the CSV):\n  line 26: nowhere.png",
        "  bees/000.png: no image, or of a kind that cannot be read",
        "  ants/001.png (ants) = ants/001.png (bees)",
    ):
        assert line in message


def test_columns_that_are_missing(photos: Photos) -> None:
    root = photos({"ants": 1})
    message = refused(write(root, "file,labels\na.png,ants\n"))
    assert "expected the columns path,label[,part] in the first line of" in message
    assert message.endswith("path and label missing. Perhaps rename file to path and rename labels to label")
    assert "found path,labels: label missing. Perhaps rename labels to label" in refused(write(root, "path,labels\na.png,ants\n"))
    assert "found nothing: path and label missing" in refused(write(root, ""))


def test_no_rows_and_no_text(photos: Photos) -> None:
    root = photos({"ants": 1})
    assert "- no images." in refused(write(root, "path,label\n"))
    (root / "list.csv").write_bytes(b"\xff\xfe\x00path")
    assert "expected a CSV in UTF-8 (path,label[,part]) at" in refused(root / "list.csv")


def test_fewer_than_two_classes(photos: Photos) -> None:
    assert "fewer than two classes: ants." in refused(write(photos({"ants": 9}), "path,label\n" + rows({"ants": 9})))


def test_a_class_missing_from_a_part(photos: Photos) -> None:
    root = photos({"ants": 9, "bees": 9})
    text = "path,label,part\n" + rows({"ants": 6, "bees": 9}, ",train") + "ants/007.png,ants,test\n"
    assert "classes missing from a part. Add images of them:\n  bees: not in test" in refused(write(root, text))


@pytest.mark.parametrize(("separator", "first"), [(";", ""), ("\t", ""), (";", "sep=;\n"), (",", "sep=,\n"), (",", "")])
def test_a_spreadsheet_may_separate_cells_by_semicolons_or_tabs(photos: Photos, separator: str, first: str) -> None:
    root = photos({"ants": 20, "bees": 20})
    text = ("path,label\n" + rows({"ants": 20, "bees": 20})).replace(",", separator).replace("\n", "\r\n")
    path = write(root, "")
    path.write_bytes(("\ufeff" + first + text).encode())
    assert opened(path).digest == open_images(str(root), DataSettings()).digest


def test_quoted_cells_may_hold_separators_and_quotes(photos: Photos) -> None:
    root = photos({'big, "old" ants': 20, "bees; wasps": 20})
    lines = [f'"big, ""old"" ants/{n:03d}.png","big, ""old"" ants"\n"bees; wasps/{n:03d}.png","bees; wasps"\n' for n in range(20)]
    assert opened(write(root, '"path","label"\n' + "".join(lines))).classes == ("bees; wasps", 'big, "old" ants')


def test_backslashes_and_decomposed_accents_find_their_files(photos: Photos) -> None:
    """A list written on Windows for files that come from a Mac."""
    decomposed = unicodedata.normalize("NFD", "Bäume")
    root = photos({decomposed: 20, "bees": 20})
    composed = unicodedata.normalize("NFC", decomposed)
    lines = [f"{composed}\\{n:03d}.png,{composed}\n.\\bees\\{n:03d}.png,bees\n" for n in range(20)]
    images = opened(write(root, "path,label\n" + "".join(lines)))
    assert images.classes == (composed, "bees") and len(images) == 40
    assert images.digest == open_images(str(root), DataSettings()).digest


def test_a_path_that_no_system_takes_is_a_file_that_is_not_there(photos: Photos) -> None:
    root = photos({"ants": 12, "bees": 12})
    message = refused(write(root, "path,label\n" + rows({"ants": 12, "bees": 12}) + f"{'x' * 5000}.png,ants\n"))
    assert "- files that are not there (paths are relative to the CSV):\n  line 26: xxx" in message


def test_a_utf_16_file_is_refused_with_what_to_do(photos: Photos) -> None:
    root = photos({"ants": 2})
    assert "Save it as UTF-8" in refused(write(root, "path,label\n", encoding="utf-16"))


def listed(header: str, part_of_row: Callable[[str, int], str]) -> str:
    lines = [f"{label}/{n:03d}.png,{label},{part_of_row(label, n)}\n" for label in ("ants", "bees") for n in range(12)]
    return f"path,label,{header}\n" + "".join(lines)


@pytest.mark.parametrize("name", ["split", "Set", "subset", "fold", "partition", "usage", "Phase", "dataset"])
def test_a_column_that_divides_the_images_is_taken_as_part_and_told(name: str, photos: Photos, told: Any) -> None:
    words = {"s": ("train", "test"), "f": ("Training", "validation")}.get(name[0], ("TRAIN_SET", "valid"))
    root = photos({"ants": 12, "bees": 12})
    images = opened(write(root, listed(name, lambda _, n: words[n < 3])))
    assert {ref.where[-7:-4] for ref in images.refs if ref.part == "test"} == {"000", "001", "002"}
    assert f"list.csv: uses the column {name.lower()} as the part" in told.lines


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("fold", "01234", "fold: 0, 1, 2, 3, 4"),
        ("split", ["train", "dev"], "split: dev, train"),
        ("set", "AB", "set: A, B"),
        ("is_valid", ["True", "False"], "is_valid: False, True"),
        ("usage", ["Training", "PublicTest"], "usage: PublicTest, Training"),
    ],
)
def test_a_column_that_may_divide_them_is_asked_for(name: str, values: Any, shown: str, photos: Photos) -> None:
    root = photos({"ants": 12, "bees": 12})
    message = refused(write(root, listed(name, lambda _, n: values[n % len(values)])))
    assert f"found columns that may mean the like:\n  {shown}\nName the right one part and give it these values" in message


def test_two_columns_that_both_name_parts_are_asked_for(photos: Photos) -> None:
    root = photos({"ants": 12, "bees": 12})
    message = refused(write(root, listed("split,set", lambda _, n: "train,train" if n > 2 else "train,test")))
    assert "found columns that may mean the like:\n  split: train\n  set: test, train" in message


def test_a_column_part_goes_before_others_and_the_others_are_told(photos: Photos, told: Any) -> None:
    root = photos({"ants": 12, "bees": 12})
    images = opened(write(root, listed("part,fold,dataset", lambda _, n: f"{'test' if n < 3 else 'train'},{n % 5},flickr")))
    assert images.counts()["test"] == 6 and "list.csv: ignored the columns fold, dataset" in told.lines


def test_a_column_of_another_meaning_is_passed_over_and_told(photos: Photos, told: Any) -> None:
    root = photos({"ants": 12, "bees": 12})
    opened(write(root, listed("dataset,group", lambda _, n: f"flickr,{n}")))
    assert "list.csv: ignored the columns dataset, group" in told.lines


def test_rows_without_a_value_in_that_column_are_named(photos: Photos) -> None:
    root = photos({"ants": 12, "bees": 12})
    assert "lines without a part, where other lines have one:\n  line 2" in refused(
        write(root, listed("split", lambda _, n: "train" if n else ""))
    )


def test_columns_under_other_names_are_shown_to_rename(photos: Photos) -> None:
    root = photos({"ants": 1})
    message = refused(write(root, "filename,species\na.png,ants\n"))
    assert message.endswith("path and label missing. Perhaps rename filename to path and rename species to label")
    assert "found label more than once. Rename one" in refused(write(root, "path,label,label\na.png,ants,ants\n"))


def test_class_names_that_differ_in_case_are_asked_for(photos: Photos) -> None:
    root = photos({"ants": 12, "bees": 12})
    message = refused(write(root, "path,label\n" + rows({"ants": 12, "bees": 11}) + "bees/011.png,Bees\n"))
    assert "'Bees' (1 images) and 'bees' (11 images)" in message
