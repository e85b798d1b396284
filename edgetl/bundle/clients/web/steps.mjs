// The steps from pixels to a decision, as manifest.json says them. No dependency: the page and Node use the same.
// A picture is {data: Uint8Array, height, width, channels}, rows from the top, channels last.

export const pair = (number) => (typeof number === "number" ? [number, number] : number);

/** Half to the even number, as Python rounds. */
const even = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/** RGBA pixels -> the network's colors: what is transparent lies on white; gray is ITU-R 601-2 luma. Pillow's integer arithmetic. */
export function colored(rgba, height, width, p) {
  const channels = p.color === "gray" ? 1 : 3;
  const data = new Uint8Array(height * width * channels);
  for (let i = 0; i < height * width; i++) {
    const alpha = rgba[4 * i + 3];
    const [r, g, b] = [0, 1, 2].map((c) => {
      const sum = rgba[4 * i + c] * alpha * 128 + 255 * (255 - alpha) * 128 + 16384;
      return (((sum >> 8) + sum) >> 8) >> 7;
    });
    if (channels === 1) data[i] = (r * 19595 + g * 38470 + b * 7471 + 32768) >> 16;
    else data.set([r, g, b], 3 * i);
  }
  return { data, height, width, channels };
}

/** A binary portable graymap or pixmap (P5, P6, 8 bits) as RGBA: {data, height, width}; null for other files. */
export function decodePnm(bytes) {
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, 512));
  const found = /^P([56])\s(?:#[^\n]*\n|\s)*(\d+)\s(?:#[^\n]*\n|\s)*(\d+)\s(?:#[^\n]*\n|\s)*255\s/.exec(head);
  if (!found) return null;
  const [width, height, step] = [Number(found[2]), Number(found[3]), found[1] === "6" ? 3 : 1];
  const from = found[0].length;
  const data = new Uint8ClampedArray(4 * height * width);
  for (let i = 0; i < height * width; i++)
    for (let c = 0; c < 4; c++) data[4 * i + c] = c === 3 ? 255 : bytes[from + step * i + (step === 3 ? c : 0)];
  return { data, height, width };
}

const FILTERS = {
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => ((x = Math.abs(x)), x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0)],
  lanczos: [3, (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0)],
};
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const ONE = 2 ** 22; // Pillow's weights are whole numbers of this fraction

/** For each new pixel along one side: where its window begins, and the weights in it. The window grows as the side shrinks: antialias. */
export function windows(before, after, filter) {
  const [reach, weight] = FILTERS[filter];
  const scale = before / after;
  const wide = Math.max(1, scale);
  return Array.from({ length: after }, (_, at) => {
    const center = (at + 0.5) * scale;
    const from = Math.max(0, Math.trunc(center - reach * wide + 0.5));
    const to = Math.min(before, Math.trunc(center + reach * wide + 0.5));
    const raw = Array.from({ length: to - from }, (_, i) => weight((i + from - center + 0.5) / wide));
    const sum = raw.reduce((a, b) => a + b, 0);
    return { from, weights: raw.map((w) => Math.trunc((w / sum) * ONE + (w < 0 ? -0.5 : 0.5))) };
  });
}

/** A picture of other width and height, bit for bit as Pillow resizes: along the rows, then along the columns. */
export function resample(picture, height, width, filter) {
  const across = width === picture.width ? picture : pass(picture, picture.height, width, windows(picture.width, width, filter), false);
  return height === picture.height ? across : pass(across, height, width, windows(picture.height, height, filter), true);
}

function pass(picture, height, width, plan, vertical) {
  const { data, channels } = picture;
  const made = new Uint8Array(height * width * channels);
  const step = vertical ? picture.width * channels : channels;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const { from, weights } = plan[vertical ? y : x];
      const start = vertical ? from * step + x * channels : (y * picture.width + from) * channels;
      for (let c = 0; c < channels; c++) {
        let sum = ONE / 2;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * data[start + c + i * step];
        made[(y * width + x) * channels + c] = Math.min(255, Math.max(0, Math.floor(sum / ONE)));
      }
    }
  return { data: made, height, width, channels };
}

/** A decoded picture at the network's size: resized to cover ("crop"), fill ("squash") or lie within ("pad") `resize`, then center-cropped. */
export function resized(picture, p) {
  const [rows, columns] = pair(p.resize);
  const fit = p.fit ?? "crop";
  let size = [rows, columns];
  if (fit !== "squash") {
    const round = fit === "crop" ? Math.trunc : (x) => Math.max(1, even(x));
    const byWidth = picture.height * columns >= picture.width * rows === (fit === "crop");
    size = byWidth ? [round((columns * picture.height) / picture.width), columns] : [rows, round((rows * picture.width) / picture.height)];
  }
  const fitted = resample(picture, ...size, p.filter);
  return placed(fit === "pad" ? placed(fitted, rows, columns, p.fill) : fitted, ...pair(p.size), 0);
}

/** The center of a picture, height x width; where it is smaller, it lies in the middle of pixels of the gray level `fill`. */
function placed(picture, height, width, fill) {
  const { channels } = picture;
  const top = even((picture.height - height) / 2);
  const left = even((picture.width - width) / 2);
  const data = new Uint8Array(height * width * channels).fill(fill);
  for (let y = Math.max(0, -top); y < Math.min(height, picture.height - top); y++)
    for (let x = Math.max(0, -left); x < Math.min(width, picture.width - left); x++)
      for (let c = 0; c < channels; c++)
        data[(y * width + x) * channels + c] = picture.data[((y + top) * picture.width + x + left) * channels + c];
  return { data, height, width, channels };
}

/** A picture at the network's size -> Float32Array, channels first: (pixel / 255 - mean) / std. */
export function toInput(picture, p) {
  const { data, height, width, channels } = picture;
  const area = height * width;
  const input = new Float32Array(channels * area);
  for (let c = 0; c < channels; c++)
    for (let i = 0; i < area; i++)
      input[c * area + i] = Math.fround(Math.fround(Math.fround(data[i * channels + c] / 255) - Math.fround(p.mean[c])) / Math.fround(p.std[c]));
  return input;
}

/** The outputs for one image -> a number in [0, 1] for each class; kind is manifest.outputs[0].kind. */
export function confidences(outputs, kind, temperature = 1) {
  const x = Array.from(outputs);
  const unit = (v) => Math.min(1, Math.max(0, v));
  if (kind === "probabilities" || kind === "sigmoids") return x.map(unit);
  if (kind === "sigmoid") return [1 - unit(x[0]), unit(x[0])];
  const scores = kind === "logit" ? [0, x[0]] : x;
  const most = Math.max(...scores);
  const powers = scores.map((v) => Math.exp((v - most) / temperature));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((v) => v / sum);
}

/** The likeliest classes, [{name, confidence}], and the decision: the first of them, or "unknown" where it is not sure enough. */
export function decided(confidence, manifest, count = 5) {
  const order = confidence.map((value, index) => ({ name: manifest.classes[index], confidence: value }));
  const top = order.sort((a, b) => b.confidence - a.confidence).slice(0, count);
  const rule = manifest.decision;
  const sure = rule?.threshold == null || top[0].confidence >= rule.threshold;
  return { top, decision: sure ? top[0].name : rule.unknown };
}

/** A .npy file of uint8 or float32 -> {shape, data}. */
export function readNpy(buffer) {
  const view = new DataView(buffer);
  const long = view.getUint8(6) > 1;
  const start = long ? 12 : 10;
  const end = start + (long ? view.getUint32(8, true) : view.getUint16(8, true));
  const head = new TextDecoder("latin1").decode(new Uint8Array(buffer, start, end - start));
  const shape = /'shape': \(([^)]*)\)/.exec(head)[1].split(",").filter((s) => s.trim()).map(Number);
  const bytes = buffer.slice(end);
  return { shape, data: head.includes("'|u1'") ? new Uint8Array(bytes) : new Float32Array(bytes) };
}

const pictureOf = ({ data, shape: [height, width, channels] }) => ({ data, height, width, channels });

export const UNREAD = "a form that this runtime does not read"; // the cause of a decoder's error that is no mistake of the port

/**
 * Run one golden image step by step, each on the golden result of the step before; the first step that disagrees, in words, or null.
 * `port` does the steps: {decode(bytes), resized(picture, p), toInput(picture, p), run(input), confidences(outputs)}; `read(name)`
 * gives the bytes of a file of golden/ as an ArrayBuffer; `note(text)` hears of a file that is not decoded here.
 */
export async function firstWrongStep(entry, golden, manifest, port, read, note) {
  const p = manifest.preprocess;
  const { stages } = golden;
  const array = async (step) => (step in entry.stages ? readNpy(await read(entry.stages[step])) : null);
  const decoded = await array("decoded");
  const resizedTo = await array("resized");
  const bytes = new Uint8Array(await read(entry.stages.file));
  let own = null;
  try {
    own = await port.decode(bytes, p);
  } catch (error) {
    if (error.cause !== UNREAD && /\.(jpe?g|png)$/.test(entry.stages.file)) return `decoded: ${error.message}`;
    note(`not decoded here: ${error.message}`);
  }
  const same = own && decoded && own.height === decoded.shape[0] && own.width === decoded.shape[1];
  const reduced = p.decode === "reduced";
  let wrong = own && decoded && (same || !reduced) && differs([own.height, own.width, own.channels], own.data, decoded, { abs: stages.decoded.levels });
  if (wrong) return `decoded: ${wrong}`;
  const atSize = (picture, levels) => {
    const made = port.resized(picture, p);
    return differs([made.height, made.width, made.channels], made.data, resizedTo, { abs: levels });
  };
  const apart = reduced ? golden.full_decode_levels : stages.decoded.levels + stages.resized.levels; // of a picture that is decoded here
  if (decoded) wrong = atSize(pictureOf(decoded), stages.resized.levels);
  else if (own) wrong = atSize(own, apart);
  if (wrong) return `resized: ${wrong}`;
  wrong = own && decoded && !same && atSize(own, apart); // in full here, reduced there: comparable once both are resized
  if (wrong) return `decoded: ${wrong}`;
  const input = await array("input");
  wrong = differs(input.shape, port.toInput(pictureOf(resizedTo), p), input, stages.input);
  if (wrong) return `input: ${wrong}`;
  const logits = await array("logits");
  const found = await port.run(input.data);
  wrong = differs(logits.shape, found, logits, stages.logits);
  if (wrong) return `logits: ${wrong}`;
  const { top, decision } = decided(port.confidences(logits.data), manifest);
  const off = Math.max(...entry.top.map(([name, value], i) => Math.abs(top[i].confidence - value)));
  if (!(off <= stages.probabilities.abs)) return `probabilities: off by ${off.toPrecision(3)}, at most ${stages.probabilities.abs.toPrecision(3)} expected`;
  if (top[0].name !== entry.answers["model.onnx"]) return `class: ${top[0].name}, expected ${entry.answers["model.onnx"]}`;
  if (decision !== (entry.decision ?? decision)) return `decision: ${decision}, expected ${entry.decision}`; // null: rounding decides
  return null;
}

/** What the decision on equal confidences is, if it is another than golden.json says; else null. */
export function wrongRule(golden, manifest) {
  const { decision } = decided(manifest.classes.map(() => 1 / manifest.classes.length), manifest);
  const right = golden.decision_of_equals ?? decision;
  return decision === right ? null : `golden.json: decision: of equal confidences ${decision}, expected ${right}`;
}

function differs(shape, found, expected, { abs, rel = 0 }) {
  if (shape.join() !== expected.shape.join()) return `the shape is [${shape}], expected [${expected.shape}]`;
  if (found.length !== expected.data.length) return `${found.length} numbers, expected ${expected.data.length}`;
  let worst = 0;
  let beyond = 0;
  for (let i = 0; i < found.length; i++) {
    const off = Math.abs(found[i] - expected.data[i]);
    worst = Math.max(worst, off);
    if (!(off <= abs + rel * Math.abs(expected.data[i]))) beyond++;
  }
  return beyond ? `${beyond} of ${found.length} numbers are off, by up to ${worst.toPrecision(3)}; at most ${abs.toPrecision(3)} expected` : null;
}
