"""One stage at a time: what `edgetl finetune`, `distill`, `quantize`, `export` and `verify` do around their stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgetl.bundle.read import MANIFEST
from edgetl.core.artifacts import BundleFolder, Checkpoint, FileArtifact, FloatModel, Form, Int8Model
from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError
from edgetl.core.files import disk_errors, write_whole
from edgetl.core.publish import check_place, publish_folder
from edgetl.core.seen import SeenImages
from edgetl.core.workspace import RESULT, WEIGHTS, Workspace
from edgetl.data.calibration import open_calibration, open_evaluation, open_labelled
from edgetl.data.images import Images
from edgetl.data.suited import suited
from edgetl.data.survey import tell_crop
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.options import given_labels, given_preprocess
from edgetl.runtime.foreign.read import read_float, read_runnable
from edgetl.runtime.foreign.side_files import ForeignModel
from edgetl.runtime.onnx_metadata import FORM, MIXED, TARGET, ModelInfo, read_info
from edgetl.settings import DistillSettings, ExportSettings, FinetuneSettings, QuantizeSettings, Runtime, VerifySettings
from edgetl.stages.quantize import FLOAT, INT8, SEEN, Quantize, Quantized
from edgetl.stages.read import Read
from edgetl.stages.verify import Subject, Verdict, Verify


def finetune(data: Images, settings: FinetuneSettings, do: Workspace, runtime: Runtime, *, allow_known_data: bool = False) -> Checkpoint:
    """The teacher for the train and val parts of `data`."""
    from edgetl.choices import for_teacher, refuse_known_data
    from edgetl.stages.finetune import Finetune

    seen = data.only("train", "val")
    chosen = for_teacher(seen, settings, do.root / WEIGHTS, runtime.device)
    refuse_known_data(data, chosen.weights, allow_known_data)
    return do(
        Finetune(data=seen, preprocess=chosen.preprocess, weights=chosen.weights, settings=chosen.settings, runtime=runtime)
    ).checkpoint


def distill(data: Images, teacher: Path, settings: DistillSettings, do: Workspace, runtime: Runtime) -> Checkpoint:
    """The student of the checkpoint at `teacher` (a file, a stage folder or a run folder)."""
    from edgetl.choices import for_student
    from edgetl.models.checkpoint import find_checkpoint, read_checkpoint
    from edgetl.stages.distill import Distill

    seen, checkpoint = data.only("train", "val"), find_checkpoint(teacher, "finetune")
    info = read_checkpoint(checkpoint.path)
    chosen = for_student(seen, settings, info.arch, info.preprocess.side, do.root / WEIGHTS)
    return do(Distill(teacher=checkpoint, data=seen, weights=chosen.weights, settings=chosen.settings, runtime=runtime)).checkpoint


def float_model(model: Path, do: Workspace, stage: str = "distill") -> FloatModel:
    """An ONNX file, read; a checkpoint, lowered; of a run folder, the checkpoint that `stage` gave."""
    if is_onnx(model):
        return read(model, do)
    from edgetl.models.checkpoint import find_checkpoint
    from edgetl.stages.lower import Lower

    return do(Lower(checkpoint=find_checkpoint(model, stage))).model


def is_onnx(path: Path) -> bool:
    """Whether the file's name says that it holds a graph."""
    return path.suffix.lower() in (".onnx", ".ort")


def read(model: Path, do: Workspace, form: Literal["float32", "runnable"] = "float32") -> FloatModel:
    """The ONNX file at `model` as it lies where it can be used so, else in a form that can; what was changed is said."""
    found = read_float(model) if form == "float32" else read_runnable(model)
    found.tell()
    if found.clean:
        return FloatModel.of(model)
    return do(Read(source=ForeignModel.of(model), file_name=model.name, form=form)).model


def quantize(
    model: Path,
    calibration: Path,
    out: Path,
    settings: QuantizeSettings,
    *,
    evaluation: str | None = None,
    preprocess: str | None = None,
    skip_bad_images: bool = False,
    runtime: Runtime | None = None,
) -> Quantized:
    """The int8 graph at `out`, or the float graph where int8 costs more than the budget; all else in `out`.work/.

    Raises:
        InputError: a model, calibration or evaluation set that cannot be used.
    """
    if not model.exists():
        raise InputError(f"expected a model at {model}, found nothing. Give an ONNX file, a checkpoint or a stage's folder")
    with Workspace(out.with_name(out.name + ".work")) as do:
        graph = float_model(model, do)
        info = read_info(graph.path)
        prepared = given_preprocess(preprocess) or info.preprocess
        sources: list[TensorSource] = [limited(open_calibration(calibration, prepared, skip_bad_images=skip_bad_images), settings)]
        if evaluation:
            sources.append(open_evaluation(evaluation, prepared, classes=info.classes, skip_bad_images=skip_bad_images))
        sources = suited(graph.path, sources)
        quantized = do(
            Quantize(
                model=graph,
                calibration=sources[0],
                evaluation=sources[1] if evaluation else None,
                settings=settings,
                seen=seen_by(model),
                runtime=runtime or Runtime(),
            )
        )
        shipped = quantized.int8 if quantized.decision.shipped != "float" else quantized.float_model
        with disk_errors(out.parent):
            write_whole(out, shipped.path.read_bytes())
    return quantized


def limited(source: TensorSource, settings: QuantizeSettings) -> TensorSource:
    """At most `calibration_images` of the calibration inputs, where they are images; an .npz is used whole."""
    if isinstance(source, ImageTensors) and len(source) > settings.calibration_images:
        return replace(source, images=source.images.take(settings.calibration_images, settings.seed))
    return source


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What lies behind a model that is to be exported: both graphs, which one ships, and what it has seen."""

    float_model: FloatModel
    int8: Int8Model | None
    shipped: Form
    seen: SeenImages
    target: str


def export(
    model: Path, out: Path, settings: ExportSettings, golden: Images, *, labels: Path | None = None, preprocess: str | None = None
) -> BundleFolder:
    """The bundle of a checkpoint or an ONNX file (one made by `edgetl quantize` brings its float graph along) at `out`.

    Raises:
        InputError: no model, a graph whose class names or Preprocess nobody gave.
        WorkspaceError: `out` holds something else than a bundle.
    """
    from edgetl.stages.export import Export

    with Workspace(out.with_name(out.name + ".work")) as do:
        check_place(out, MANIFEST)
        origin = origin_of(model, do)
        exported = do(
            Export(
                int8=origin.int8,
                float_model=origin.float_model,
                shipped=origin.shipped,
                target=origin.target,
                golden=golden.take(settings.golden_images, 0),
                seen=origin.seen,
                classes=given_labels(labels),
                preprocess=given_preprocess(preprocess),
                provenance={
                    "data": f"split sha256:{origin.seen.split}",
                    "model": f"sha256:{FileArtifact.of(origin.float_model.path).sha256}",
                },
                settings=settings,
            )
        )
        with disk_errors(out.parent):
            publish_folder(exported.bundle.path, out, MANIFEST)
    return BundleFolder(path=out, sha256=exported.bundle.sha256)


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


def verify(
    subject: Path,
    data: str,
    do: Workspace,
    settings: VerifySettings,
    *,
    reference: Path | None = None,
    preprocess: str | None = None,
    skip_bad_images: bool = False,
    runtime: Runtime | None = None,
) -> Verdict:
    """The verdict on a bundle (against its own float graph or a reference) or on a model against a reference."""
    if subject.is_dir():
        stage = bundle_stage(subject, data, settings, preprocess, skip_bad_images)
    else:
        stage = model_stage(subject, read(subject, do, "runnable").path, data, settings, preprocess, skip_bad_images)
    tell_views(stage)
    if reference is not None:
        graph = read(reference, do, "runnable") if is_onnx(reference) else float_model(reference, do, "finetune")
        stage = stage.against(judged(graph.path))
    return do(replace(stage, runtime=runtime) if runtime else stage)


def tell_views(stage: Verify) -> None:
    """Say so where what is judged gets to see little of the photos."""
    model = stage.int8 or stage.onnx_float
    prepared = (read_info(model.path).preprocess if model else None) or stage.preprocess
    if prepared and isinstance(stage.data, Images):
        tell_crop(stage.data_name, stage.data.sizes, prepared)


def judged(path: Path) -> Subject:
    """The ONNX file at `path` as one to judge."""
    given = FileArtifact.of(path)
    return Subject(path=given.path, sha256=given.sha256)


def bundle_stage(folder: Path, data: str, settings: VerifySettings, preprocess: str | None, skip_bad_images: bool) -> Verify:
    """A bundle's shipped graph against its float graph."""
    from edgetl.bundle.read import open_bundle

    bundle = open_bundle(folder)
    prepared = given_preprocess(preprocess) or bundle.manifest.preprocess
    int8 = judged(bundle.model) if bundle.manifest.shipped != "float" else None
    images = open_labelled(data, classes=bundle.manifest.classes, skip_bad_images=skip_bad_images)
    return Verify(
        data=images,
        data_name=Path(data).name,
        classes=bundle.manifest.classes,
        shipped=bundle.manifest.shipped,
        int8=int8,
        onnx_float=judged(bundle.float_model),
        teacher=None,
        bundle=BundleFolder(path=folder, sha256=bundle.sha256),
        intake=images.intake if isinstance(images, Images) else None,
        seen=bundle.seen,
        preprocess=prepared,
        settings=settings,
    )


def model_stage(given: Path, path: Path, data: str, settings: VerifySettings, preprocess: str | None, skip_bad_images: bool) -> Verify:
    """A bare ONNX file, to be compared with a reference: the file `given`, which lies at `path` in a form that can be run."""
    model, info = judged(path), read_info(path)
    quantized = is_quantized(info)
    images = open_labelled(data, classes=info.classes, skip_bad_images=skip_bad_images)
    return Verify(
        data=images,
        data_name=Path(data).name,
        classes=info.classes or (images.classes if isinstance(images, Images) else numbered(images)),
        shipped=form_of(info),
        int8=model if quantized else None,
        onnx_float=None if quantized else model,
        teacher=None,
        intake=images.intake if isinstance(images, Images) else None,
        seen=seen_beside(given),
        preprocess=given_preprocess(preprocess),
        settings=settings,
    )


def numbered(data: TensorSource) -> tuple[str, ...]:
    """Names for classes that have none: as many as the labels need."""
    labels = getattr(data, "labels", None)
    return tuple(str(i) for i in range(int(labels.max()) + 1)) if labels is not None and len(labels) else ()


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
