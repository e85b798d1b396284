"""The origin of a given model: its graphs, and the images that it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from onnx import ModelProto

from edgetl.bundle.golden import FLOAT_MODEL
from edgetl.bundle.unrounded import is_quantized
from edgetl.cli.bundle_beside import BundleBeside, bundle_beside, exported_of_bundle
from edgetl.core.artifacts import FileArtifact, FloatModel, Form, Int8Model
from edgetl.core.canonical import file_sha256
from edgetl.core.progress import say
from edgetl.core.seen import SeenImages
from edgetl.core.workspace import RESULT, SPLIT, STAGES, Workspace
from edgetl.data.earlier import read_split, run_of
from edgetl.data.images import Part
from edgetl.quantization.candidates.saturation import saturating
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import WEIGHTED, layers
from edgetl.runtime.loading import load_proto
from edgetl.runtime.onnx_metadata import FORM, MIXED, TARGET, ModelInfo, read_info
from edgetl.stages.quantize import FLOAT, INT8, NAMES, SEEN
from edgetl.stages.read import is_onnx, read

NO_FLOAT = "what model.onnx computes without rounding; the float network that it was made from was not given"


def float_model(model: Path, do: Workspace, stage: str = "distill") -> FloatModel:
    """An ONNX file, read; a checkpoint, lowered; of a run folder, the checkpoint that `stage` gave."""
    if is_onnx(model):
        return read(model, do)
    from edgetl.models.checkpoint import find_checkpoint
    from edgetl.stages.lower import Lower

    return do(Lower(checkpoint=find_checkpoint(model, stage))).model


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The origin of a model to export: both graphs, the one that ships, and the images that it has seen."""

    float_model: FloatModel
    int8: Int8Model | None
    shipped: Form
    seen: SeenImages
    target: str
    without_float: bool = False  # whether the float graph had to be made from the int8 one
    bundle: BundleBeside | None = None  # that the model is a file of
    made_from: Mapping[str, str] = field(default_factory=dict)  # what a checkpoint says of data, weights and teacher


def origin_of(model: Path, do: Workspace) -> Origin:
    """Find the float graph, the int8 graph and the record of seen images that belong to `model`."""
    if not is_onnx(model):
        seen = seen_by(model) or SeenImages.of("unknown")
        graph = float_model(model, do)
        return Origin(float_model=graph, int8=None, shipped="float", seen=seen, target="portable", made_from=_made_from(model))
    given = FileArtifact.of(model)
    if (bundle := exported_of_bundle(model)) is not None:
        return _of_bundle(model, bundle, do)
    if (folder := work_of(model)) is not None:
        int8 = Int8Model.of(folder / INT8)
        return Origin(
            float_model=FloatModel.of(folder / FLOAT),
            int8=int8,
            shipped=form_of(read_info(model)) if given.sha256 == int8.sha256 else "float",
            seen=SeenImages.from_json((folder / SEEN).read_text(encoding="utf-8")),
            target=read_info(int8.path).extra.get(TARGET, "portable"),
        )
    if is_quantized(load_proto(model)):
        return _of_int8(model, do)
    graph = read(model, do)
    info = read_info(graph.path)
    seen = seen_beside(model) or info.seen or SeenImages.of("unknown")
    return Origin(float_model=graph, int8=None, shipped="float", seen=seen, target="portable")


def _of_bundle(model: Path, bundle: BundleBeside, do: Workspace) -> Origin:
    """A graph of a bundle: the int8 one with the float one beside it, or the float one."""
    said, seen = bundle.manifest, seen_beside(model) or SeenImages.of("unknown")
    if not bundle.ships or said.shipped == "float":
        return Origin(float_model=FloatModel.of(model), int8=None, shipped="float", seen=seen, target=said.target, bundle=bundle)
    if not bundle.intact(FLOAT_MODEL):
        return replace(_of_int8(model, do), bundle=bundle)
    graph = FloatModel.of(bundle.folder / FLOAT_MODEL)
    return Origin(float_model=graph, int8=Int8Model.of(model), shipped=said.shipped, seen=seen, target=said.target, bundle=bundle)


def _made_from(model: Path) -> dict[str, str]:
    """What a checkpoint says of the data, the weights and the teacher behind it."""
    from edgetl.models.checkpoint import find_checkpoint, read_checkpoint

    said = read_checkpoint(find_checkpoint(model, "distill").path).provenance
    found = {key: said[key] for key in ("data", "weights", "teacher") if key in said}
    return {key: "none" if value.startswith("none") and key == "weights" else value for key, value in found.items()}


def _of_int8(model: Path, do: Workspace) -> Origin:
    """An int8 file alone, of whatever origin: its float graph is what it computes without rounding."""
    from edgetl.stages.unround import Unround

    int8 = Int8Model.of(read(model, do, "runnable").path)
    graph, info = load_proto(int8.path), read_info(int8.path)
    say(f"{model.name}: its float network is not beside it; model.float.onnx is what it computes without rounding")
    return Origin(
        float_model=do(Unround(int8=int8)).model,
        int8=int8,
        shipped=form_of(info) if made_int8(info) else "int8" if all_in_int8(graph) else "mixed",
        seen=seen_beside(model) or info.seen or SeenImages.of("unknown"),
        target=info.extra.get(TARGET) or ("x86" if saturating(graph) else "portable"),
        without_float=True,
    )


def all_in_int8(model: ModelProto) -> bool:
    """Whether every Conv, Gemm and MatMul of a QDQ graph has an int8 weight."""
    weighted = [node for node in model.graph.node if node.op_type in WEIGHTED]
    return len(weighted) == sum(1 for _ in layers(GraphIndex(model)))


def made_int8(info: ModelInfo) -> bool:
    """Whether edgetl made the graph int8: it says for which target."""
    return TARGET in info.extra


def form_of(info: ModelInfo) -> Form:
    """The form of the graph: float, int8 or mixed."""
    if not made_int8(info):
        return "float"
    return "mixed" if info.extra.get(FORM) == MIXED else "int8"


def seen_by(model: Path) -> SeenImages | None:
    """What the model at `path` saw: its checkpoint says, or what lies with an ONNX file (`seen_beside`)."""
    if is_onnx(model):
        return seen_beside(model)
    from edgetl.models.checkpoint import find_checkpoint, read_checkpoint

    return read_checkpoint(find_checkpoint(model, "distill").path).seen


def seen_beside(path: Path) -> SeenImages | None:
    """What an ONNX file has seen; None where nothing says it.

    1. The record of its own bytes: that of its bundle, or that of the work of `edgetl quantize` that gave it.
    2. Else what its metadata says, together with all records beside it: it may have come from any of them, changed since.
    """
    if own := work_of(path) or _bundle_of(path):
        return _record(own)
    said = read_info(path).seen
    found = [*([said] if said and said.kept else []), *(_record(folder) for folder in (*works(path), path.parent) if _has_record(folder))]
    if not found:
        return None
    first, *others = found
    for other in others:
        first = first.beside(other)
    return first


def _record(folder: Path) -> SeenImages:
    return SeenImages.from_json((folder / SEEN).read_text(encoding="utf-8"))


def _has_record(folder: Path) -> bool:
    return (folder / SEEN).is_file()


def _bundle_of(path: Path) -> Path | None:
    """The folder of the file, where that is a bundle whose manifest names these very bytes."""
    found = bundle_beside(path) if _has_record(path.parent) else None
    return found.folder if found else None


def names_of(path: Path) -> FileArtifact | None:
    """The network's own names for what is in the int8 file at `path`, as its run keeps them; None where none lies beside it."""
    given = file_sha256(path)
    run = run_of(path)
    folders = [*works(path), *(quantize_folders(run) if run else ())]
    found = (folder / NAMES for folder in folders if (folder / NAMES).is_file() and file_sha256(folder / INT8) == given)
    return next(map(FileArtifact.of, found), None)


def parts_of_run(model: Path) -> Mapping[str, Part]:
    """sha256 -> part of every image of the run that the model lies in, as its `split.json` says; empty where it lies in none.

    Raises:
        InputError: a `split.json` that cannot be read.
    """
    run = run_of(model)
    return {} if run is None else read_split(run / SPLIT)[0]


def work_of(path: Path) -> Path | None:
    """The stage folder beside `path` whose int8 or float graph is that very file."""
    given = file_sha256(path)
    return next((folder for folder in works(path) if given in (file_sha256(folder / INT8), file_sha256(folder / FLOAT))), None)


def works(path: Path) -> list[Path]:
    """The finished folders of `edgetl quantize` beside its output; one for each choice of settings and calibration."""
    return quantize_folders(path.with_name(path.name + ".work"))


def quantize_folders(run: Path) -> list[Path]:
    """The finished folders of `quantize` in a run folder, or in the work beside a file."""
    return sorted(record.parent for record in (run / STAGES).glob(f"quantize-*/{RESULT}"))
