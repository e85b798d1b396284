"""A bundle's page in a real headless browser: served from the bundle's folder, no network, driven by a page around it."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--enable-logging=stderr"),
    *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
]
DRIVER = """<!DOCTYPE html><meta charset="utf-8"><title>driver</title><link rel="icon" href="data:,">
<body style="margin:0"><iframe src="/clients/web/index.html" style="border:0;width:{width}px;height:{height}px" allow="camera"></iframe>
<script type="module">
const frame = document.querySelector("iframe");
await new Promise((done) => (frame.onload = done));
const page = frame.contentWindow, seen = page.document;
const status = () => seen.getElementById("status").textContent;
const until = async (test) => {{ for (let i = 0; i < 600 && !test(); i++) await new Promise((next) => setTimeout(next, 50)); }};
const found = {{ }};
await until(() => !status().startsWith("Loading"));
found.ready = status();
const bytes = await (await fetch("/photo")).arrayBuffer();
const data = new page.DataTransfer();
data.items.add(new page.File([bytes], "{name}", {{ type: "{type}" }}));
page.dispatchEvent(new page.DragEvent("drop", {{ dataTransfer: data, cancelable: true }}));
await until(() => seen.querySelectorAll("#answers li").length);
found.status = status();
found.violations = [];
const axe = seen.createElement("script");
axe.src = "node_modules/axe-core/axe.min.js";
const loaded = new Promise((done) => {{ axe.onload = () => done(true); axe.onerror = () => done(false); }});
if ({axe}) {{
  seen.head.append(axe);
  if (await loaded) found.violations = (await page.axe.run(seen)).violations.map((each) => `${{each.id}}: ${{each.help}}`);
  else found.violations = ["axe-core does not load"];
}}
found.answers = [...seen.querySelectorAll("#answers li")].map((item) => [...item.querySelectorAll("span")].map((s) => s.textContent));
if ({check}) {{
  seen.querySelector("details").open = true;
  seen.getElementById("check").click();
  await until(() => !["", "Checking …"].includes(seen.getElementById("checked").textContent));
  found.checked = seen.getElementById("checked").textContent;
  const ort = await import("/clients/web/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  const {{ readNpy }} = await import("/clients/web/steps.mjs");
  const bytesOf = async (name) => (await fetch(`/${{name}}`)).arrayBuffer();
  const session = await ort.InferenceSession.create(await bytesOf("model.image.onnx"), {{ executionProviders: ["wasm"] }});
  found.pixels = {{}};
  for (const {{ image, stages }} of (await (await fetch("/golden/golden.json")).json()).images) {{
    const {{ data, shape }} = readNpy(await bytesOf(`golden/${{stages.resized}}`));
    const made = await session.run({{ image: new ort.Tensor("uint8", data, [1, ...shape]) }});
    found.pixels[image] = [Array.from(made.logits.data), Array.from(made.probabilities.data)];
  }}
  const link = new page.DataTransfer();
  link.items.add("https://example.org/photo.jpg", "text/uri-list");
  page.dispatchEvent(new page.DragEvent("drop", {{ dataTransfer: link, cancelable: true }}));
  await until(() => status().startsWith("Expected"));
  found.link = status();
  const torn = new page.DataTransfer();
  torn.items.add(new page.File(["no photo"], "torn.jpg", {{ type: "image/jpeg" }}));
  page.dispatchEvent(new page.DragEvent("drop", {{ dataTransfer: torn, cancelable: true }}));
  await until(() => status().startsWith("This file"));
  found.torn = [status(), seen.getElementById("shown").hidden, seen.getElementById("answers").hidden];
  seen.getElementById("camera").click();
  await until(() => seen.querySelectorAll("#answers li").length);
  found.camera = [status(), seen.getElementById("camera").getAttribute("aria-pressed"), seen.querySelectorAll("#answers li").length];
  seen.getElementById("camera").click();
}}
found.wide = seen.documentElement.scrollWidth;
found.width = page.innerWidth;
const named = (e) => e.getAttribute("aria-label") || e.textContent.trim();
found.unnamed = [...seen.querySelectorAll("button, input, canvas, video, section")].filter((e) => !named(e)).length;
found.reached = [...seen.querySelectorAll("button, summary")].filter((e) => e.tabIndex < 0).length;
const inside = (name) => name.startsWith(location.origin) || /^(blob|data):/.test(name);
found.outside = page.performance.getEntriesByType("resource").map((e) => e.name).filter((name) => !inside(name));
await fetch("/found", {{ method: "POST", body: JSON.stringify(found) }});
</script>"""


class _Handler(SimpleHTTPRequestHandler):
    driver: bytes
    photo: bytes
    found: Queue[Any]

    def do_GET(self) -> None:
        given = {"/driver.html": (self.driver, "text/html"), "/photo": (self.photo, "application/octet-stream")}.get(self.path)
        if given is None:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", given[1])
        self.send_header("Content-Length", str(len(given[0])))
        self.end_headers()
        self.wfile.write(given[0])

    def do_POST(self) -> None:
        self.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the browser's own log is read."""


def drive(bundle: Path, photo: Path, profile: Path, *, width: int, check: bool = True, height: int = 900, shot: Path | None = None) -> Any:
    """What the page shows for a dropped photo, and what the browser's console says; None where no browser starts here.

    Where the page's node_modules have axe-core, `violations` is what it finds against accessibility.
    """
    assert BROWSER
    kind = {".jpg": "image/jpeg", ".png": "image/png"}.get(photo.suffix, "image/x-portable-graymap")
    axe = str((bundle / "clients/web/node_modules/axe-core").is_dir()).lower()
    text = DRIVER.format(width=width, height=height, name=photo.name, type=kind, check=str(check).lower(), axe=axe)
    members: dict[str, Any] = {"driver": text.encode(), "photo": photo.read_bytes(), "found": Queue()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(type("Handler", (_Handler,), members), directory=str(bundle)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/driver.html"
    size = [f"--window-size={width},{height}"]
    picture = [f"--screenshot={shot}", "--virtual-time-budget=30000"] if shot else ["--remote-debugging-port=0"]
    with (profile / "log").open("w+") as log:
        browser = subprocess.Popen([BROWSER, *QUIET, *size, *picture, f"--user-data-dir={profile}", address], stderr=log, stdout=log)
        try:
            found = members["found"].get(timeout=90)
            if shot:
                browser.wait(timeout=60)
        except Empty:
            return None
        finally:
            browser.terminate()
            browser.wait(timeout=20)
            server.shutdown()
            server.server_close()
        log.seek(0)
        found["console"] = [line for line in log.read().splitlines() if "CONSOLE" in line]
    return found
