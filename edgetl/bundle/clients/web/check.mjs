// Runs the golden vectors through the page in a headless browser: node check.mjs check [BUNDLE]
//
// Exit code 0 where all agree, 77 where the browser or the page's runtime is not installed here, 1 where one does not.

import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const bundle = path.resolve(process.argv[3] ?? path.join(here, "../.."));
const TIMEOUT_MS = 90_000;
const KINDS = { ".html": "text/html", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".wasm": "application/wasm" };
const DRIVER = `<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,"><iframe src="/clients/web/index.html"></iframe><script type="module">
const frame = document.querySelector("iframe");
await new Promise((done) => (frame.onload = done));
const text = (id) => frame.contentDocument.getElementById(id).textContent;
const until = async (test) => { while (!test()) await new Promise((next) => setTimeout(next, 50)); };
await until(() => !text("status").startsWith("Loading"));
let found = text("status");
if (found.startsWith("Ready")) {
  frame.contentDocument.getElementById("check").click();
  await until(() => !["", "Checking …"].includes(text("checked")));
  found = text("checked");
}
await fetch("/found", { method: "POST", body: found });
</script>`;

function leave(code, text) {
  (code ? console.error : console.log)(text);
  process.exitCode = code;
}

async function check(browser) {
  const profile = await mkdtemp(path.join(os.tmpdir(), "page-"));
  let told;
  const answer = new Promise((resolve) => (told = resolve));
  const server = createServer(async (request, response) => {
    const name = decodeURIComponent(new URL(request.url, "http://x").pathname);
    const file = path.join(bundle, path.normalize(name));
    if (request.method === "POST") {
      let text = "";
      for await (const part of request) text += part;
      response.end();
      told(text);
    } else if (name === "/driver.html") response.setHeader("Content-Type", "text/html").end(DRIVER);
    else if (!existsSync(file)) response.writeHead(404).end();
    else response.setHeader("Content-Type", KINDS[path.extname(file)] ?? "application/octet-stream").end(await readFile(file));
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--remote-debugging-port=0"];
  const offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1";
  const address = `http://127.0.0.1:${server.address().port}/driver.html`;
  const child = spawn(browser, [...quiet, offline, `--user-data-dir=${profile}`, address], { stdio: "ignore" });
  const late = setTimeout(() => told(`gave no answer in ${TIMEOUT_MS / 1000} seconds`), TIMEOUT_MS);
  const found = await answer;
  clearTimeout(late);
  child.kill();
  await new Promise((ended) => child.once("exit", ended));
  server.closeAllConnections();
  server.close();
  await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  leave(/^\d+ golden images agree$/m.test(found) ? 0 : 1, found);
}

const names = [process.env.CHROME, "chromium", "chromium-browser", "google-chrome"].filter(Boolean);
const browser = names.find((name) => spawnSync(name, ["--version"]).status === 0);
if (!existsSync(path.join(here, "node_modules/onnxruntime-web"))) leave(77, "onnxruntime-web is not installed beside the page");
else if (!browser) leave(77, "no Chromium is installed here (CHROME=program names one)");
else await check(browser);
