"""The outputs of all judged models on the same test images."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetl.core.artifacts import FileArtifact
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.data.images import Images
from edgetl.data.npz import NpzRows, NpzTensors
from edgetl.data.suited import refuse_other_inputs
from edgetl.data.survey import deepened, tell_depth
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.quantization.candidates.unsaturated import judged_file, made_for_others
from edgetl.report import schema
from edgetl.report.judgement import FileFacts, Outputs
from edgetl.runtime.answers import answers_of
from edgetl.runtime.latency import Latency, Opened, in_turns, sample
from edgetl.runtime.onnx_metadata import read_info
from edgetl.runtime.session import Session, open_session
from edgetl.runtime.size import weight_count
from edgetl.tasks.class_order import check_width
from edgetl.tasks.meaning import Meaning, in_words, meaning_of


@dataclass(frozen=True, kw_only=True)
class Subject(FileArtifact):
    """One ONNX file to judge.

    Attributes:
        arch: the name of its architecture, for people.
        output: the one that answers, of a file with several; None: the one that fits the classes.
        columns: the index of the output of each class; None: outputs are in the order of the classes.
    """

    arch: str | None = None
    output: str | None = None
    columns: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """Models by their names in `report.json`, and the images that all of them look at.

    Attributes:
        preprocess: for models that do not carry one.
        batch_size: images per call; `threads` of onnxruntime.
    """

    named: Mapping[str, Subject]
    classes: tuple[str, ...]
    data: Images | NpzTensors | NpzRows
    preprocess: Preprocess | None
    batch_size: int
    threads: int

    @cached_property
    def sessions(self) -> dict[str, Session]:
        """Each model, open at the output that answers, with one thread."""
        return {name: open_session(s.path, output=s.output, classes=len(self.classes)) for name, s in self.named.items()}

    @cached_property
    def outputs(self) -> dict[str, Outputs]:
        """Model name -> its outputs, finite [n, k], in the order of the classes.

        Raises:
            InputError: a model that does not fit the images or the classes.
            NotFinite: one that gives NaN or infinity; the images are named.
        """
        self._survey()
        return {name: self._given(subject) for name, subject in self.named.items()}

    def meaning(self, name: str) -> Meaning:
        """What the outputs of a model mean."""
        return meaning_of(self.outputs[name], self.sessions[name].activation)

    def readings(self) -> list[str]:
        """How outputs were read, where they are no logits."""
        found = {name: self.meaning(name) for name in self.named}
        return [f"outputs of {self.sessions[name].name}: {in_words(meaning)}" for name, meaning in found.items() if meaning != "logits"]

    def size(self, name: str) -> tuple[int, ...]:
        """The size of one input of a model, [c, h, w]."""
        return next(iter(self.tensors(self.named[name].path).batches(1))).x.shape[1:]

    def facts(self, name: str, latency: schema.LatencyReport) -> FileFacts:
        """What is known of a model beside its answers; the parameters of an int8 graph are counted in its float graph."""
        subject = self.named[name]
        counted = self.named.get("onnx_float", subject) if name == "onnx_int8" else subject
        return FileFacts(arch=subject.arch, params=weight_count(counted.path), size_bytes=subject.path.stat().st_size, latency_ms=latency)

    def latencies(self, runs: int) -> dict[str, Latency]:
        """The latency of each model for images of the size of these."""
        measured = in_turns([partial(self._opened, name, self.size(name)) for name in self.named], runs)
        return dict(zip(self.named, measured, strict=True))

    def _opened(self, name: str, size: tuple[int, ...]) -> Opened:
        """A model with one thread, and an image for it."""
        subject = self.named[name]
        session = open_session(subject.path, output=subject.output, classes=len(self.classes))
        return session, sample(session, size)

    def tensors(self, path: Path) -> TensorSource:
        """The images as the model at `path` wants them."""
        if not isinstance(self.data, Images):
            return self.data
        return ImageTensors(images=self.data, preprocess=deepened(self._prepared(path), self.data.depth, self.data.name))

    def _given(self, subject: Subject) -> NDArray[np.float32]:
        """Of the file itself; by exact arithmetic, where it was made for CPUs that do not saturate and this one does."""
        with judged_file(subject.path) if made_for_others(subject.path) else nullcontext(subject.path) as file:
            session = open_session(file, threads=self.threads, output=subject.output, classes=len(self.classes))
            outputs, _ = answers_of(session, self.tensors(subject.path), batch_size=self.batch_size)
        check_width(outputs.shape[1], self.classes, subject.path.name)
        return outputs if subject.columns is None else outputs[:, list(subject.columns)]

    def _survey(self) -> None:
        """Say what the models' Preprocess takes the depth of these images for, once where it is the same.

        Raises:
            InputError: a model that takes something else.
        """
        if not isinstance(self.data, Images):
            return
        wanted = {subject.path: self._prepared(subject.path) for subject in self.named.values()}
        for path, preprocess in wanted.items():
            refuse_other_inputs(path, preprocess)
        for preprocess in dict.fromkeys(wanted.values()):
            tell_depth(self.data.name, self.data.depth, preprocess)

    def _prepared(self, path: Path) -> Preprocess:
        """How images are prepared for that model."""
        preprocess = read_info(path).preprocess or self.preprocess
        if preprocess is None:
            raise InputError(
                f"expected {path} to contain the preprocessing of its images, found none. Give it with --preprocess FILE|imagenet, "
                "or an .npz that is already prepared"
            )
        return preprocess
