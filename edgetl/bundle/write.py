"""Write a bundle: everything an app needs to embed the model, and the means to prove that it did so right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from edgetl.bundle.c_client import make_averages_exact, write_c_client
from edgetl.bundle.client import copy_clients, readme
from edgetl.bundle.decision import DecisionRule
from edgetl.bundle.fixed_shapes import fix_shapes
from edgetl.bundle.golden import FLOAT_MODEL, FOLDER, INDEX, write_golden
from edgetl.bundle.graph import place_graph, specs
from edgetl.bundle.graph_specs import model_specs
from edgetl.bundle.image_graph import IMAGE_MODEL, MODEL, write_image_models
from edgetl.bundle.licences import licences
from edgetl.bundle.manifest import LIBRARIES, Manifest
from edgetl.bundle.ort_format import write_ort_forms
from edgetl.bundle.places import refuse_local_paths
from edgetl.bundle.read import LABELS, MANIFEST, README, SEEN, Bundle, file_hashes, open_bundle
from edgetl.bundle.schema import SCHEMA_FILE, schema_text
from edgetl.core.artifacts import Form
from edgetl.core.errors import InputError
from edgetl.core.files import write_whole
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.core.workspace import library_versions
from edgetl.runtime.loading import load_proto, opset
from edgetl.runtime.onnx_metadata import ModelInfo
from edgetl.tasks.meaning import Meaning


def write_bundle(
    out: Path,
    *,
    shipped: Path,
    float_model: Path,
    form: Form,
    info: ModelInfo,
    golden: Sequence[tuple[bytes, str]],
    target: str,
    provenance: Mapping[str, object],
    int8_lost: bool = False,
    decision: DecisionRule | None = None,
    c: bool = False,
    batch: Literal[1] | None = None,
) -> Bundle:
    """Fill the folder `out`; the same inputs give the same bytes.

    Args:
        out: a folder that is new or empty.
        shipped: the graph to ship, which becomes model.onnx.
        float_model: the float graph it came from (or is), which becomes model.float.onnx.
        form: of `shipped`.
        info: classes, Preprocess, task and seen images; both graphs will carry them.
        golden: bytes of image files, each with its suffix; where they hide mistakes, a drawn one replaces the last (`shown_mistakes`).
        target: the CPUs an int8 graph was made for.
        provenance: where data and weights come from; plain JSON values.
        int8_lost: whether an int8 form was tried, and lost too much to be shipped.
        decision: how its outputs become an answer or "unknown".
        c: whether clients/c/ is written, the graph in C99.
        batch: 1 where every graph shall take one image, all shapes numbers.

    Raises:
        InputError: classes or Preprocess unknown, graphs that are not sound, local paths in a file, a folder that is not empty; with `c`
            an operator that the C code does not have; with `batch` a graph for several images.
    """
    classes, preprocess = _complete(info)
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise InputError(f"expected an empty folder to write a bundle in, found files in {out}. Choose another, or remove them")
    models = {MODEL: shipped, FLOAT_MODEL: float_model}
    for name, source in models.items():
        place_graph(source, out / name, info)
        if c and name == MODEL:
            make_averages_exact(out / name)
        if batch:
            fix_shapes(out / name, preprocess.shape)
    write_whole(out / LABELS, "".join(f"{name}\n" for name in classes))
    write_whole(out / SEEN, (info.seen or SeenImages(split="", parts={})).to_json() + "\n")
    temperature = decision.temperature if decision else 1.0
    vectors = write_golden(out, golden, preprocess, {name: out / name for name in models}, classes, decision)
    write_image_models(out, preprocess, vectors.kind, temperature)
    if batch and (out / IMAGE_MODEL).is_file():
        fix_shapes(out / IMAGE_MODEL, (*preprocess.shape[1:], preprocess.channels))
    write_ort_forms(out)
    write_whole(out / SCHEMA_FILE, schema_text())
    copy_clients(out)
    footprint = write_c_client(out, preprocess, classes, decision, vectors.images) if c else None
    manifest = replace(_manifest(out, info, vectors.kind, form, target, provenance), decision=decision, c=footprint)
    write_whole(out / README, readme(manifest, len(vectors.images), int8_lost=int8_lost))
    return _seal(out, manifest)


def _manifest(out: Path, info: ModelInfo, kind: Meaning, form: Form, target: str, provenance: Mapping[str, object]) -> Manifest:
    """What the files in `out` are; those of the bundle are not listed yet."""
    classes, preprocess = _complete(info)
    inputs, outputs = specs(out / MODEL, kind)
    return Manifest(
        task=info.task,
        classes=classes,
        preprocess=preprocess,
        inputs=inputs,
        outputs=outputs,
        opset=opset(load_proto(out / MODEL)),
        shipped=form,
        target=target,
        size_bytes={name: (out / name).stat().st_size for name in (MODEL, FLOAT_MODEL)},
        files={},
        versions=library_versions(LIBRARIES),
        provenance=dict(provenance),
        split=info.seen.split if info.seen else None,
        models=model_specs(out, kind),
        licences=licences(provenance, info.seen.trained_on if info.seen else ()),
    )


def _complete(info: ModelInfo) -> tuple[tuple[str, ...], Preprocess]:
    if info.classes is None or info.preprocess is None:
        missing = [name for name, value in (("class names", info.classes), ("preprocessing", info.preprocess)) if value is None]
        raise InputError(
            f"expected a model file that contains {' and '.join(missing)}, found none. An app cannot use the bundle without them: "
            "give --labels FILE and --preprocess FILE|imagenet"
        )
    broken = [repr(name) for name in info.classes if len(name.splitlines()) != 1]
    if broken:
        raise InputError(
            f"expected class names of one line each (labels.txt has one line per class), found {', '.join(broken)}. Rename them"
        )
    return info.classes, info.preprocess


def _seal(out: Path, manifest: Manifest) -> Bundle:
    """Write the manifest, with the sha256 of everything else, and prove that the bundle opens."""
    sealed = replace(manifest, files=file_hashes(out))
    write_whole(out / MANIFEST, sealed.to_json())
    own = [name for name in (MANIFEST, *sealed.files) if not name.startswith(f"{FOLDER}/") or name.endswith(INDEX)]
    refuse_local_paths(out, own)  # golden images are the user's bytes, as they were
    return open_bundle(out)
