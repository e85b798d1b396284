"""A realistic report, simulated answer by answer so that its parts agree with each other."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgetl.metrics.classification import confusion, macro_f1, per_class
from edgetl.metrics.parity import agreement, images_needed, paired_drop, verdict, wilson
from edgetl.report.predictions import Answers
from edgetl.report.schema import (
    ClassScores,
    DataReport,
    DropParity,
    ExportParity,
    ImageCounts,
    Int8Parity,
    LatencyReport,
    ModelReport,
    Models,
    Parity,
    Report,
)
from edgetl.tasks.classification import Classification

DIGITS = tuple("0123456789")
METHOD = "score interval for paired proportions (Tango 1998, Statistics in Medicine 17:891-908)"
Classes = NDArray[np.int64]


def disturbed(answers: Classes, share: float, classes: int, seed: int) -> Classes:
    """The same answers, but for a share that fall to a class nearby."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(answers)) < share, (answers + rng.integers(1, min(4, classes), len(answers))) % classes, answers)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Simulated test images: labels, and what each model answers."""

    classes: tuple[str, ...]
    labels: Classes
    answers: dict[str, Classes]
    shipped: str = "int8"
    max_drop: float = 0.05

    def model(self, name: str, arch: str, size_bytes: int, latency_ms: float, params: int) -> ModelReport:
        answers = self.answers[name]
        matrix, right = confusion(self.labels, answers, len(self.classes)), int((answers == self.labels).sum())
        return ModelReport(
            arch=arch,
            params=params,
            size_bytes=size_bytes,
            score=right / len(self.labels),
            score_ci95=wilson(right, len(self.labels)),
            metrics={"top1": right / len(self.labels), "macro_f1": macro_f1(matrix)},
            latency_ms=LatencyReport(p50=latency_ms, p90=1.17 * latency_ms, threads=1, runs=50),
            per_class=tuple(ClassScores(name=c, **vars(row)) for c, row in zip(self.classes, per_class(matrix), strict=True)),
            confusion=tuple(tuple(int(cell) for cell in row) for row in matrix),
        )

    def outputs(self) -> dict[str, NDArray[np.float32]]:
        """Logits whose largest is the answer, some surer than others."""
        sure = np.random.default_rng(8).uniform(1, 9, len(self.labels)).astype(np.float32)
        return {name: np.eye(len(self.classes), dtype=np.float32)[answers] * sure[:, None] for name, answers in self.answers.items()}

    def images(self, files: bool = True) -> Answers:
        """What `verify` keeps of every image."""
        count = len(self.labels)
        return Answers(
            task=Classification(classes=self.classes),
            hashes=[f"{n:03d}" * 21 + "f" for n in range(count)],
            files=[f"some folder/{n}.jpg" for n in range(count)] if files else None,
            labels=self.labels,
            outputs=self.outputs(),
            shipped=f"onnx_{self.shipped}",
        )

    def parity(self, reference: str, candidate: str, max_drop: float) -> DropParity:
        before, after = self.answers[reference], self.answers[candidate]
        drop = paired_drop(before == self.labels, after == self.labels)
        found = verdict(drop, max_drop)
        return DropParity(
            images=len(self.labels),
            agreement=agreement(before, after),
            drop=drop.drop,
            drop_ci95=(drop.low, drop.high),
            max_drop=max_drop,
            verdict=found,
            method=METHOD,
            images_needed=images_needed(drop, max_drop) if found == "passed" else None,
        )

    def report(self) -> Report:
        end = self.parity("teacher", f"onnx_{self.shipped}", self.max_drop)
        count = len(self.labels)
        return Report(
            task="classification",
            metric="top1",
            bundle_sha256="4f" * 32,
            data=DataReport(
                name="digits", classes=self.classes, images=ImageCounts(train=2 * count, val=count // 3, test=count, calibration=256)
            ),
            models=Models(
                teacher=self.model("teacher", "cifar_resnet20", 1_093_400, 0.68, 271_000),
                student=self.model("student", "edge_tiny", 276_100, 0.21, 66_000),
                onnx_float=self.model("onnx_float", "edge_tiny", 276_100, 0.21, 66_000),
                onnx_int8=self.model("onnx_int8", "edge_tiny", 84_210, 0.11, 66_000),
            ),
            parity=Parity(
                export=ExportParity(images=count, agreement=1.0, max_abs_diff=4.1e-6, passed=True),
                int8=Int8Parity(**vars(self.parity("onnx_float", "onnx_int8", 0.01)), sqnr_db=31.4),
                end_to_end=end,
            ),
            verdict=end.verdict,
            shipped=self.shipped,  # type: ignore[arg-type]
        )


def trial(
    classes: Sequence[str] = DIGITS, count: int = 450, student_errors: float = 0.012, max_drop: float = 0.05, shipped: str = "int8"
) -> Trial:
    labels = np.sort(np.random.default_rng(5).integers(0, len(classes), count))
    teacher = disturbed(labels, 0.012, len(classes), 1)
    student = disturbed(teacher, student_errors, len(classes), 2)
    answers = {"teacher": teacher, "student": student, "onnx_float": student, "onnx_int8": disturbed(student, 0.005, len(classes), 3)}
    return Trial(classes=tuple(classes), labels=labels, answers=answers, shipped=shipped, max_drop=max_drop)


@pytest.fixture(scope="session")
def report() -> Report:
    return trial().report()


def photo(seed: int, width: int = 90, height: int = 60, noise: bool = False) -> bytes:
    """A JPEG of smooth colors, or of noise, which compresses worst."""
    rng = np.random.default_rng(seed)
    size = (height, width) if noise else (4, 5)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).resize((width, height)).save(stream, format="JPEG", quality=95)
    return stream.getvalue()


def log(epochs: int, best: float = 0.985) -> list[dict[str, float]]:
    """Rows of a training log."""
    rng = np.random.default_rng(epochs)
    return [
        {
            "epoch": epoch,
            "loss": 0.5 + 1.8 * float(np.exp(-epoch / 5)),
            "val_loss": 0.55 + 1.7 * float(np.exp(-epoch / 4)) + 0.02 * float(rng.random()),
            "val_score": best - 0.8 * float(np.exp(-(epoch + 1) / 3)) - 0.006 * float(rng.random()),
            "seconds": 1.2,
        }
        for epoch in range(epochs)
    ]
