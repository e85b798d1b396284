"""The page in a real browser: nothing overflows, every photo loads, no name is obeyed. Needs chromium; skips without."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgetl.report.html import render
from edgetl.report.publish import pictures
from edgetl.report.thumbnails import with_thumbnails

from .conftest import log, photo, trial

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
]
EVIL = ("<script>document.title='owned'</script>", "\"><img src=x onerror=document.title='owned'>", "鳥居", "عصفور الدوري")
CLASSES = (*EVIL, "a" * 70, *(f"class number {i}" for i in range(36)))
FRAME = """<!DOCTYPE html><body style="margin:0"><iframe style="border:0;width:{width}px;height:900px" srcdoc="{page}"></iframe>
<script>addEventListener('load', () => {{ const w = frames[0], d = w.document; document.body.dataset.found = JSON.stringify({{
  title: d.title, width: w.innerWidth, wide: d.documentElement.scrollWidth,
  photos: d.images.length, loaded: [...d.images].filter(image => image.naturalWidth > 0).length,
  outside: w.performance.getEntriesByType('resource').filter(entry => !entry.name.startsWith('data:')).length }}) }})</script>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")


def opened(page: str, width: int, folder: Path) -> dict[str, int | str]:
    """What the browser finds in the page, in a frame of that width; for once, scripts in it may run."""
    allowed = page.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';").replace(' loading="lazy"', "")
    assert allowed.count("script-src") == 1
    (folder / "frame.html").write_text(FRAME.format(width=width, page=html.escape(allowed)), encoding="utf-8")
    command = [str(BROWSER), *QUIET, f"--user-data-dir={folder / 'profile'}", "--window-size=1300,900", "--dump-dom"]
    try:
        done = subprocess.run([*command, (folder / "frame.html").as_uri()], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the browser does not start here")
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    if found is None:
        pytest.skip(f"the browser shows no page here: {done.stderr[-300:]}")
    read: dict[str, int | str] = json.loads(html.unescape(found.group(1)))
    return read


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:5]], ids=["many classes", "few classes"])
def test_a_page_of_hostile_names_fits_loads_and_obeys_nobody(classes: tuple[str, ...], width: int, tmp_path: Path) -> None:
    simulated = trial(classes=classes, count=400, student_errors=0.1)
    gallery = with_thumbnails(simulated.images().gallery(4), 4, lambda sha: photo(1), tmp_path / "thumbnails")
    page = render(simulated.report().to_json(), {"distill": log(5)}, gallery, pictures(tmp_path / "thumbnails"))
    found = opened(page, width, tmp_path)
    assert str(found["title"]).endswith(": digits")
    assert found["wide"] == found["width"] == width
    assert found["loaded"] == found["photos"] and int(found["photos"]) >= 5
    assert found["outside"] == 0


def test_the_measure_can_fail(tmp_path: Path) -> None:
    """A page that is too wide, runs a script, and has a photo that does not load."""
    head = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:"><title>fine</title>'
    body = '<img src="data:image/jpeg;base64,AAAA"><div style="width:2000px">wide</div>'
    found = opened(f"<!DOCTYPE html><head>{head}</head><body>{EVIL[0]}{body}</body>", 360, tmp_path)
    assert (found["title"], found["photos"], found["loaded"]) == ("owned", 1, 0)
