"""Class names from a file: one a line, with or without numbers before or behind them, or as JSON."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from edgetl.core.errors import InputError, listing
from edgetl.core.progress import say
from edgetl.data.files import class_name, is_one_line

MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
BEFORE = re.compile(r"(?P<index>\d+)\s*(?:[:,;=.)\t -])\s*(?P<name>\S.*)")
INDEX_BEHIND = re.compile(r"(?P<name>.*\S)\s*(?:[:,;=\t ])\s*(?P<index>\d+)")
HEADER = re.compile(r"\W*(id|idx|index|class|label|number|name)(_?(id|idx|index|name))?\W.*", re.IGNORECASE)
LISTS = ("classes", "labels", "names", "id2label", "label2id", "class_to_idx")  # keys under which files of other tools keep them


def read_labels(path: Path, outputs: int | None = None) -> tuple[str, ...]:
    """The class names in `path`, in the order of the outputs.

    A text holds one a line. Numbers that count the lines, from 0 or 1 on, are taken off; they give the order. JSON holds a list
    of names, which stay as they are, or an object of numbers and names; `id2label`, a manifest's `classes` and the like are found.

    Args:
        path: the file.
        outputs: how many names the model needs; None: any number.

    Raises:
        InputError: no such text, blank lines between names, a name twice, numbers that leave one out, or another number of names.
    """
    text = _text(path)
    found = _json(path, text)
    names = [class_name(name.strip()) for name in (_from_lines(path, text) if found is None else _from_json(path, found))]
    _check(path, names)
    if outputs is not None and len(names) != outputs:
        raise InputError(
            f"expected a name for each of the {outputs} outputs in {path}, found {len(names)} names. {_advice(names, outputs)}"
        )
    return tuple(names)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
        text = data.decode(encoding)
    except OSError as error:
        raise InputError(f"expected a file of class names at {path}, found none that can be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"expected class names, one a line, in {path}, found text that is not UTF-8: {error}. Save it as UTF-8") from error
    if encoding == "utf-16":
        say(f"{path.name}: read as UTF-16")
    return text


def _from_lines(path: Path, text: str) -> list[str]:
    """One name a line; the numbers of lines are those of the file."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    while lines and not lines[-1][1]:
        lines.pop()
    blank = [f"line {number}" for number, line in lines if not line]
    if blank:
        raise InputError(
            f"expected a class name in each line of {path}, found blank ones between names:\n{listing(blank)}\n"
            "Take them out: the number of a line is the number of an output"
        )
    if len(lines) > 2 and HEADER.fullmatch(lines[0][1]) and _numbered([line for _, line in lines[1:]]) and not _number(lines[0][1]):
        say(f"{path.name}: the first line is a header: {lines[0][1]}")
        lines = lines[1:]
    names = [line for _, line in lines]
    return _without_numbers(path, names)


def _number(line: str) -> bool:
    return BEFORE.fullmatch(line) is not None or INDEX_BEHIND.fullmatch(line) is not None


def _numbered(lines: Sequence[str]) -> dict[int, str] | None:
    """Number -> name, if each line holds a number before or behind its name, each another one from 0 or 1 on, and the names differ."""
    for form in (BEFORE, INDEX_BEHIND):
        found = [form.fullmatch(line) for line in lines]
        rows = [(int(match["index"]), match["name"].strip(" \t\"'")) for match in found if match]
        numbers, names = {number for number, _ in rows}, {name for _, name in rows}
        if len(lines) > 1 and len(rows) == len(numbers) == len(names) == len(lines) and min(numbers) in (0, 1) and _have_letters(names):
            return dict(rows)
    return None


def _have_letters(names: Iterable[str]) -> bool:
    return all(any(map(str.isalpha, name)) for name in names)


def _without_numbers(path: Path, lines: list[str]) -> list[str]:
    """The names by their numbers, where the lines are numbered; else the lines."""
    numbered = _numbered(lines)
    if numbered is None:
        return lines
    say(
        f"{path.name}: the numbers beside the names give the order and are removed: {lines[0]!r} becomes {numbered[min(numbered)]!r}"
        if list(numbered) == sorted(numbered)
        else f"{path.name}: the names are sorted by their numbers, which are removed"
    )
    return _in_order(path, numbered)


def _in_order(path: Path, numbered: Mapping[int, str]) -> list[str]:
    first = min(numbered)
    missing = [str(number) for number in range(first, first + len(numbered)) if number not in numbered]
    if missing or first not in (0, 1):
        raise InputError(
            f"expected names that are numbered from 0 or 1 on in {path}, found none for {', '.join(missing[:10]) or 0}. "
            "Add what is missing; if the numbers belong to the names, give the names as a JSON list"
        )
    return [numbered[number] for number in sorted(numbered)]


def _json(path: Path, text: str) -> object:
    """What the text holds, if it is JSON; else None: `[unknown]` may be a class."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        if path.suffix.lower() != ".json":
            return None
        raise InputError(f"expected class names, one a line or as JSON, in {path}, found broken JSON: {error}. Mend it") from error


def _from_json(path: Path, found: object) -> list[str]:
    if isinstance(found, dict):
        found = next((found[key] for key in LISTS if isinstance(found.get(key), list | dict)), found)
    names = _from_object(path, found) if isinstance(found, dict) else [_name(value) for value in found] if isinstance(found, list) else []
    if not names or not all(names):
        raise InputError(
            f'expected a list of class names or an object {{"0": "cat", ...}} in {path}, found other values. Give one name a line'
        )
    return names


def _from_object(path: Path, found: Mapping[str, object]) -> list[str]:
    """`{"0": "cat"}`, or the other way round, `{"cat": 0}`."""
    if found and all(isinstance(value, int) and not isinstance(value, bool) for value in found.values()):
        turned = {int(str(value)): key for key, value in found.items()}
        return _in_order(path, turned) if len(turned) == len(found) else [""]
    if not found or not all(key.isdecimal() for key in found):
        return [""]
    return _in_order(path, {int(key): _name(value) for key, value in found.items()})


def _name(value: object) -> str:
    """A name; of ImageNet's `["n01440764", "tench"]`, both words, as two of its classes are called `crane`."""
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return " ".join(value)
    return value if isinstance(value, str) else ""


def _check(path: Path, names: Sequence[str]) -> None:
    if not names:
        raise InputError(f"expected class names, one a line, in {path}, found none. Write one name for each output of the model")
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names, start=1):
        places.setdefault(name, []).append(place)
    twice = [f"{name} (names {', '.join(map(str, at))})" for name, at in places.items() if len(at) > 1]
    if twice:
        raise InputError(f"expected each class name once in {path}, found:\n{listing(twice)}\nGive each output a name of its own")
    strange = [ascii(name) for name in names if not name or not is_one_line(name)]
    if strange:
        raise InputError(f"expected class names of one line each in {path}, found:\n{listing(strange)}\nRename them")


def _advice(names: Sequence[str], outputs: int) -> str:
    if len(names) == outputs + 1 and re.search("background|unknown|none|void|__", names[0], re.IGNORECASE):
        return f"The first, {names[0]!r}, seems to name no output: take it out if the model does not know it"
    return "Give one name for each output, in their order"
