"""A CSV that names images: `path,label[,part]`, paths relative to the CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from edgetl.core.errors import InputError, nearest
from edgetl.core.progress import say
from edgetl.data.files import PART_NAMES, Collection, Labelled, block

COLUMNS = ("path", "label", "part")


def read_csv(path: Path) -> Collection:
    """The images that the CSV at `path` names; the first line holds the names of the columns.

    Raises:
        InputError: not UTF-8, not a CSV, or without the columns `path` and `label`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream, strict=True)
            header = [name.strip().lower() for name in next(lines, [])]
            rows = [(lines.line_num, _row(header, row)) for row in lines if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"expected a CSV in UTF-8 (path,label[,part]) at {path}, found something else: {error}") from error
    _check_header(path, header)
    items = [_item(row) for _, row in rows]
    usable = tuple(item for item in items if item.where and item.label and (path.parent / item.where).is_file())
    groups = frozenset((item.part, item.label) for item in items if item.label)
    return Collection(name=path.stem, root=path.parent, items=usable, groups=groups, problems=tuple(_problems(path, rows)))


def _row(header: list[str], cells: list[str]) -> dict[str, str]:
    """The cells by column; nothing where there are more of them than columns."""
    return dict(zip(header, (cell.strip() for cell in cells), strict=False)) if len(cells) <= len(header) else {}


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in COLUMNS[:2] if name not in header]
    if missing:
        raise InputError(
            f"expected the columns path,label[,part] in the first line of {path}, found {','.join(header) or 'nothing'}: "
            f"{' and '.join(missing)} missing{nearest(missing[0], header)}"
        )
    unused = [name for name in header if name not in COLUMNS]
    if unused:
        say(f"{path.name}: columns not used: {', '.join(unused)}")


def _item(row: Mapping[str, str]) -> Labelled:
    where = row.get("path", "")
    return Labelled(
        where=Path(where).as_posix() if where else "", label=row.get("label", ""), part=PART_NAMES.get(row.get("part", "").lower())
    )


def _problems(path: Path, rows: list[tuple[int, dict[str, str]]]) -> list[str]:
    """Rows that are not whole, parts that are unknown or given for some rows only, files that are not there."""
    unwhole = [f"line {line}" for line, row in rows if not row.get("path") or not row.get("label")]
    parts = {row.get("part", "").lower() for _, row in rows}
    strange = [f"line {line}: {row['part']!r}" for line, row in rows if row.get("part") and row["part"].lower() not in PART_NAMES]
    bare = [f"line {line}" for line, row in rows if not row.get("part")] if parts - {""} else []
    absent = [f"line {line}: {row['path']}" for line, row in rows if row.get("path") and not (path.parent / row["path"]).is_file()]
    return [
        *block("lines without a path or a label, or with more cells than columns (put text with commas into double quotes)", unwhole),
        *block("parts other than train, val and test", strange),
        *block("lines without a part, where other lines have one", bare),
        *block("files that are not there (paths are relative to the CSV)", absent),
    ]
