// The page: a photo or the camera in, the likeliest classes out. Everything runs in this browser; steps.mjs does the arithmetic.

import * as steps from "./steps.mjs";

const RUNTIME = "./node_modules/onnxruntime-web/dist/";
const BUNDLE = new URL("../../", import.meta.url);
const LARGEST = 4096; // pixels of a side that are looked at
const HOLD = 2000; // ms for which an answer to the live camera stays, so that it can be read and a screen reader can finish
const element = (id) => document.getElementById(id);
const say = (text) => (element("status").textContent = text);
const fetched = async (name) => {
  const answer = await fetch(new URL(name, BUNDLE)).catch(() => null);
  if (!answer?.ok) throw new Error(`Expected ${name} in the bundle, found none (${answer?.status ?? "the server is gone"}). Serve the whole bundle.`);
  return answer.arrayBuffer();
};
const json = async (name) => JSON.parse(new TextDecoder().decode(await fetched(name)));

let manifest;
let session;
let ort;

async function load() {
  try {
    ort = await import(`${RUNTIME}ort.wasm.min.mjs`);
  } catch {
    throw new Error("Expected onnxruntime-web beside this page, found none. Run: npm install --no-package-lock, in this folder.");
  }
  ort.env.wasm.wasmPaths = new URL(RUNTIME, import.meta.url).href;
  ort.env.wasm.numThreads = 1;
  manifest = await json("manifest.json");
  session = await ort.InferenceSession.create(await fetched("model.onnx"), { executionProviders: ["wasm"], logSeverityLevel: 3 });
  say("Ready: show it a photo.");
}

/** The bytes of an image file -> an upright picture in the network's colors. */
async function decode(bytes, p) {
  const plain = steps.decodePnm(bytes);
  if (plain) return steps.colored(plain.data, plain.height, plain.width, p);
  if (bytes[1] === 0x50 && bytes[24] === 16 && bytes[25] === 0 && (p.bits ?? 16) < 16)
    throw new Error("Browsers keep the wrong 8 bits of a gray PNG of 16. Save it with 8 bits.", { cause: steps.UNREAD });
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(new Blob([bytes]), options);
  return drawn(bitmap, bitmap.width, bitmap.height, p);
}

function drawn(source, width, height, p) {
  const shrink = Math.min(1, LARGEST / Math.max(width, height)); // only a picture beyond all screens: canvases have an end
  const canvas = new OffscreenCanvas(Math.round(width * shrink), Math.round(height * shrink));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return steps.colored(context.getImageData(0, 0, canvas.width, canvas.height).data, canvas.height, canvas.width, p);
}

/** Float32Array, channels first -> the outputs. */
async function run(input) {
  const p = manifest.preprocess;
  const shape = [1, p.color === "gray" ? 1 : 3, ...steps.pair(p.size)];
  const found = await session.run({ [manifest.inputs[0].name]: new ort.Tensor("float32", input, shape) });
  return found[manifest.outputs[0].name].data;
}

const confidences = (outputs) => steps.confidences(outputs, manifest.outputs[0].kind, manifest.decision?.temperature);
const port = { decode, resized: steps.resized, toInput: steps.toInput, run, confidences };

let spoken = 0; // when the answer changed last

async function answer(picture, live = false) {
  const p = manifest.preprocess;
  const found = steps.decided(confidences(await run(steps.toInput(steps.resized(picture, p), p))), manifest);
  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}%`;
  const first = found.top[0];
  const sure = found.decision === first.name;
  const below = sure ? "" : `, below the threshold of ${percent(manifest.decision.threshold)}`;
  // The shares below change with every frame; a screen reader speaks the answer, when it changes.
  const share = live ? "" : ` (${percent(first.confidence)}${below})`;
  const words = sure ? `${found.decision}${share}` : `Not sure. Maybe ${first.name}${share}`;
  if (element("status").textContent !== words && (!live || performance.now() - spoken > HOLD)) {
    say(words);
    spoken = performance.now();
  }
  list(found.top.map(({ name, confidence }) => row(name, confidence, percent(confidence))));
}

function list(rows) {
  element("answers").replaceChildren(...rows);
  element("answers").hidden = !rows.length; // an empty list would be announced
}

function row(name, confidence, text) {
  const item = document.createElement("li");
  const label = document.createElement("span");
  const share = document.createElement("span");
  const bar = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: confidence });
  bar.setAttribute("aria-hidden", "true"); // the text beside it says the same
  label.textContent = name;
  share.textContent = text;
  item.append(label, " ", share, bar);
  return item;
}

function show(picture, name) {
  const canvas = element("shown");
  const { width, height, channels, data } = picture;
  Object.assign(canvas, { width, height, hidden: false });
  const rgba = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) for (let c = 0; c < 4; c++) rgba.data[4 * i + c] = c === 3 ? 255 : data[i * channels + (channels === 3 ? c : 0)];
  canvas.getContext("2d").putImageData(rgba, 0, 0);
  canvas.setAttribute("aria-label", `The photo that was given${name ? `: ${name}` : ""}`);
}

/** Only words, without a photo or answers that they do not speak of. */
function fail(words) {
  list([]);
  element("shown").hidden = true;
  say(words);
}

let given = 0; // photos so far: only the last is answered

async function classify(file) {
  const mine = ++given;
  stop();
  if (!(await loaded)) return;
  if (!file) return fail("Expected a photo, found a link or text. Save the photo, then give its file.");
  say("Looking …");
  try {
    const picture = await decode(new Uint8Array(await file.arrayBuffer()), manifest.preprocess);
    if (mine !== given) return;
    show(picture, file.name);
    await answer(picture);
  } catch (error) {
    if (mine === given) fail(error.cause === steps.UNREAD ? error.message : `This file cannot be read as a photo (${file.name || "pasted"}). Give a JPEG or PNG.`);
  }
}

// The camera, live

let stream = null;

function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  element("live").hidden = true;
  element("camera").setAttribute("aria-pressed", "false");
}

async function watch() {
  if (stream) return stop();
  if (!(await loaded)) return;
  const video = element("live");
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  } catch {
    const why = isSecureContext ? "Allow it in the browser" : "Browsers give it only to pages on localhost or with https";
    return fail(`No camera can be used here. ${why}. Or choose a photo.`);
  }
  video.srcObject = stream;
  await video.play();
  video.hidden = false;
  element("shown").hidden = true;
  element("camera").setAttribute("aria-pressed", "true");
  spoken = 0;
  while (stream) {
    if (video.videoWidth) await answer(drawn(video, video.videoWidth, video.videoHeight, manifest.preprocess), true);
    await new Promise((next) => setTimeout(next, 200)); // five answers a second are as many as can be read
  }
}

async function check() {
  element("checked").textContent = "Checking …";
  if (!(await loaded)) throw new Error(element("status").textContent);
  const golden = await json("golden/golden.json");
  const read = (name) => fetched(`golden/${name}`);
  const [notes, lines] = [[], []];
  for (const entry of golden.images) {
    const step = await steps.firstWrongStep(entry, golden, manifest, port, read, (text) => notes.push(`${entry.image}: ${text}`));
    if (step) lines.push(`${entry.image}: ${step}`);
  }
  const rule = steps.wrongRule(golden, manifest);
  if (rule) lines.push(rule);
  if (!lines.length) lines.push(`${golden.images.length} golden images agree`);
  element("checked").textContent = [...notes, ...lines].join("\n");
}

const drop = element("drop");
addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
addEventListener("dragleave", () => drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  classify(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => classify(event.clipboardData.files[0]));
for (const [button, input] of [["choose", "file"], ["take", "snapshot"]]) {
  element(button).addEventListener("click", () => element(input).click());
  element(input).addEventListener("change", (event) => {
    classify(event.target.files[0]);
    event.target.value = ""; // so that the same photo can be chosen again
  });
}
element("camera").addEventListener("click", watch);
element("check").addEventListener("click", () => check().catch((error) => (element("checked").textContent = String(error.message))));

const loaded = load().then(() => true, (error) => say(error.message) && false); // a photo that is given earlier waits for it
