"""One stage at a time: what `edgetl finetune`, `distill`, `quantize`, `export` and `verify` do around their stage."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgetl.bundle.read import MANIFEST
from edgetl.cli.bundle_beside import golden_and_rule
from edgetl.cli.options import given_labels, given_preprocess
from edgetl.cli.origin import NO_FLOAT, Origin, float_model, origin_of, parts_of_run, seen_by
from edgetl.core.artifacts import BundleFolder, Checkpoint, FileArtifact
from edgetl.core.errors import InputError
from edgetl.core.files import disk_errors, refuse_special, write_whole
from edgetl.core.progress import say
from edgetl.core.publish import check_place, publish_folder
from edgetl.core.workspace import RESULT, WEIGHTS, Workspace, folder_of
from edgetl.data.calibration import limited_calibration, open_calibration
from edgetl.data.images import Images
from edgetl.data.placed import Placed, images_for, near_duplicates_in
from edgetl.data.suited import suited
from edgetl.runtime.loading import load_proto
from edgetl.runtime.onnx_metadata import read_info
from edgetl.runtime.outputs import class_count
from edgetl.settings import DistillSettings, ExportSettings, FinetuneSettings, QuantizeSettings, Runtime
from edgetl.stages.quantize import Quantize, Quantized
from edgetl.tasks.class_order import listed


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
    """The student of the checkpoint at `teacher` (a file, a stage folder or a run folder).

    Raises:
        InputError: a teacher or a student that cannot be had.
    """
    from edgetl.models.checkpoint import find_checkpoint, read_checkpoint
    from edgetl.selection.choices import for_student
    from edgetl.stages.distill import Distill
    from edgetl.training.device import threaded
    from edgetl.training.inherit import rehearse

    seen, checkpoint = data.only("train", "val"), find_checkpoint(teacher, "finetune")
    info = read_checkpoint(checkpoint.path)
    chosen = for_student(seen, settings, info.arch, info.preprocess.side, do.root / WEIGHTS)
    stage = Distill(teacher=checkpoint, data=seen, weights=chosen.weights, settings=chosen.settings, unlabelled=unlabelled, runtime=runtime)
    asked = chosen.settings
    if asked.share is not None and not (asked.inherits and info.pruned) and not (folder_of(do.root, stage) / RESULT).exists():
        with threaded(runtime.threads):  # what cannot be pruned that far is refused before images are read and the teacher is asked
            arch, side = info.arch if asked.inherits else asked.arch, asked.image_size or info.preprocess.side
            rehearse(arch, len(seen.classes), side, asked.share)
    return do(stage).checkpoint


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
    _check_places(model, out)
    with Workspace(out.with_name(out.name + ".work")) as do:
        graph, split = float_model(model, do), parts_of_run(model)
        info = read_info(graph.path)
        prepared, names = given_preprocess(preprocess) or info.preprocess, given_names(labels, graph.path, output)
        fitting = limited_calibration(open_calibration(calibration, prepared, skip_bad_images=skip_bad_images, split=split), settings)
        find = partial(images_for, graph.path, output=output, part="val", preprocess=prepared, skip_bad_images=skip_bad_images, split=split)
        placed = _told(find(evaluation, names), "quantize") if evaluation else None
        sources = suited(graph.path, [fitting, placed.inputs(prepared)] if placed else [fitting])
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
                groups=placed.groups if placed else (),
                alike=near_duplicates_in(sources[0]),
                runtime=runtime or Runtime(),
            )
        )
        _ship(quantized, out)
    return quantized


def _told(placed: Placed, step: str) -> Placed:
    """The same; what is not known of how independent the images are is said."""
    if doubt := placed.images.doubt:
        say(f"{step}: {doubt}")
    return placed


def _ship(quantized: Quantized, out: Path) -> None:
    """Copy the graph that ships, whole or not at all."""
    with disk_errors(out.parent):
        write_whole(out, quantized.ships.read_bytes())


def _check_places(model: Path, out: Path) -> None:
    """Raise InputError if no model is there, or where a new file would replace a device."""
    refuse_special(out)
    if not model.exists():
        raise InputError(f"expected a model at {model}, found nothing. Give an ONNX file, a checkpoint or a stage's folder")


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


def provenance_of(origin: Origin) -> dict[str, str]:
    """What is known of a model that is exported alone, for the manifest; of a file of a bundle, what that says."""
    trained_on = {"trained_on": ", ".join(origin.seen.trained_on)} if origin.seen.trained_on else {}
    model = FileArtifact.of(origin.float_model.path).sha256
    rounded = {"float": NO_FLOAT} if origin.without_float else {}
    if origin.bundle:
        return {**origin.bundle.provenance, **rounded}
    named = origin.made_from.get("data")
    split = None if origin.seen.split == "unknown" else f"split sha256:{origin.seen.split}"
    data = {"data": ", ".join(said for said in (named, split) if said)} if named or split else {}
    return {**origin.made_from, **data, "model": f"sha256:{model}", **trained_on, **rounded}


def export(
    model: Path,
    out: Path,
    settings: ExportSettings,
    golden: Images | None,
    *,
    labels: Path | None = None,
    preprocess: str | None = None,
    output: str | None = None,
    evaluation: str | None = None,
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
        graph, names = origin.float_model.path, given_names(labels, origin.float_model.path, output)
        prepared = read_info(graph).preprocess or given_preprocess(preprocess)
        find = partial(images_for, graph, output=output, part="val", preprocess=prepared, split=parts_of_run(model))
        placed = _told(find(evaluation, names), "export") if evaluation else None
        images, rule = golden_and_rule(origin.bundle, golden, settings, evaluation, model.name, origin.seen.trained_on)
        exported = do(
            Export(
                int8=origin.int8,
                float_model=origin.float_model,
                shipped=origin.shipped,
                target=origin.target,
                golden=images,
                rule=rule,
                seen=origin.seen,
                classes=names if labels else None,
                preprocess=given_preprocess(preprocess),
                output=output,
                evaluation=placed.inputs(prepared) if placed else None,
                groups=placed.groups if placed else (),
                provenance=provenance_of(origin),
                settings=settings,
            )
        )
        return _published(exported.bundle, out)


def _published(bundle: BundleFolder, out: Path) -> BundleFolder:
    """A copy of the bundle at `out`, whole or not at all."""
    with disk_errors(out.parent):
        publish_folder(bundle.path, out, MANIFEST)
    return BundleFolder(path=out, sha256=bundle.sha256)
