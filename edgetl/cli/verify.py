"""`edgetl verify`: the files to judge, their reference, and the test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgetl.cli.options import given_preprocess
from edgetl.cli.origin import float_model, form_of, made_int8, names_of, parts_of_run, seen_beside, seen_by
from edgetl.cli.stages import given_names
from edgetl.core.artifacts import BundleFolder, FileArtifact
from edgetl.core.progress import say
from edgetl.core.workspace import Workspace
from edgetl.data.calibration import open_labelled
from edgetl.data.images import Images
from edgetl.data.placed import images_for
from edgetl.data.survey import tell_crop
from edgetl.runtime.onnx_metadata import read_info
from edgetl.runtime.outputs import output_names
from edgetl.settings import Runtime, VerifySettings
from edgetl.stages.read import is_onnx, read
from edgetl.stages.verify import Subject, Verdict, Verify
from edgetl.tasks.class_order import columns_of


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
    stage = stage if compared is None else replace(stage, teacher=referred(compared, stage.classes, output))
    return do(replace(stage, runtime=runtime) if runtime else stage)


def model_to_judge(path: Path, output: str | None = None) -> Subject:
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
    subject = model_to_judge(path, output if output and output in output_names(path) else None)
    return replace(subject, columns=columns)


def bundle_stage(folder: Path, data: str, settings: VerifySettings, preprocess: str | None, skip_bad_images: bool) -> Verify:
    """A bundle's shipped graph against its float graph."""
    from edgetl.bundle.read import open_bundle

    bundle = open_bundle(folder)
    prepared = given_preprocess(preprocess) or bundle.manifest.preprocess
    int8 = model_to_judge(bundle.model) if bundle.manifest.shipped != "float" else None
    split = parts_of_run(folder)
    images = open_labelled(data, classes=bundle.manifest.classes, skip_bad_images=skip_bad_images, split=split)
    return Verify(
        data=images,
        data_name=Path(data).name,
        classes=bundle.manifest.classes,
        shipped=bundle.manifest.shipped,
        int8=int8,
        names=names_of(bundle.model) if int8 else None,
        onnx_float=model_to_judge(bundle.float_model),
        teacher=None,
        bundle=BundleFolder(path=folder, sha256=bundle.sha256),
        intake=images.intake if isinstance(images, Images) else None,
        groups=images.groups_here,
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
    quantized = made_int8(info)
    known = info.preprocess or prepared
    placed = images_for(path, data, names, output=output, preprocess=known, skip_bad_images=skip_bad_images, split=parts_of_run(given))
    model = model_to_judge(path, placed.output)
    return Verify(
        data=placed.images,
        data_name=Path(data).name,
        classes=placed.order.classes,
        shipped=form_of(info),
        int8=model if quantized else None,
        names=names_of(given) if quantized else None,
        onnx_float=None if quantized else model,
        teacher=None,
        intake=placed.images.intake if isinstance(placed.images, Images) else None,
        groups=placed.groups,
        seen=seen_beside(given),
        preprocess=prepared,
        order=placed.order.said,
        others=placed.order.others,
        settings=settings,
    )
