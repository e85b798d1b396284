"""A CSV that names images: `path,label[,part]`, paths relative to the CSV."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgetl.core.errors import InputError, listing, nearest
from edgetl.core.progress import say
from edgetl.data.files import Collection, Labelled, block, class_name, native
from edgetl.data.partnames import part_of

COLUMNS = ("path", "label", "part")
SEPARATORS = (",", ";", "\t")
SYNONYMS = {
    "path": frozenset({"file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_file", "img", "img_path"}),
    "label": frozenset({"class", "classname", "class_name", "category", "target", "species", "labels", "label_name"}),
}
PART_COLUMNS = re.compile(
    r"(data_?split|split|sub_?set|set|fold|partition)s?|kfold|k_fold|(is|in)_?(train|val|valid|test)(ing|ation)?|(train|test)(ing)?"
)
OTHER_COLUMNS = re.compile(r"usage|phase|mode|dataset|stage|purpose|group")  # these may mean anything: their values tell
VALUES_SHOWN = 6


def read_csv(path: Path) -> Collection:
    """The images that the CSV at `path` names; the first line holds the names of the columns.

    Cells are separated by commas, or by semicolons or tabs, as spreadsheets of some languages write them; a line `sep=;` before
    the header is theirs too. Paths are relative to the CSV or absolute, with `/` or, as Windows writes them, with a backslash.

    Raises:
        InputError: not UTF-8, not a CSV, or without the columns `path` and `label`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        separator, skipped = _separator(text)
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        for _ in range(skipped):
            next(lines)
        header = [name.strip().lower() for name in next(lines, [])]
        cells = [(lines.line_num, row) for row in lines if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"expected a CSV in UTF-8 (path,label[,part]) at {path}, found a file that cannot be read as such: {error}. Save it as UTF-8"
        ) from error
    _check_header(path, header)
    header = _with_part(path, header, [dict(zip(header, row, strict=False)) for _, row in cells])
    rows = [(line, _row(header, row)) for line, row in cells]
    places = {line: _place(path.parent, row.get("path", "")) for line, row in rows}
    items = [_item(row, places[line]) for line, row in rows]
    usable = tuple(item for item in items if item.where and item.label)
    groups = frozenset((item.part, item.label) for item in items if item.label)
    absent = [f"line {line}: {row['path']}" for line, row in rows if row.get("path") and not places[line]]
    return Collection(name=path.stem, root=path.parent, items=usable, groups=groups, problems=tuple(_problems(rows, absent)))


def _separator(text: str) -> tuple[str, int]:
    """What stands between cells, and how many lines to pass over before the header."""
    first, _, _ = text.partition("\n")
    if (said := first.strip()).lower().startswith("sep=") and len(said) == len("sep=") + 1:
        return said[-1], 1
    for separator in SEPARATORS:
        header = {cell.strip().strip('"').lower() for cell in first.split(separator)}
        if set(COLUMNS[:2]) <= header:
            return separator, 0
    return SEPARATORS[0], 0


def _place(root: Path, text: str) -> str:
    """Where the file lies that a cell means, relative to `root`; nothing if there is none.

    The cell may come from another system: with backslashes, or with accents in one character where the file has them in two.
    """
    for spelled in dict.fromkeys((text, text.replace("\\", "/"))):
        for form in (spelled, unicodedata.normalize("NFC", spelled), unicodedata.normalize("NFD", spelled)):
            if form and os.path.isfile(root / native(form)):
                return Path(native(form)).as_posix()
    return ""


def _row(header: list[str], cells: list[str]) -> dict[str, str]:
    """The cells by column; nothing where there are more of them than columns."""
    return dict(zip(header, (cell.strip() for cell in cells), strict=False)) if len(cells) <= len(header) else {}


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in COLUMNS[:2] if name not in header]
    if missing:
        renamed = [f"rename {name} to {column}" for column in missing for name in header if name in SYNONYMS[column]]
        hint = f". Perhaps {' and '.join(renamed)}" if renamed else nearest(missing[0], header)
        raise InputError(
            f"expected the columns path,label[,part] in the first line of {path}, found {','.join(header) or 'nothing'}: "
            f"{' and '.join(missing)} missing{hint}"
        )
    doubles = [name for name in COLUMNS if header.count(name) > 1]
    if doubles:
        raise InputError(f"expected each column once in the first line of {path}, found {' and '.join(doubles)} more than once. Rename one")


def _with_part(path: Path, header: list[str], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The header with the name `part` for the column that divides the images; what is not used is told.

    Raises:
        InputError: a column that seems to divide them, and does not say which are train, val and test.
    """
    values = {name: {row.get(name, "").strip() for row in rows} - {""} for name in header}
    dividing = [name for name in header if PART_COLUMNS.fullmatch(name) or OTHER_COLUMNS.fullmatch(name)]
    naming = [name for name in dividing if values[name] and all(part_of(value) for value in values[name])]
    asked = [name for name in dividing if name not in naming and (PART_COLUMNS.fullmatch(name) or any(map(part_of, values[name])))]
    if "part" not in header and len(naming) != 1 and (asked or naming):
        raise InputError(_unclear(path, {name: values[name] for name in naming or asked}))
    taken = naming[0] if naming and "part" not in header else None
    if taken:
        say(f"{path.name}: uses the column {taken} as the part")
    unused = [name for name in header if name not in (*COLUMNS, taken)]
    if unused:
        say(f"{path.name}: ignored the columns {', '.join(unused)}")
    return ["part" if name == taken else name for name in header]


def _unclear(path: Path, values: Mapping[str, set[str]]) -> str:
    shown = [
        f"{name}: {', '.join(sorted(found)[:VALUES_SHOWN])}{', ...' if len(found) > VALUES_SHOWN else ''}" for name, found in values.items()
    ]
    return (
        f"expected a column part with train, val and test in {path}, found columns that may mean the like:\n{listing(shown)}\n"
        "Name the right one part and give it these values; give columns that mean something else another name, or take them out"
    )


def _item(row: Mapping[str, str], where: str) -> Labelled:
    return Labelled(where=where, label=class_name(row.get("label", "")), part=part_of(row.get("part", "")))


def _problems(rows: list[tuple[int, dict[str, str]]], absent: list[str]) -> list[str]:
    """Rows that are not whole, parts that are unknown or given for some rows only, files that are not there."""
    unwhole = [f"line {line}" for line, row in rows if not row.get("path") or not row.get("label")]
    parts = {row.get("part", "").lower() for _, row in rows}
    strange = [f"line {line}: {row['part']!r}" for line, row in rows if row.get("part") and part_of(row["part"]) is None]
    bare = [f"line {line}" for line, row in rows if not row.get("part")] if parts - {""} else []
    return [
        *block("lines without a path or a label, or with more cells than columns (put text with commas into double quotes)", unwhole),
        *block("parts other than train, val and test", strange),
        *block("lines without a part, where other lines have one", bare),
        *block("files that are not there (paths are relative to the CSV)", absent),
    ]
