// Classifies photos with onnxruntime-node; sharp decodes them.
//
//   npm install --no-package-lock
//   node classify.mjs PHOTO [BUNDLE]    the likeliest classes, or "unknown"
//   node classify.mjs check [BUNDLE]    runs the golden vectors; names the first step that disagrees
//
// The bundle is two folders up, if no other is named. Exit code 77: a package is not installed here.

process.env.ORT_DISABLE_TELEMETRY = "1"; // before onnxruntime is loaded

import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import * as steps from "../web/steps.mjs";

const needed = async (name) => {
  try {
    const module = await import(name);
    return module.default ?? module;
  } catch {
    console.error(`${name} is not installed: npm install --no-package-lock, in the folder of this program`);
    process.exit(77);
  }
};
const ort = await needed("onnxruntime-node");
const sharp = await needed("sharp");

process.on("uncaughtException", ({ message }) => {
  console.error(message);
  process.exit(2);
});
const [what, folder] = process.argv.slice(2);
if (what === undefined) throw new Error("expected a photo, or check");
const bundle = folder ?? path.join(path.dirname(fileURLToPath(import.meta.url)), "../..");
const json = async (name) => JSON.parse(await readFile(path.join(bundle, name), "utf8"));
const manifest = await json("manifest.json");
const session = await ort.InferenceSession.create(path.join(bundle, "model.onnx"), { logSeverityLevel: 3 });

/** The bytes of an image file -> an upright picture in the network's colors. */
async function decode(bytes, p) {
  const plain = steps.decodePnm(bytes);
  if (plain) return steps.colored(plain.data, plain.height, plain.width, p);
  const image = sharp(bytes, { ignoreIcc: true }).rotate(); // upright; color profiles are left alone
  const { space, channels } = await sharp(bytes).metadata();
  const deep = space === "grey16" && channels === 1;
  const raw = deep
    ? image.toColourspace("grey16").raw({ depth: "ushort" })
    : space === "cmyk"
      ? image.pipelineColourspace("cmyk").toColourspace("cmyk").raw({ depth: "uchar" })
      : image.toColourspace("srgb").ensureAlpha().raw({ depth: "uchar" });
  const { data, info } = await raw.toBuffer({ resolveWithObject: true });
  const rgba = deep ? highest(data, p.bits ?? 16) : space === "cmyk" ? inked(data) : data;
  return steps.colored(rgba, info.height, info.width, p);
}

/** Gray of 16 bits, of which `bits` are filled -> RGBA of the highest 8 of those. */
function highest(data, bits) {
  const rgba = new Uint8Array(2 * data.length).fill(255);
  for (let i = 0; i < data.length / 2; i++) rgba.fill(Math.min(255, data.readUInt16LE(2 * i) >> (bits - 8)), 4 * i, 4 * i + 3);
  return rgba;
}

/** Ink on white -> RGBA, in Pillow's integer arithmetic. */
function inked(data) {
  const rgba = new Uint8Array(data.length).fill(255);
  for (let i = 0; i < data.length; i++) {
    const paper = 255 - data[i | 3];
    const sum = data[i] * paper + 128;
    if (i % 4 < 3) rgba[i] = paper - (((sum >> 8) + sum) >> 8);
  }
  return rgba;
}

/** Float32Array, channels first -> the outputs. */
async function run(input) {
  const p = manifest.preprocess;
  const shape = [1, p.color === "gray" ? 1 : 3, ...steps.pair(p.size)];
  const given = { [manifest.inputs[0].name]: new ort.Tensor("float32", input, shape) };
  return (await session.run(given))[manifest.outputs[0].name].data;
}

const confidences = (outputs) => steps.confidences(outputs, manifest.outputs[0].kind, manifest.decision?.temperature);
const port = { decode, resized: steps.resized, toInput: steps.toInput, run, confidences };

async function check() {
  const golden = await json("golden/golden.json");
  const read = async (name) => {
    const bytes = await readFile(path.join(bundle, "golden", name));
    return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  };
  let wrong = 0;
  for (const entry of golden.images) {
    const step = await steps.firstWrongStep(entry, golden, manifest, port, read, (text) => console.log(`${entry.image}: ${text}`));
    if (step) console.error(`${entry.image}: ${step}`);
    wrong += step !== null;
  }
  const rule = steps.wrongRule(golden, manifest);
  if (rule) console.error(rule);
  if (wrong || rule) process.exitCode = 1;
  else console.log(`${golden.images.length} golden images agree`);
}

async function classify(file) {
  const p = manifest.preprocess;
  const picture = steps.resized(await decode(await readFile(file), p), p);
  const { top, decision } = steps.decided(confidences(await run(steps.toInput(picture, p))), manifest);
  console.log(decision);
  for (const { name, confidence } of top) console.log(`${confidence.toFixed(4)}  ${name}`);
}

await (what === "check" ? check() : classify(what));
