"""The check of classify.py: each step of a golden image on the golden result of the step before."""

import json
import sys

import numpy as np
from classify import decision, decode, likelihoods, resized, to_input
from PIL import Image


def check(bundle, manifest, run):
    """Compare with the golden vectors; exit with a message if something disagrees."""
    golden = json.loads((bundle / "golden/golden.json").read_text(encoding="utf-8"))
    steps = {entry["image"]: first_wrong_step(bundle / "golden", entry, golden, manifest, run) for entry in golden["images"]}
    said = decision(np.full(len(manifest["classes"]), 1 / len(manifest["classes"])), manifest)
    if golden["decision_of_equals"] not in (None, said):
        steps["golden.json"] = f"decision: of equal confidences {said}, expected {golden['decision_of_equals']}"
    if wrong := [f"{image}: {step}" for image, step in steps.items() if step]:
        sys.exit("\n".join(wrong))
    print(f"{len(golden['images'])} golden images agree")


def first_wrong_step(folder, entry, golden, manifest, run):
    """Run one golden image, each step on the golden result of the step before; the first that disagrees, in words, or None."""
    p, allowed, stages = manifest["preprocess"], golden["stages"], entry["stages"]
    expected = {step: np.load(folder / name) for step, name in stages.items() if step != "file"}
    picture, steps = None, []
    try:
        picture = decode(folder / stages["file"], p)
    except (OSError, ValueError) as error:
        if stages["file"].endswith((".jpg", ".jpeg", ".png")):
            return f"decoded: {error}"
        print(f"{entry['image']}: not decoded here: {error}")  # not every Pillow reads HEIC and its like
    if picture and "decoded" in expected:
        pixels = np.asarray(picture)
        steps.append(("decoded", lambda: pixels.reshape(*pixels.shape[:2], -1), allowed["decoded"]["levels"], 0))
    if "decoded" in expected:
        picture = Image.fromarray(expected["decoded"].squeeze())
    if picture:
        steps.append(("resized", lambda: resized(picture, p), allowed["resized"]["levels"], 0))
    steps += [
        ("input", lambda: to_input(expected["resized"], p), allowed["input"]["abs"], allowed["input"]["rel"]),
        ("logits", lambda: run(expected["input"]), allowed["logits"]["abs"], allowed["logits"]["rel"]),
    ]
    for step, make, most, share in steps:
        found, golden_array = make(), expected[step].astype(np.float64)
        if found.shape != golden_array.shape:
            return f"{step}: the shape is {list(found.shape)}, expected {list(golden_array.shape)}"
        off = np.abs(found - golden_array)
        if not np.all(off <= most + share * np.abs(golden_array)):
            return f"{step}: off by up to {off.max():.3g}, at most {most:.3g} expected"
    return wrong_answer(likelihoods(expected["logits"][0], manifest), entry, allowed["probabilities"]["abs"], manifest)


def wrong_answer(found, entry, most, manifest):
    """What the confidences of the golden logits say otherwise than the golden vectors, in words, or None."""
    off = max(abs(found[manifest["classes"].index(name)] - value) for name, value in entry["top"])
    if not off <= most:
        return f"probabilities: off by {off:.3g}, at most {most:.3g} expected"
    answer, said = manifest["classes"][int(found.argmax())], decision(found, manifest)
    if answer != entry["answers"]["model.onnx"]:
        return f"class: {answer}, expected {entry['answers']['model.onnx']}"
    return None if entry["decision"] in (None, said) else f"decision: {said}, expected {entry['decision']}"  # None: rounding decides
