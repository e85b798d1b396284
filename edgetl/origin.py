"""Where a model that somebody gives comes from: the graph in it, the graphs beside it, and the images it has seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgetl.core.artifacts import FileArtifact, FloatModel, Form, Int8Model
from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError
from edgetl.core.seen import SeenImages
from edgetl.core.workspace import RESULT, Workspace
from edgetl.runtime.onnx_metadata import FORM, MIXED, TARGET, ModelInfo, read_info
from edgetl.stages.quantize import FLOAT, INT8, SEEN
from edgetl.stages.read import is_onnx, read


def float_model(model: Path, do: Workspace, stage: str = "distill") -> FloatModel:
    """An ONNX file, read; a checkpoint, lowered; of a run folder, the checkpoint that `stage` gave."""
    if is_onnx(model):
        return read(model, do)
    from edgetl.models.checkpoint import find_checkpoint
    from edgetl.stages.lower import Lower

    return do(Lower(checkpoint=find_checkpoint(model, stage))).model


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What lies behind a model that is to be exported: both graphs, which one ships, and what it has seen."""

    float_model: FloatModel
    int8: Int8Model | None
    shipped: Form
    seen: SeenImages
    target: str


def origin_of(model: Path, do: Workspace) -> Origin:
    """Find the float graph, the int8 graph and the record of seen images that belong to `model`."""
    if not is_onnx(model):
        seen = seen_by(model) or SeenImages.of("unknown")
        return Origin(float_model=float_model(model, do), int8=None, shipped="float", seen=seen, target="portable")
    given = FileArtifact.of(model)
    if (folder := work_of(model)) is not None:
        int8 = Int8Model.of(folder / INT8)
        return Origin(
            float_model=FloatModel.of(folder / FLOAT),
            int8=int8,
            shipped=form_of(read_info(model)) if given.sha256 == int8.sha256 else "float",
            seen=SeenImages.from_json((folder / SEEN).read_text(encoding="utf-8")),
            target=read_info(int8.path).extra.get(TARGET, "portable"),
        )
    graph = read(model, do)
    info = read_info(graph.path)
    if is_quantized(info):
        raise InputError(f"expected the float graph of {model} beside it in {model.name}.work/, found none. Export where it was quantized")
    seen = SeenImages.of(info.seen.split if info.seen else "unknown")
    return Origin(float_model=graph, int8=None, shipped="float", seen=seen, target="portable")


def is_quantized(info: ModelInfo) -> bool:
    """Whether edgetl made the graph int8."""
    return TARGET in info.extra


def form_of(info: ModelInfo) -> Form:
    """What edgetl made of the graph."""
    if not is_quantized(info):
        return "float"
    return "mixed" if info.extra.get(FORM) == MIXED else "int8"


def seen_by(model: Path) -> SeenImages | None:
    """What the model at `path` saw: its checkpoint says, or the record that `edgetl quantize` left beside it."""
    if is_onnx(model):
        return seen_beside(model)
    from edgetl.models.checkpoint import find_checkpoint, read_checkpoint

    return read_checkpoint(find_checkpoint(model, "distill").path).seen


def seen_beside(path: Path) -> SeenImages | None:
    """The record that lies with an ONNX file: that of its bundle, or the one that `edgetl quantize` left beside its output.

    That of the work that gave this file, or, of a changed file, the last.
    """
    folder = path.parent if (path.parent / SEEN).is_file() else work_of(path) or max(works(path), default=None)
    return SeenImages.from_json((folder / SEEN).read_text(encoding="utf-8")) if folder else None


def work_of(path: Path) -> Path | None:
    """The stage folder beside `path` whose int8 or float graph is that very file."""
    given = file_sha256(path)
    return next((folder for folder in works(path) if given in (file_sha256(folder / INT8), file_sha256(folder / FLOAT))), None)


def works(path: Path) -> list[Path]:
    """The finished folders of `edgetl quantize` beside its output; one for each choice of settings and calibration."""
    return sorted(record.parent for record in (path.with_name(path.name + ".work") / "stages").glob(f"quantize-*/{RESULT}"))
