"""Planted leaks: images that a model has seen, and that come back as judges in another dress, are found; what cannot be is said."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetl.bundle.read import open_bundle
from edgetl.cli.origin import parts_of_run, seen_beside
from edgetl.cli.pipeline import Request, run_pipeline
from edgetl.cli.stages import export, finetune, quantize
from edgetl.cli.verify import verify
from edgetl.core.artifacts import FloatModel
from edgetl.core.errors import InputError
from edgetl.core.preprocess import imagenet
from edgetl.core.progress import listening
from edgetl.core.seen import SeenImages
from edgetl.core.workspace import LOCK, SPLIT, Workspace
from edgetl.data.admitted import admit
from edgetl.data.calibration import open_calibration, open_evaluation, open_labelled
from edgetl.data.earlier import write_split
from edgetl.data.images import ImageRef, Images
from edgetl.data.npz import NpzTensors, open_npz
from edgetl.data.sources import open_images
from edgetl.data.tensors import ImageTensors
from edgetl.data.unseen import LOOKS_SHOW
from edgetl.lowering.lower import lower
from edgetl.metrics.parity import share_interval
from edgetl.models.build import build
from edgetl.models.checkpoint import read_checkpoint, save_checkpoint
from edgetl.models.embedded import ASSETS
from edgetl.models.state import read_description
from edgetl.models.weights import Weights, resolve_weights
from edgetl.report.subjects import Subject
from edgetl.runtime.onnx_metadata import read_info
from edgetl.selection.choices import knows, refuse_known_data
from edgetl.selection.job import prepare
from edgetl.settings import DataSettings, ExportSettings, FinetuneSettings, PipelineSettings, QuantizeSettings, Runtime, VerifySettings
from edgetl.stages.export import Export
from edgetl.stages.quantize import Quantize
from edgetl.stages.verify import Verify

from .conftest import Told

QUICK = QuantizeSettings(tune_images=0)
JUDGE = VerifySettings(latency_runs=5, max_drop=0.2, thumbnails=0)
TEACHER = FinetuneSettings(arch="cifar_resnet16", image_size=32, strategy="features", baselines=False)
PREPROCESS = imagenet(32, 36)


def photos(shared: Path, part: str, count: int) -> list[Path]:
    """So many photos of ants, and as many of bees."""
    folder = shared / "data" / "hymenoptera" / part
    return [path for name in ("ants", "bees") for path in sorted((folder / name).glob("*.jpg"))[:count]]


def filled(folder: Path, files: list[Path]) -> Path:
    for path in files:
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.parent.name / path.name)
    return folder


@dataclass(frozen=True)
class Known:
    """Photos that a network was trained on, the network, and photos that it never saw."""

    data: Path
    images: Images
    checkpoint: Path
    onnx: Path
    fresh: Path


@pytest.fixture(scope="module")
def known(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Known:
    root = tmp_path_factory.mktemp("known")
    data, fresh = filled(root / "photos", photos(shared, "train", 20)), filled(root / "fresh", photos(shared, "val", 12))
    images = open_images(str(data), DataSettings())
    checkpoint, onnx = root / "student.safetensors", root / "away" / "student.onnx"
    network = build("edge_tiny", 2, 32)
    save_checkpoint(
        checkpoint, model=network, arch="edge_tiny", classes=images.classes, preprocess=PREPROCESS, seen=images.seen(), provenance={}
    )
    onnx.parent.mkdir()
    lower(checkpoint, onnx)
    return Known(data=data, images=images, checkpoint=checkpoint, onnx=onnx, fresh=fresh)


def saved_again(known: Known, folder: Path) -> set[str]:
    """Put some training photos into `folder`, at another quality or size; their places."""
    refs = known.images.only("train").refs[:6]
    for turn, ref in enumerate(refs):
        image = Image.open(known.data / ref.where).convert("RGB")
        image = image if turn % 2 else image.resize((image.width // 2, image.height // 2))
        (folder / ref.where).parent.mkdir(parents=True, exist_ok=True)
        image.save((folder / ref.where).with_suffix(".jpg"), quality=(85, 60, 40)[turn % 3])
    return {Path(ref.where).with_suffix(".jpg").as_posix() for ref in refs}


@pytest.mark.parametrize("bare", [False, True])
def test_training_photos_that_were_saved_again_are_found_and_no_other(known: Known, tmp_path: Path, bare: bool) -> None:
    planted = saved_again(known, filled(tmp_path / "t", [*known.fresh.rglob("*.jpg")]))
    data = open_labelled(str(tmp_path / "t"), classes=known.images.classes)
    record = seen_beside(known.onnx) if bare else known.images.seen()
    assert isinstance(data, Images) and record is not None
    assert not any(record.part_of(sha) for sha in data.hashes)  # no byte is the same
    with pytest.raises(InputError, match=rf"found 6 of {len(data)} that were used to") as refused:
        admit(data, record)
    named = {line.strip().rpartition(" (")[0] for line in str(refused.value).splitlines() if "looks like one in train" in line}
    assert named == planted
    kept = admit(data, record, "drop")
    assert set(kept.data.hashes) == set(open_labelled(str(known.fresh)).hashes) and kept.seen == "checked"
    assert kept.reason is not None and "6 images that were on record are left out" in kept.reason


@pytest.mark.parametrize("seen", ["refuse", "drop"])
def test_training_photos_saved_again_in_the_users_own_test_folder_are_told_or_left_out(known: Known, tmp_path: Path, seen: str) -> None:
    """As a pipeline judges: train/ and test/ were given, so that no split could keep the copies together."""
    filled(tmp_path / "d" / "train", [*known.data.rglob("*.jpg")])
    saved_again(known, filled(tmp_path / "d" / "test", [*known.fresh.rglob("*.jpg")]))
    images = open_images(str(tmp_path / "d"), DataSettings())
    job = prepare(images, PipelineSettings(finetune=TEACHER), Runtime(threads=1), tmp_path)
    test, subject = images.only("test"), Subject.of(known.onnx)
    judging = Verify(
        data=test,
        data_name="d",
        classes=images.classes,
        shipped="float",
        int8=None,
        onnx_float=subject,
        teacher=subject,
        seen=job.seen_by_judges(),
        alike=images.alike_beyond("test"),
        settings=JUDGE.but(seen_images=seen),
    )
    verdict = judging.run(tmp_path)
    said = json.loads(verdict.report.path.read_text(encoding="utf-8"))["data"]
    assert len(test) == 30 and len(images.alike_beyond("test")) == 6
    assert said["images"]["test"] == (24 if seen == "drop" else 30)
    assert "6 of these 30 images look like one in train or val" in said["seen_reason"]


def test_seen_photos_that_judge_all_the_same_are_told_as_waived(known: Known) -> None:
    data = open_labelled(str(known.data))
    told = admit(data, known.images.seen(), "accept")
    assert (told.seen, len(told.data)) == ("waived", 40)
    assert told.reason == f"{len(known.images.only('train', 'val'))} of 40 images were seen (--seen-images accept)"
    assert admit(open_labelled(str(known.fresh)), known.images.seen(), "accept").seen == "checked"


def test_weights_that_do_not_say_what_they_were_trained_on_leave_it_unchecked(known: Known, tmp_path: Path) -> None:
    """A file of weights may have learnt the test images by heart."""
    fresh, record = open_labelled(str(known.fresh)), known.images.seen()
    named = replace(record, trained_on=("imagenet1k",), by_name=("imagenet1k",))
    assert admit(fresh, named).seen == "checked"
    weights = Weights(source="file:mine.pth", path=tmp_path, sha256="0", preprocess=None, trained_on=None)
    told = admit(fresh, record.beside(weights.record))
    assert told.seen == "not checked" and told.reason is not None
    assert "the pretrained weights do not say what they were trained on (the unnamed data of mine.pth)" in told.reason
    assert "by name only" not in told.reason


def test_photos_that_no_model_has_seen_are_checked_and_nothing_is_held_against_them(known: Known) -> None:
    clean = admit(open_labelled(str(known.fresh)), known.images.seen())
    assert (clean.seen, clean.reason, len(clean.data)) == ("checked", LOOKS_SHOW, 24)


def test_pictures_that_are_alike_by_nature_are_no_copies_and_it_is_said(tmp_path: Path) -> None:
    """One textured plate, photographed forty times with other stains on it."""
    rng = np.random.default_rng(0)
    plate = np.kron(rng.normal(128, 40, (8, 8)), np.ones((12, 12))) + rng.normal(0, 8, (96, 96))
    for part, count in (("seen", 30), ("test", 10)):
        for number in range(count):
            y, x = rng.integers(4, 84, 2)
            picture = plate + rng.normal(0, 5, plate.shape)
            picture[y : y + 8, x : x + 8] -= 60
            folder = tmp_path / part / ("a", "b")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    before, data = open_labelled(str(tmp_path / "seen")), open_labelled(str(tmp_path / "test"))
    assert isinstance(before, Images)
    found = admit(data, SeenImages.of("s", looks=before.looks, train=before.hashes))
    assert found.seen == "checked" and found.reason is not None and "alike by nature" in found.reason


def test_a_bare_onnx_file_refuses_its_training_photos_away_from_its_folder(known: Known, tmp_path: Path) -> None:
    lone = tmp_path / "lone.onnx"
    shutil.copyfile(known.onnx, lone)
    record = read_info(lone).seen
    assert record is not None and record.kept == ("train", "val") and record.trained_on == ("photos",)
    assert sum(len(item.value) for item in model_props(lone) if item.key == "edgetl.seen") < 2000  # characters, for 40 photos
    with (
        Workspace(tmp_path / "w") as do,
        pytest.raises(InputError, match=rf"found {len(known.images.only('train', 'val'))} of 40 that were used to"),
    ):
        verify(lone, str(known.data), do, JUDGE, reference=known.onnx)


def model_props(path: Path) -> list[object]:
    import onnx

    return list(onnx.load(path).metadata_props)


def test_evaluation_on_training_photos_is_refused_by_the_bare_file_too(known: Known, tmp_path: Path) -> None:
    lone, again = tmp_path / "lone.onnx", tmp_path / "again"
    shutil.copyfile(known.onnx, lone)
    trained = len(known.images.only("train"))
    with pytest.raises(InputError, match=rf"found {trained} training images among 40:\n.*\(train\)"):
        quantize(lone, known.fresh, tmp_path / "q.onnx", QUICK, evaluation=str(known.data))
    saved_again(known, again)
    with pytest.raises(InputError, match=r"found 6 training images among 6:\n.*\(looks like one in train\)"):
        quantize(lone, known.fresh, tmp_path / "q.onnx", QUICK, evaluation=str(again))
    assert not (tmp_path / "q.onnx").exists()


def test_evaluation_on_calibration_photos_that_were_saved_again_is_refused(known: Known, tmp_path: Path) -> None:
    """Of a model without a record: the ranges were set on what would judge them."""
    away = tmp_path / "foreign.onnx"
    away.write_bytes(onnx_without_record(known.onnx))
    planted = saved_again(known, filled(tmp_path / "eval", [*known.fresh.rglob("*.jpg")]))
    with pytest.raises(
        InputError, match=r"not in the calibration set, found 6 of 30 that are, or look like a calibration image"
    ) as refused:
        quantize(away, known.data, tmp_path / "q.onnx", QUICK, evaluation=str(tmp_path / "eval"))
    assert all(place in str(refused.value) for place in planted) and not (tmp_path / "q.onnx").exists()
    quantize(away, known.data, tmp_path / "q.onnx", QUICK, evaluation=str(known.fresh))


def rows_of(known: Known, refs: Sequence[ImageRef], path: Path) -> NpzTensors:
    """The photos as the network takes them."""
    x = np.stack([PREPROCESS((known.data / ref.where).read_bytes()) for ref in refs])
    np.savez(path, x=x, y=np.array([ref.label for ref in refs]))
    return open_npz(path)


def test_the_stage_alone_refuses_what_the_command_refuses_in_the_same_words(known: Known, tmp_path: Path) -> None:
    away = tmp_path / "foreign.onnx"
    away.write_bytes(onnx_without_record(known.onnx))
    saved_again(known, filled(tmp_path / "eval", [*known.fresh.rglob("*.jpg")]))
    said = []
    with pytest.raises(InputError) as refused:
        quantize(away, known.data, tmp_path / "q.onnx", QUICK, evaluation=str(tmp_path / "eval"))
    said.append(str(refused.value))
    stage = Quantize(
        model=FloatModel.of(away),
        calibration=open_calibration(known.data, PREPROCESS),
        evaluation=open_evaluation(str(tmp_path / "eval"), PREPROCESS),
        settings=QUICK,
    )
    with Workspace(tmp_path / "w") as do, pytest.raises(InputError) as refused:
        do(stage)
    said.append(str(refused.value))
    assert said[0] == said[1] and "(looks like one in calibration)" in said[0]


@pytest.mark.parametrize("judged_as", ["rows", "files"])
def test_what_calibrated_as_rows_is_known_again_when_it_judges(judged_as: str, known: Known, tmp_path: Path) -> None:
    """The photos that set the ranges were rows of an .npz; the same photos, saved again, are to judge."""
    away, refs = tmp_path / "foreign.onnx", known.images.only("train").refs
    away.write_bytes(onnx_without_record(known.onnx))
    quantize(away, rows_of(known, refs, tmp_path / "c.npz").path, tmp_path / "q.onnx", QUICK)
    saved_again(known, filled(tmp_path / "t", [*known.fresh.rglob("*.jpg")]))
    data = tmp_path / "t"
    if judged_as == "rows":
        files = sorted(data.rglob("*.jpg"))
        x, y = np.stack([PREPROCESS(file.read_bytes()) for file in files]), np.array([file.parent.name == "bees" for file in files])
        np.savez(tmp_path / "t.npz", x=x, y=y.astype(np.int64))
        data = tmp_path / "t.npz"
    with Workspace(tmp_path / "w") as do, pytest.raises(InputError, match="found 6 of 30 that were used to") as refused:
        verify(tmp_path / "q.onnx", str(data), do, JUDGE, reference=away)
    assert str(refused.value).count("(looks like one in calibration)") == 6
    with Workspace(tmp_path / "w2") as do:
        verdict = verify(tmp_path / "q.onnx", str(data), do, JUDGE.but(seen_images="drop"), reference=away)
    told = json.loads(verdict.report.path.read_text(encoding="utf-8"))["data"]
    assert told["images"]["test"] == 24 and told["seen"] == "not checked"  # of what trained the model there is no record
    assert ("compared with image files by look only" in told["seen_reason"]) == (judged_as == "files")


def test_of_data_by_name_no_copies_were_looked_for_and_it_is_said(known: Known, tmp_path: Path) -> None:
    images = open_images(None, DataSettings())
    job = prepare(images, PipelineSettings(finetune=TEACHER), Runtime(threads=1), tmp_path)
    told = admit(images.only("test"), job.seen_by_judges())
    assert told.reason is not None and "a train or val image that was saved again is not recognized" in told.reason
    other = prepare(known.images, PipelineSettings(finetune=TEACHER), Runtime(threads=1), tmp_path)
    assert "saved again" not in (admit(known.images.only("test"), other.seen_by_judges()).reason or "")


def exported(model: Path, out: Path, judged: Path) -> Path:
    """The bundle whose temperature and threshold are fitted on the photos in `judged`."""
    images = open_labelled(str(judged))
    assert isinstance(images, Images)
    settings = ExportSettings(golden_images=1, min_precision=0.55)
    return export(model, out, settings, images, evaluation=str(judged)).path


def photos_of(known: Known, refs: Sequence[ImageRef], folder: Path) -> Path:
    return filled(folder, [known.data / ref.where for ref in refs])


def test_photos_that_trained_the_model_fit_no_temperature(known: Known, tmp_path: Path) -> None:
    """Neither the same files nor the same photos saved again; in the words of `quantize --eval`."""
    trained = photos_of(known, known.images.only("train").refs, tmp_path / "trained")
    saved_again(known, filled(tmp_path / "t", [*known.fresh.rglob("*.jpg")]))
    for judged, words in ((trained, rf"found {len(known.images.only('train'))} training images"), (tmp_path / "t", "found 6 training")):
        said = []
        for step in (
            lambda judged=judged: exported(known.onnx, tmp_path / "b", judged),
            lambda judged=judged: quantize(known.onnx, known.fresh, tmp_path / "q.onnx", QUICK, evaluation=str(judged)),
        ):
            with pytest.raises(InputError, match=rf"expected evaluation images that the model was not trained on, {words}") as refused:
                step()
            said.append(str(refused.value))
        assert said[0] == said[1]
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("rows", [False, True])
def test_photos_that_set_the_ranges_fit_no_temperature(known: Known, tmp_path: Path, rows: bool) -> None:
    """A foreign model that knows nothing of its training, but was calibrated here."""
    away, val = tmp_path / "foreign.onnx", filled(tmp_path / "cal", sorted(known.fresh.rglob("*.jpg"))[::2])
    away.write_bytes(onnx_without_record(known.onnx))
    calibration = val
    if rows:
        files = sorted(val.rglob("*.jpg"))
        calibration = tmp_path / "c.npz"
        np.savez(calibration, x=np.stack([PREPROCESS(file.read_bytes()) for file in files]))
    quantize(away, calibration, tmp_path / "q.onnx", QUICK)
    with pytest.raises(
        InputError, match="not in the calibration set, found 12 of 24 that are, or look like a calibration image"
    ) as refused:
        exported(tmp_path / "q.onnx", tmp_path / "b", known.fresh)
    assert str(refused.value).endswith("give other images with --eval") and not (tmp_path / "b").exists()


@pytest.mark.parametrize("rows", [False, True])
def test_images_that_fitted_the_temperature_do_not_judge_it(known: Known, tmp_path: Path, rows: bool) -> None:
    judged = known.fresh
    if rows:
        files = sorted(known.fresh.rglob("*.jpg"))
        judged = tmp_path / "t.npz"
        np.savez(judged, x=np.stack([PREPROCESS(file.read_bytes()) for file in files]), y=np.arange(len(files)) % 2)
    images = open_labelled(str(known.fresh))
    assert isinstance(images, Images)
    bundle = export(known.onnx, tmp_path / "b", ExportSettings(golden_images=1), images, evaluation=str(judged)).path
    record = open_bundle(bundle).seen
    assert {record.is_in("val rows" if rows else "val", sha) for sha in open_labelled(str(judged)).hashes} == {True}
    for subject in (bundle, bundle / "model.onnx"):
        with Workspace(tmp_path / "w") as do, pytest.raises(InputError, match="found 24 of 24 that were used to train, select or calib"):
            verify(subject, str(judged), do, JUDGE, reference=bundle / "model.float.onnx")
    plain = export(known.onnx, tmp_path / "plain", ExportSettings(golden_images=1), images).path
    assert open_bundle(plain).seen == seen_beside(known.onnx)  # without --eval nothing is added


def test_val_of_a_split_that_is_on_record_changes_no_record(known: Known) -> None:
    """As a pipeline exports: a copy of train in val is the split's affair, and the record stays as it was."""
    val = known.images.only("val")
    stage = Export(
        int8=None,
        float_model=FloatModel.of(known.onnx),
        shipped="float",
        target="portable",
        golden=val.take(1, 0),
        seen=known.images.seen(),
        provenance={},
        evaluation=ImageTensors(images=val, preprocess=PREPROCESS),
        one_split=True,
    )
    assert stage.record.to_json() == known.images.seen().to_json()


def onnx_without_record(path: Path) -> bytes:
    """The model as another maker's: it says nothing of what it has seen."""
    import onnx

    graph = onnx.load(path)
    kept = [item for item in graph.metadata_props if item.key not in ("edgetl.seen", "edgetl.split")]
    del graph.metadata_props[:]
    graph.metadata_props.extend(kept)
    return bytes(graph.SerializeToString())


def test_in_a_run_the_photos_are_split_as_the_run_split_them(known: Known, tmp_path: Path) -> None:
    """With another seed than the default one: the test part is judged, val decides, train calibrates, and nothing is refused."""
    run, split = tmp_path / "run", DataSettings(seed=7)
    images = open_images(str(known.data), split)
    (stage := run / "stages" / "distill-0").mkdir(parents=True)
    write_split(run / SPLIT, images, split)
    (run / LOCK).touch()  # what a run leaves in its folder
    model = stage / "student.onnx"
    save_checkpoint(
        tmp_path / "s.safetensors",
        model=build("edge_tiny", 2, 32),
        arch="edge_tiny",
        classes=images.classes,
        preprocess=PREPROCESS,
        seen=images.seen(),
        provenance={},
    )
    lower(tmp_path / "s.safetensors", model)
    parts = parts_of_run(model)
    assert parts == {ref.sha256: ref.part for ref in images.refs}
    assert set(open_labelled(str(known.data), split=parts).hashes) == set(images.only("test").hashes)
    decided = quantize(model, known.data, tmp_path / "q.onnx", QUICK, evaluation=str(known.data))
    assert decided.decision.judged_on == "val" and decided.decision.images == len(images.only("val"))
    record = SeenImages.from_json((decided.int8.path.parent / "seen.json").read_text(encoding="utf-8"))
    assert record.parts["calibration"] == {sha[:16] for sha in images.only("train").hashes}
    with Workspace(tmp_path / "w") as do:
        verdict = verify(model, str(known.data), do, JUDGE, reference=model)
    said = json.loads(verdict.report.path.read_text(encoding="utf-8"))["data"]
    assert (said["images"]["test"], said["seen"]) == (len(images.only("test")), "checked")


def test_rows_of_training_photos_cannot_be_checked_and_the_report_says_so(known: Known, tmp_path: Path) -> None:
    refs = known.images.only("train").refs
    x = np.stack([PREPROCESS((known.data / ref.where).read_bytes()) for ref in refs])
    np.savez(tmp_path / "t.npz", x=x, y=np.array([ref.label for ref in refs]))
    with Workspace(tmp_path / "w") as do, listening(told := Told()):
        verdict = verify(known.onnx, str(tmp_path / "t.npz"), do, JUDGE, reference=known.onnx)
    said = json.loads(verdict.report.path.read_text(encoding="utf-8"))["data"]
    assert said["seen"] == "not checked" and "rows of an .npz cannot be compared with image files (train, val)" in said["seen_reason"]
    assert any("not checked whether a model has seen these images" in line for line in told.lines)


def test_frames_of_one_burst_in_an_npz_are_not_independent_images(known: Known, tmp_path: Path) -> None:
    """Each photo three times, a little brighter each time: 24 scenes, not 72 images."""
    files = sorted(known.fresh.rglob("*.jpg"))
    x = np.stack([PREPROCESS(path.read_bytes()) for path in files])
    np.savez(
        tmp_path / "t.npz", x=np.concatenate([x, x * 1.01, x * 1.02]), y=np.tile([path.parent.name == "bees" for path in files], 3) * 1
    )
    with Workspace(tmp_path / "w") as do:
        verdict = verify(known.onnx, str(tmp_path / "t.npz"), do, JUDGE, reference=known.onnx)
    report = json.loads(verdict.report.path.read_text(encoding="utf-8"))
    low, high = report["models"]["teacher"]["score_ci95"]
    alone = share_interval(np.arange(72) < round(72 * report["models"]["teacher"]["score"]))
    assert report["data"]["images"]["test"] == 72 and high - low > 1.5 * (alone[1] - alone[0])


def test_a_model_without_a_record_is_not_checked_nor_is_one_whose_reference_has_none(known: Known, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(onnx_without_record(known.onnx))
    for subject, reference, why in (
        (foreign, foreign, "no record"),
        (known.onnx, foreign, "there is no record of the training images of foreign.onnx"),
    ):
        with Workspace(tmp_path / f"w-{subject.stem}") as do:
            verdict = verify(subject, str(known.fresh), do, JUDGE, reference=reference)
        said = json.loads(verdict.report.path.read_text(encoding="utf-8"))["data"]
        assert said["seen"] == "not checked" and why in said["seen_reason"]


def test_calibrated_on_one_set_and_again_on_another_both_are_on_record(known: Known, tmp_path: Path) -> None:
    """The last folder by name is not the record: a changed file may have come from any of them."""
    npz = []
    for seed in (0, 1):
        npz.append(tmp_path / f"c{seed}.npz")
        np.savez(npz[-1], x=np.random.default_rng(seed).normal(size=(12, 3, 32, 32)).astype(np.float32))
        quantize(known.onnx, npz[-1], tmp_path / "q.onnx", QUICK)
    rows = [open_npz(path).hashes for path in npz]
    (tmp_path / "away").mkdir()
    shutil.copyfile(tmp_path / "q.onnx", tmp_path / "away" / "q.onnx")
    lone = seen_beside(tmp_path / "away" / "q.onnx")  # without its work folder: what the file itself says
    assert lone is not None and {lone.part_of(sha) for sha in rows[1]} == {"calibration"} and not any(map(lone.part_of, rows[0]))
    assert {lone.part_of(sha) for sha in known.images.only("train").hashes} == {"train"}
    own = seen_beside(tmp_path / "q.onnx")
    assert own is not None and all(own.part_of(sha) for sha in rows[1]) and not any(own.part_of(sha) for sha in rows[0])
    changed = (tmp_path / "q.onnx").read_bytes()
    import onnx

    graph = onnx.load_from_string(changed)
    graph.doc_string = "somebody changed it"
    onnx.save(graph, tmp_path / "q.onnx")
    union = seen_beside(tmp_path / "q.onnx")
    assert union is not None and all(union.part_of(sha) for row in rows for sha in row)


def cifar(shared: Path, folder: Path, count: int) -> Path:
    """So many images of each class of CIFAR-10's test set, as folders."""
    with zipfile.ZipFile(shared / "data" / "cifar10_test.zip") as archive:
        taken: dict[str, int] = {}
        for name in sorted(archive.namelist()):
            label = Path(name).parent.name
            if name.endswith(".jpg") and taken.setdefault(label, 0) < count:
                taken[label] += 1
                (folder / label).mkdir(parents=True, exist_ok=True)
                (folder / label / Path(name).name).write_bytes(archive.read(name))
    return folder


def test_weights_that_knew_cifar10_two_fine_tunings_ago_still_know_it(known: Known, shared: Path, tmp_path: Path) -> None:
    renamed = open_images(str(cifar(shared, tmp_path / "my pictures", 6)), DataSettings())
    assert renamed.origin == "cifar10" and renamed.name == "my pictures"
    weights = "auto"
    for turn, data in enumerate((known.data, filled(tmp_path / "others", photos(shared, "val", 8)))):
        with Workspace(tmp_path / f"run{turn}") as do:
            settings = TEACHER.but(weights=weights)
            checkpoint = finetune(open_images(str(data), DataSettings()), settings, do, Runtime(threads=1))
        weights = str(checkpoint.path)
    info = read_checkpoint(checkpoint.path)
    assert info.seen.trained_on == ("cifar10", "photos", "others") and info.seen.by_name == ("cifar10",)
    found, _ = resolve_weights("cifar_resnet16", weights, tmp_path)
    assert found is not None and found.trained_on == "others"
    with pytest.raises(InputError, match=r"found cifar10, which file:checkpoint.safetensors was trained on"):
        refuse_known_data(renamed, found, False)
    refuse_known_data(renamed, found, True)
    graph = tmp_path / "model.onnx"
    lower(checkpoint.path, graph)
    with pytest.raises(InputError, match="found cifar10, which its pretrained weights were trained on"):
        admit(renamed.only("test"), seen_beside(graph))
    accepted = admit(renamed.only("test"), seen_beside(graph), "accept")
    assert accepted.seen == "waived" and accepted.reason is not None and "cifar10" in accepted.reason


def test_all_weights_that_edgetl_embeds_name_their_data() -> None:
    files = sorted(ASSETS.glob("*.safetensors"))
    assert files and all(read_description(file).get("trained_on") for file in files)


def test_a_checkpoint_of_an_older_edgetl_says_through_its_weights_what_it_knew(known: Known, tmp_path: Path) -> None:
    old = replace(known.images.seen(), looks={}, bytes_only=frozenset(("train", "val")), trained_on=())
    assert set(json.loads(old.to_json())) == {"split", "sha256_prefix_bytes", "parts"}  # as it was written then
    for source, name in (("embedded:cifar_resnet16_cifar10", "cifar10"), ("package:some-package", "imagenet1k")):
        path = tmp_path / f"{name}.safetensors"
        save_checkpoint(
            path,
            model=build("cifar_resnet8", 2, 32),
            arch="cifar_resnet8",
            classes=known.images.classes,
            preprocess=PREPROCESS,
            seen=old,
            provenance={"data": "photos", "weights": f"{source} sha256:{'0' * 64}"},
        )
        weights, _ = resolve_weights("cifar_resnet8", str(path), tmp_path)
        assert isinstance(weights, Weights) and weights.record.trained_on == (name, "photos") and weights.record.by_name == (name,)
        assert knows(replace(known.images, origin=name), weights) and not knows(known.images, weights)


def test_an_older_record_is_read_and_what_it_cannot_show_is_said(known: Known) -> None:
    old = SeenImages.from_json(replace(known.images.seen(), looks={}, bytes_only=frozenset(("train", "val")), trained_on=()).to_json())
    found = admit(open_labelled(str(known.fresh)), old)
    assert found.seen == "checked" and found.reason is not None and "image that was saved again is not recognized" in found.reason
    with pytest.raises(InputError, match=rf"found {len(known.images.only('train', 'val'))} of 40"):
        admit(open_labelled(str(known.data)), old)


def test_a_pipeline_on_known_images_is_refused_or_waived_and_the_page_says_so(shared: Path, tmp_path: Path) -> None:
    """CIFAR-10 under another name, on weights that know it."""
    data = cifar(shared, tmp_path / "my pictures", 6)
    request = Request(data=str(data), root=tmp_path, runtime=Runtime(threads=1))
    settings = PipelineSettings.from_tables(
        {
            "finetune": {"arch": "cifar_resnet16", "strategy": "features", "baselines": False},
            "distill": {"arch": "same"},
            "quantize": {"tune_images": 0},
            "verify": {"latency_runs": 5, "thumbnails": 0},
        }
    )
    with pytest.raises(InputError, match="found cifar10, which embedded:cifar_resnet16_cifar10 was trained on"):
        run_pipeline(request, tmp_path / "run", settings)
    report = run_pipeline(replace(request, allow_known_data=True), tmp_path / "run", settings)
    assert report["data"]["seen"] == "waived" and "--allow-known-data" in report["data"]["seen_reason"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "A model may have been trained on them, which was allowed" in page and "None of them was used" not in page
    bundle = open_bundle(tmp_path / "run" / "bundle")
    seen = bundle.seen
    assert bundle.manifest.provenance["trained_on"] == "cifar10" and seen.trained_on == ("cifar10",) and seen.by_name == ("cifar10",)


def test_a_pipeline_on_new_photos_is_checked_and_names_what_it_could_not_compare(known: Known, tmp_path: Path) -> None:
    settings = PipelineSettings.from_tables(
        {
            "finetune": {"arch": "cifar_resnet16", "image_size": 32, "strategy": "features", "baselines": False},
            "distill": {"arch": "same"},
            "quantize": {"tune_images": 0},
            "verify": {"latency_runs": 5, "thumbnails": 0},
        }
    )
    run = tmp_path / "run"
    report = run_pipeline(Request(data=str(known.data), root=tmp_path, runtime=Runtime(threads=1)), run, settings)
    assert report["data"]["seen"] == "checked" and "(cifar10) are known by name only" in report["data"]["seen_reason"]
    for model in (run / "bundle" / "model.onnx", run / "bundle"):  # the same images, chosen by the run's own split
        with Workspace(tmp_path / f"w-{model.name}") as do:
            verdict = verify(model, str(known.data), do, JUDGE, reference=run / "bundle" / "model.float.onnx")
        said = json.loads(verdict.report.path.read_text(encoding="utf-8"))["data"]
        assert (said["seen"], said["images"]["test"]) == ("checked", report["data"]["images"]["test"])
