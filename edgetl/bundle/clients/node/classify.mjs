// Classifies photos with onnxruntime-node; sharp decodes them.
//
//   npm install
//   node classify.mjs PHOTO...     the likeliest classes of each, or "unknown"
//   node classify.mjs check        runs the golden vectors; names the first step that disagrees
//
// The bundle is two folders up; BUNDLE=folder names another.

process.env.ORT_DISABLE_TELEMETRY = "1"; // before onnxruntime is loaded

import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import * as steps from "../web/steps.mjs";

const ort = await import("onnxruntime-node").then((module) => module.default ?? module);
const sharp = (await import("sharp")).default;

const bundle = process.env.BUNDLE ?? path.join(path.dirname(fileURLToPath(import.meta.url)), "../..");
const json = async (name) => JSON.parse(await readFile(path.join(bundle, name), "utf8"));
const manifest = await json("manifest.json");
const session = await ort.InferenceSession.create(path.join(bundle, "model.onnx"), { logSeverityLevel: 3 });

/** The bytes of an image file -> an upright picture in the network's colors. */
async function decode(bytes, p) {
  const plain = steps.decodePnm(bytes);
  if (plain) return steps.colored(plain.data, plain.height, plain.width, p);
  const { data, info } = await sharp(bytes).rotate().toColourspace("srgb").ensureAlpha().raw({ depth: "uchar" }).toBuffer({ resolveWithObject: true });
  return steps.colored(data, info.height, info.width, p);
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
    const step = await steps.firstWrongStep(entry, golden, manifest, port, read);
    if (step) console.error(`${entry.image}: ${step}`);
    wrong += step !== null;
  }
  if (wrong) process.exitCode = 1;
  else console.log(`${golden.images.length} golden images agree`);
}

async function classify(file) {
  const p = manifest.preprocess;
  const picture = steps.resized(await decode(await readFile(file), p), p);
  const { top, decision } = steps.decided(confidences(await run(steps.toInput(picture, p))), manifest);
  console.log(`${file}\t${decision}`);
  for (const { name, confidence } of top) console.log(`  ${confidence.toFixed(4)}  ${name}`);
}

const given = process.argv.slice(2);
if (given[0] === "check") await check();
else if (given.length === 0) console.error("expected photos, or check");
for (const file of given[0] === "check" ? [] : given) await classify(file);
