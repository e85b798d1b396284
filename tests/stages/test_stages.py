"""Laws of the stages, each run for real on a few digits: what they hand on, what they refuse, what they decide."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetl.core.artifacts import Checkpoint, FloatModel
from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError
from edgetl.core.imagefile import decode
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.core.workspace import Workspace
from edgetl.data.images import Images
from edgetl.data.npz import open_npz
from edgetl.data.sources import open_images
from edgetl.data.tensors import ImageTensors
from edgetl.models.checkpoint import read_checkpoint
from edgetl.quantization.observe.split_for_judging import PartSizes
from edgetl.report.predictions import Gallery
from edgetl.report.publish import publish_report
from edgetl.report.schema import read_report
from edgetl.runtime.onnx_metadata import read_info
from edgetl.runtime.session import open_session
from edgetl.settings import DataSettings, DistillSettings, ExportSettings, FinetuneSettings, QuantizeSettings, Runtime, VerifySettings
from edgetl.stages.distill import Distill
from edgetl.stages.export import Export
from edgetl.stages.finetune import Finetune
from edgetl.stages.lower import Lower
from edgetl.stages.quantize import Quantize, Quantized
from edgetl.stages.verify import Subject, Verify

SMALL = Preprocess(size=32, resize=32)
ONE_THREAD = Runtime(device="cpu", threads=1)
TEACHER = FinetuneSettings(arch="cifar_resnet8", weights="none", image_size=32, epochs=1, lr=0.005)
STUDENT = DistillSettings(arch="edge_tiny", epochs=1)


def few(images: Images, per_class: int) -> Images:
    """At most `per_class` images of each class and part."""
    taken: Counter[tuple[int, str]] = Counter()
    kept = []
    for ref in images.refs:
        taken[ref.label, ref.part] += 1
        if taken[ref.label, ref.part] <= per_class:
            kept.append(ref)
    return replace(images, refs=tuple(kept))


@dataclass(frozen=True, kw_only=True)
class Chain:
    do: Workspace
    data: Images
    teacher: Checkpoint
    student: Checkpoint
    graph: FloatModel
    preprocess: Preprocess

    def tensors(self, part: str, labelled: bool = True) -> ImageTensors:
        return ImageTensors(images=self.data.only(part), preprocess=self.preprocess, labelled=labelled)  # type: ignore[arg-type]

    def quantized(self) -> Quantized:
        return self.do(
            Quantize(
                model=self.graph,
                calibration=self.tensors("train", labelled=False),
                evaluation=self.tensors("val"),
                settings=QuantizeSettings(max_drop=0.2),
            )
        )


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    data = few(open_images(None, DataSettings()), 6)
    with Workspace(tmp_path_factory.mktemp("run")) as do:
        teacher = do(Finetune(data=data.only("train", "val"), preprocess=SMALL, settings=TEACHER, runtime=ONE_THREAD)).checkpoint
        student = do(Distill(teacher=teacher, data=data.only("train", "val"), settings=STUDENT, runtime=ONE_THREAD)).checkpoint
        graph = do(Lower(checkpoint=student)).model
        preprocess = read_info(graph.path).preprocess
        assert preprocess is not None
        return Chain(do=do, data=data, teacher=teacher, student=student, graph=graph, preprocess=preprocess)


# finetune


def test_a_checkpoint_says_what_it_is_and_which_images_it_saw(chain: Chain) -> None:
    info = read_checkpoint(chain.teacher.path)
    assert (info.arch, info.classes) == ("cifar_resnet8", chain.data.classes)
    assert info.seen.split == chain.data.only("train", "val").digest
    assert {info.seen.part_of(sha) for sha in chain.data.only("train").hashes} == {"train"}
    assert {info.seen.part_of(sha) for sha in chain.data.only("val").hashes} == {"val"}
    assert {info.seen.part_of(sha) for sha in chain.data.only("test").hashes} == {None}


def test_device_and_threads_are_not_part_of_the_key_but_settings_and_images_are(chain: Chain) -> None:
    seen = chain.data.only("train", "val")
    stage = Finetune(data=seen, preprocess=SMALL, settings=TEACHER, runtime=ONE_THREAD)
    assert replace(stage, runtime=Runtime(device="cuda", threads=7)).key == stage.key
    assert replace(stage, settings=TEACHER.but(lr=0.006)).key != stage.key
    assert replace(stage, data=few(seen, 5)).key != stage.key


def test_other_test_images_do_not_make_training_run_again(chain: Chain) -> None:
    fewer = replace(chain.data, refs=chain.data.only("train", "val").refs + chain.data.only("test").refs[:5])
    before = Finetune(data=chain.data.only("train", "val"), preprocess=SMALL, settings=TEACHER)
    assert Finetune(data=fewer.only("train", "val"), preprocess=SMALL, settings=TEACHER).key == before.key


# distill


def test_a_teacher_of_other_classes_is_refused(chain: Chain) -> None:
    renamed = replace(chain.data, classes=tuple(f"digit {name}" for name in chain.data.classes))
    with pytest.raises(InputError, match="expected a teacher with the classes of the data"):
        chain.do(Distill(teacher=chain.teacher, data=renamed.only("train", "val"), settings=STUDENT))


def test_the_student_same_is_the_teacher_to_the_byte(chain: Chain) -> None:
    same = chain.do(Distill(teacher=chain.teacher, data=chain.data.only("train", "val"), settings=STUDENT.but(arch="same")))
    assert same.checkpoint.sha256 == chain.teacher.sha256 and same.val_score is None


def test_a_student_of_another_input_size_has_its_own_preprocess(chain: Chain) -> None:
    small = chain.do(
        Distill(teacher=chain.teacher, data=chain.data.only("train", "val"), settings=STUDENT.but(image_size=16), runtime=ONE_THREAD)
    )
    assert read_checkpoint(small.checkpoint.path).preprocess.size == 16
    assert read_checkpoint(chain.teacher.path).preprocess.size == 32


# quantize


def test_an_image_that_calibrates_may_not_decide(chain: Chain) -> None:
    with pytest.raises(InputError, match="expected evaluation images that are not in the calibration set, found 60"):
        chain.do(
            Quantize(
                model=chain.graph,
                calibration=chain.tensors("train", labelled=False),
                evaluation=chain.tensors("train"),
                settings=QuantizeSettings(tune_images=0),
            )
        )


def test_an_image_that_the_model_was_trained_on_may_not_decide_but_one_that_selected_it_may(chain: Chain) -> None:
    stage = Quantize(
        model=chain.graph,
        calibration=chain.tensors("test", labelled=False),
        evaluation=chain.tensors("train"),
        settings=QuantizeSettings(tune_images=0),
        seen=chain.data.only("train", "val").seen(),
    )
    with pytest.raises(InputError, match=r"images that the model was not trained on, found 60 training images among 60:\n  .* \(train\)"):
        chain.do(stage)
    replace(stage, evaluation=chain.tensors("val"))._check_disjoint()


def test_within_the_budget_int8_ships_and_the_decision_is_on_val(chain: Chain) -> None:
    decision = chain.quantized().decision
    assert decision.shipped == "int8" and decision.judged_on == "val" and decision.images == len(chain.data.only("val"))
    assert decision.float_score is not None and decision.int8_score is not None
    assert decision.drop == pytest.approx(decision.float_score - decision.int8_score)


def test_over_the_budget_the_float_graph_ships(chain: Chain, tmp_path: Path) -> None:
    """Ranges calibrated on black images leave nothing of the network."""
    np.savez(tmp_path / "black.npz", x=np.full((4, 3, 32, 32), 1e-3, dtype=np.float32))
    x = np.concatenate([batch.x for batch in chain.tensors("train").batches(32)])
    np.savez(tmp_path / "answers.npz", x=x, y=open_session(chain.graph.path).run(x).argmax(1))
    broken = chain.do(
        Quantize(
            model=chain.graph,
            calibration=open_npz(tmp_path / "black.npz"),
            evaluation=open_npz(tmp_path / "answers.npz"),
            settings=QuantizeSettings(max_drop=0.0, tune_images=0),
        )
    )
    assert broken.decision.drop is not None and broken.decision.drop > 0
    assert broken.decision.shipped == "float"


def test_without_labels_agreement_is_what_can_be_said(chain: Chain) -> None:
    alone = chain.do(
        Quantize(
            model=chain.graph, calibration=chain.tensors("train", labelled=False), evaluation=None, settings=QuantizeSettings(tune_images=0)
        )
    ).decision
    assert (alone.shipped, alone.judged_on, alone.drop) == ("int8", "calibration", None)
    assert 0 <= alone.agreement <= 1
    assert alone.held_out and alone.images == PartSizes.of(len(chain.tensors("train"))).reported  # not those that set the ranges


# export


def test_a_killed_export_leaves_nothing_in_the_next_bundle(chain: Chain, tmp_path: Path) -> None:
    quantized = chain.quantized()
    stage = Export(
        int8=quantized.int8,
        float_model=quantized.float_model,
        shipped="int8",
        target="portable",
        golden=chain.data.only("val").take(2, 0),
        seen=SeenImages.of("0" * 64, train=chain.data.only("train").hashes),
        provenance={"data": "digits"},
        settings=ExportSettings(golden_images=2),
    )
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "half-written").write_text("x", encoding="utf-8")
    again = tmp_path / "again"
    again.mkdir()
    assert stage.run(tmp_path).bundle.sha256 == stage.run(again).bundle.sha256
    assert not (tmp_path / "bundle" / "half-written").exists()


# verify


def verification(chain: Chain, **changes: object) -> Verify:
    quantized = chain.quantized()
    stage = Verify(
        data=chain.data.only("test"),
        data_name="digits",
        classes=chain.data.classes,
        shipped="int8",
        int8=Subject(path=quantized.int8.path, sha256=quantized.int8.sha256, arch="edge_tiny"),
        onnx_float=Subject(path=chain.graph.path, sha256=chain.graph.sha256, arch="edge_tiny"),
        teacher=Subject(path=chain.graph.path, sha256=chain.graph.sha256, arch="edge_tiny"),
        student=chain.student,
        names=quantized.names,
        seen=SeenImages.of("0" * 64, train=chain.data.only("train").hashes),
        settings=VerifySettings(latency_runs=5, max_drop=0.2),
    )
    return replace(stage, **changes)  # type: ignore[arg-type]


def report_of(stage: Verify, out: Path) -> dict[str, dict[str, dict[str, float]]]:
    report = json.loads(stage.run(out).report.path.read_text(encoding="utf-8"))
    read_report(report)
    return report  # type: ignore[no-any-return]


def test_the_numbers_are_those_of_a_plain_count(chain: Chain, tmp_path: Path) -> None:
    stage = verification(chain)
    report = report_of(stage, tmp_path)
    data = ImageTensors(images=chain.data.only("test"), preprocess=chain.preprocess)
    import onnxruntime

    x, y = next((batch.x, batch.y) for batch in data.batches(len(data)))
    right = {}
    for name, subject in (("onnx_float", stage.onnx_float), ("onnx_int8", stage.int8)):
        assert subject and y is not None
        session = onnxruntime.InferenceSession(str(subject.path), providers=["CPUExecutionProvider"])
        right[name] = session.run(None, {session.get_inputs()[0].name: x})[0].argmax(1) == y
        assert report["models"][name]["score"] == pytest.approx(right[name].mean())
        assert report["models"][name]["size_bytes"] == subject.path.stat().st_size
    assert report["parity"]["int8"]["drop"] == pytest.approx(right["onnx_float"].mean() - right["onnx_int8"].mean())
    assert report["parity"]["export"]["agreement"] == 1.0 and report["parity"]["export"]["passed"]
    time = report["kernels"]
    assert time["int8"] + time["conversion"] + time["floating"] == pytest.approx(1, abs=1e-3)  # type: ignore[operator]
    assert time["int8"] > 0.5 and len(time["float_layers"]) == 1  # type: ignore[arg-type, operator]  # the first, on whole numbers
    assert time["float_layers"][0]["name"] == "stem.0.0 (Conv)"  # type: ignore[index]


def test_images_that_the_model_has_seen_are_refused_and_named(chain: Chain, tmp_path: Path) -> None:
    seen = SeenImages.of("0" * 64, val=chain.data.only("test").hashes[:2])
    with pytest.raises(InputError, match=r"found 2 of \d+ that were used to .*\n  .* \(val\)") as refused:
        verification(chain, seen=seen).run(tmp_path)
    assert "--seen-images drop" in str(refused.value)


def test_seen_images_are_dropped_if_asked_and_all_of_them_cannot_be(chain: Chain, tmp_path: Path) -> None:
    test = chain.data.only("test")
    settings = VerifySettings(latency_runs=5, max_drop=0.2, seen_images="drop")
    report = report_of(verification(chain, seen=SeenImages.of("0" * 64, val=test.hashes[:7]), settings=settings), tmp_path)
    assert report["data"]["images"]["test"] == len(test) - 7
    with pytest.raises(InputError, match="it has seen all of them"):
        verification(chain, seen=SeenImages.of("0" * 64, val=test.hashes), settings=settings).run(tmp_path)


def test_a_graph_that_is_not_the_students_fails_whatever_its_score(chain: Chain, tmp_path: Path) -> None:
    report = report_of(verification(chain, student=chain.teacher), tmp_path)
    assert not report["parity"]["export"]["passed"] and report["verdict"] == "failed"


def test_one_model_alone_cannot_be_judged(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected two models to compare, found one"):
        verification(chain, teacher=None, int8=None, shipped="float", student=None).run(tmp_path)


def test_verify_changes_nothing_it_was_given(chain: Chain, tmp_path: Path) -> None:
    stage = verification(chain)
    files = [subject.path for subject in (stage.int8, stage.onnx_float, stage.student) if subject]
    before = [file_sha256(path) for path in files]
    stage.run(tmp_path)
    assert [file_sha256(path) for path in files] == before


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_answer_is_kept_and_they_add_up_to_the_scores(chain: Chain, tmp_path: Path) -> None:
    report = report_of(verification(chain), tmp_path)
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    test = chain.data.only("test")
    assert [(row["sha256"], row["file"]) for row in rows] == [(ref.sha256, ref.where) for ref in test.refs]
    assert [row["class"] for row in rows] == [test.classes[ref.label] for ref in test.refs]
    for name in ("teacher", "student", "onnx_float", "onnx_int8"):
        right = [row[f"{name}_answer"] == row["class"] for row in rows]
        assert sum(right) / len(right) == pytest.approx(report["models"][name]["score"])
    same = [row["onnx_float_answer"] == row["onnx_int8_answer"] for row in rows]
    assert sum(same) / len(same) == pytest.approx(report["parity"]["int8"]["agreement"])


def test_the_gallery_shows_the_images_it_names(chain: Chain, tmp_path: Path) -> None:
    stage = verification(chain)
    stage.run(tmp_path)
    gallery = Gallery.from_text((tmp_path / "gallery.json").read_text(encoding="utf-8"))
    shown = (*gallery.mistakes, *gallery.differences)
    assert len(gallery.mistakes) == 12 < gallery.mistakes_in_all  # one epoch of training: it is wrong often
    assert {path.name for path in (tmp_path / "thumbnails").iterdir()} == {image.thumbnail for image in shown}
    test = chain.data.only("test")
    for image in shown:
        row = test.hashes.index(image.sha256)
        with Image.open(tmp_path / "thumbnails" / str(image.thumbnail)) as small:
            seen = np.asarray(small.convert("L").resize((8, 8), Image.Resampling.BOX), dtype=float)
        np.testing.assert_allclose(seen, np.asarray(decode(test.read(row)).convert("L"), dtype=float), atol=12)


def test_the_evidence_is_the_same_bytes_again(chain: Chain, tmp_path: Path) -> None:
    """All but report.json, which holds times."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        verification(chain).run(tmp_path / name)
    first, again = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert first.pop("report.json") and again.pop("report.json") and first == again and len(first) > 10


def test_thumbnails_are_a_setting_and_part_of_the_key(chain: Chain, tmp_path: Path) -> None:
    stage = verification(chain)
    without = replace(stage, settings=stage.settings.but(thumbnails=0))
    assert without.key != stage.key
    without.run(tmp_path)
    gallery = Gallery.from_text((tmp_path / "gallery.json").read_text(encoding="utf-8"))
    assert not (tmp_path / "thumbnails").exists() and {image.thumbnail for image in gallery.mistakes} == {None} and gallery.mistakes


def test_an_npz_gives_neither_pictures_nor_names(chain: Chain, tmp_path: Path) -> None:
    batch = next(chain.tensors("test").batches(40))
    np.savez(tmp_path / "t.npz", x=batch.x, y=batch.y)
    out = tmp_path / "out"
    out.mkdir()
    verification(chain, data=open_npz(tmp_path / "t.npz"), seen=None).run(out)
    assert not (out / "thumbnails").exists()
    gallery = Gallery.from_text((out / "gallery.json").read_text(encoding="utf-8"))
    assert gallery.judged == 40 and {image.file for image in gallery.mistakes} == {None}
    publish_report(out, out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<img" not in page and f"sha256 {gallery.mistakes[0].sha256[:16]}" in page
