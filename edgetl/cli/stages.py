"""One stage at a time: what `edgetl finetune`, `distill`, `quantize`, `export` and `verify` do around their stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from edgetl.bundle.read import MANIFEST
from edgetl.cli.options import given_labels, given_preprocess
from edgetl.cli.origin import float_model, form_of, is_quantized, origin_of, parts_of_run, seen_beside, seen_by
from edgetl.core.artifacts import BundleFolder, Checkpoint, FileArtifact
from edgetl.core.errors import InputError
from edgetl.core.files import disk_errors, write_whole
from edgetl.core.progress import say
from edgetl.core.publish import check_place, publish_folder
from edgetl.core.workspace import WEIGHTS, Workspace
from edgetl.data.calibration import limited, open_calibration, open_labelled
from edgetl.data.images import Images
from edgetl.data.placed import place
from edgetl.data.suited import suited
from edgetl.data.survey import tell_crop
from edgetl.data.tensors import TensorSource
from edgetl.runtime.loading import load_proto
from edgetl.runtime.onnx_metadata import read_info
from edgetl.runtime.outputs import class_count, output_names
from edgetl.settings import DistillSettings, ExportSettings, FinetuneSettings, QuantizeSettings, Runtime, VerifySettings
from edgetl.stages.quantize import Quantize, Quantized
from edgetl.stages.read import is_onnx, read
from edgetl.stages.verify import Subject, Verdict, Verify
from edgetl.tasks.class_order import columns_of, listed


def finetune(data: Images, settings: FinetuneSettings, do: Workspace, runtime: Runtime, *, allow_known_data: bool = False) -> Checkpoint:
    """The teacher for the train and val parts of `data`."""
    from edgetl.selection.choices import for_teacher, refuse_known_data
    from edgetl.stages.finetune import Finetune

    seen = data.only("train", "val")
    chosen = for_teacher(seen, settings, do.root / WEIGHTS, runtime.device)
    refuse_known_data(data, chosen.weights, allow_known_data)
    return do(
        Finetune(data=seen, preprocess=chosen.preprocess, weights=chosen.weights, settings=chosen.settings, runtime=runtime)
    ).checkpoint


def distill(
    data: Images, teacher: Path, settings: DistillSettings, do: Workspace, runtime: Runtime, *, unlabelled: Images | None = None
) -> Checkpoint:
    """The student of the checkpoint at `teacher` (a file, a stage folder or a run folder)."""
    from edgetl.models.checkpoint import find_checkpoint, read_checkpoint
    from edgetl.selection.choices import for_student
    from edgetl.stages.distill import Distill

    seen, checkpoint = data.only("train", "val"), find_checkpoint(teacher, "finetune")
    info = read_checkpoint(checkpoint.path)
    chosen = for_student(seen, settings, info.arch, info.preprocess.side, do.root / WEIGHTS)
    return do(
        Distill(teacher=checkpoint, data=seen, weights=chosen.weights, settings=chosen.settings, unlabelled=unlabelled, runtime=runtime)
    ).checkpoint


def quantize(
    model: Path,
    calibration: Path,
    out: Path,
    settings: QuantizeSettings,
    *,
    evaluation: str | None = None,
    preprocess: str | None = None,
    labels: Path | None = None,
    output: str | None = None,
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
        prepared, names = given_preprocess(preprocess) or info.preprocess, given_names(labels, graph.path, output)
        split = parts_of_run(model)
        fitting = open_calibration(calibration, prepared, skip_bad_images=skip_bad_images, split=split)
        sources: list[TensorSource] = [limited(fitting, settings)]
        find = partial(place, graph.path, output=output, part="val", preprocess=prepared, skip_bad_images=skip_bad_images, split=split)
        placed = find(evaluation, names) if evaluation else None
        sources = suited(graph.path, [*sources, placed.inputs(prepared)] if placed else sources)
        quantized = do(
            Quantize(
                model=graph,
                calibration=sources[0],
                evaluation=sources[1] if placed else None,
                settings=settings,
                seen=seen_by(model),
                output=output or (placed.output if placed else None),
                classes=placed.order.classes if placed else names or (),
                labels=names if names != info.classes else None,
                others=placed.order.others if placed else None,
                groups=placed.images.groups_here if placed and isinstance(placed.images, Images) else (),
                runtime=runtime or Runtime(),
            )
        )
        shipped = quantized.int8 if quantized.decision.shipped != "float" else quantized.float_model
        with disk_errors(out.parent):
            write_whole(out, shipped.path.read_bytes())
    return quantized


def given_names(labels: Path | None, path: Path, output: str | None = None) -> tuple[str, ...] | None:
    """The class names in `labels`, which are said to stand for other ones of the model at `path`; without `labels`, the model's.

    Raises:
        InputError: another number of names than of outputs.
    """
    own = read_info(path).classes
    given = given_labels(labels, class_count(load_proto(path), output) if labels else None)
    if given and own and given != own:
        say(f"{path.name}: uses the class names in {labels} instead of those in the file ({listed(own)})")
    return given or own


def export(
    model: Path,
    out: Path,
    settings: ExportSettings,
    golden: Images,
    *,
    labels: Path | None = None,
    preprocess: str | None = None,
    output: str | None = None,
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
                classes=given_names(labels, origin.float_model.path, output) if labels else None,
                preprocess=given_preprocess(preprocess),
                output=output,
                provenance={
                    "data": f"split sha256:{origin.seen.split}",
                    "model": f"sha256:{FileArtifact.of(origin.float_model.path).sha256}",
                    **({"trained_on": ", ".join(origin.seen.trained_on)} if origin.seen.trained_on else {}),
                },
                settings=settings,
            )
        )
        with disk_errors(out.parent):
            publish_folder(exported.bundle.path, out, MANIFEST)
    return BundleFolder(path=out, sha256=exported.bundle.sha256)


def verify(
    subject: Path,
    data: str,
    do: Workspace,
    settings: VerifySettings,
    *,
    reference: Path | None = None,
    preprocess: str | None = None,
    labels: Path | None = None,
    output: str | None = None,
    skip_bad_images: bool = False,
    runtime: Runtime | None = None,
) -> Verdict:
    """The verdict on a bundle (against its own float graph or a reference) or on a model against a reference."""
    compared, known = None, None
    if reference is not None:
        known = seen_by(reference)
        graph = read(reference, do, "runnable") if is_onnx(reference) else float_model(reference, do, "finetune")
        compared = graph.path
    if subject.is_dir():
        stage = bundle_stage(subject, data, settings, preprocess, skip_bad_images)
    else:
        path = read(subject, do, "runnable").path
        names = given_names(labels, path, output) or (read_info(compared).classes if compared else None)
        stage = model_stage(subject, path, data, settings, preprocess, skip_bad_images, names=names, output=output)
    model = stage.int8 or stage.onnx_float
    prepared = (read_info(model.path).preprocess if model else None) or stage.preprocess
    if prepared and isinstance(stage.data, Images):
        tell_crop(stage.data_name, stage.data.sizes, prepared)
    if reference is not None:
        missing = [path.name for path, record in ((subject, stage.seen), (reference, known)) if not (record and record.knows_training)]
        both = known if stage.seen is None else stage.seen.beside(known)
        stage = replace(stage, seen=both, unrecorded=tuple(missing) if both and both.knows_training else ())
    stage = stage if compared is None else stage.against(referred(compared, stage.classes, output))
    return do(replace(stage, runtime=runtime) if runtime else stage)


def judged(path: Path, output: str | None = None) -> Subject:
    """The ONNX file at `path` as one to judge by `output`."""
    given = FileArtifact.of(path)
    return Subject(path=given.path, sha256=given.sha256, output=output)


def referred(path: Path, classes: Sequence[str], output: str | None) -> Subject:
    """The ONNX file at `path` as one to compare with; class names in it say which of its outputs is which class.

    Raises:
        InputError: they name other classes than `classes`.
    """
    own = read_info(path).classes
    columns = columns_of(classes, own, path.name) if own else None
    if columns:
        say(f"{path.name}: its classes are in another order; its outputs are matched by class name")
    subject = judged(path, output if output and output in output_names(path) else None)
    return replace(subject, columns=columns)


def bundle_stage(folder: Path, data: str, settings: VerifySettings, preprocess: str | None, skip_bad_images: bool) -> Verify:
    """A bundle's shipped graph against its float graph."""
    from edgetl.bundle.read import open_bundle

    bundle = open_bundle(folder)
    prepared = given_preprocess(preprocess) or bundle.manifest.preprocess
    int8 = judged(bundle.model) if bundle.manifest.shipped != "float" else None
    split = parts_of_run(folder)
    images = open_labelled(data, classes=bundle.manifest.classes, skip_bad_images=skip_bad_images, split=split)
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
        groups=images.groups_here if isinstance(images, Images) else (),
        seen=bundle.seen,
        preprocess=prepared,
        settings=settings,
    )


def model_stage(
    given: Path,
    path: Path,
    data: str,
    settings: VerifySettings,
    preprocess: str | None,
    skip_bad_images: bool,
    *,
    names: Sequence[str] | None = None,
    output: str | None = None,
) -> Verify:
    """A bare ONNX file, to be compared with a reference: the file `given`, which lies at `path` in a form that can be run.

    `names` are its classes, where they are known.
    """
    info, prepared = read_info(path), given_preprocess(preprocess)
    quantized = is_quantized(info)
    known = info.preprocess or prepared
    placed = place(path, data, names, output=output, preprocess=known, skip_bad_images=skip_bad_images, split=parts_of_run(given))
    model = judged(path, placed.output)
    return Verify(
        data=placed.images,
        data_name=Path(data).name,
        classes=placed.order.classes,
        shipped=form_of(info),
        int8=model if quantized else None,
        onnx_float=None if quantized else model,
        teacher=None,
        intake=placed.images.intake if isinstance(placed.images, Images) else None,
        groups=placed.images.groups_here if isinstance(placed.images, Images) else (),
        seen=seen_beside(given),
        preprocess=prepared,
        order=placed.order.said,
        others=placed.order.others,
        settings=settings,
    )
