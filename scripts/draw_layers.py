#!/usr/bin/env python3
"""Draw docs/layers.svg: the import layers of pyproject.toml, with the first sentence of each package's docstring.

python scripts/draw_layers.py
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "layers.svg"
WIDTH, ROW, MARGIN, TITLE, NAME = 1180, 34, 20, 34, 170  # pixels
STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#1f2328}.t{font-weight:600;font-size:16px}.n{font:600 14px ui-monospace,monospace}"
    ".b{fill:#f6f8fa;stroke:#d0d7de}.q{fill:#ddf4ff;stroke:#54aeff}.f{fill:#fff}"
)


def layers() -> Iterator[tuple[str, list[str]]]:
    """Package -> its layers, the highest first, of each contract of that type."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in project["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            yield contract["containers"][0], contract["layers"]


def sentence(package: str, layer: str) -> str:
    """The first sentence of the docstring of a module or package."""
    place = ROOT / package.replace(".", "/") / layer
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("`", "")


def box(package: str, names: list[str], top: int) -> Iterator[str]:
    """One contract: a title and a row for each layer."""
    yield f'<text class="t" x="{MARGIN}" y="{top + 22}">{package}: each row imports only rows below it</text>'
    for index, name in enumerate(names):
        y = top + TITLE + index * ROW
        kind = "q" if (package, name) == ("edgetl", "quantization") else "b"
        yield f'<rect class="{kind}" x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{ROW - 5}" rx="5"/>'
        yield f'<text class="n" x="{MARGIN + 12}" y="{y + 20}">{name}</text>'
        yield f'<text x="{MARGIN + NAME}" y="{y + 20}">{escape(sentence(package, name))}</text>'


def picture() -> str:
    """The SVG."""
    parts, top = [], MARGIN
    for package, names in layers():
        parts += list(box(package, names, top))
        top += TITLE + len(names) * ROW + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}" role="img">'
    title = "<title>The import layers of edgetl and of its int8 engine</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", f'<rect class="f" width="{WIDTH}" height="{top}"/>', *parts, "</svg>\n"])


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")
