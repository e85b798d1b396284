"""Checkpoints: a network in one safetensors file whose metadata says how to use it.

Everything there is to say stands under one metadata key as canonical JSON, because safetensors writes its keys in no
fixed order; so the same network gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from edgetl.core.artifacts import Checkpoint
from edgetl.core.canonical import canonical_json
from edgetl.core.errors import InputError, listing
from edgetl.core.files import read_json, write_whole
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.models.build import build
from edgetl.models.finite import refuse_not_finite_tensors
from edgetl.models.narrow import narrow, pruned_name
from edgetl.models.state import load_state, read_description, read_state

KEY, SCHEMA = "edgetl", 1
CHECKPOINT, RESULT, RUN, STAGES = "checkpoint.safetensors", "result.json", "run.json", "stages"


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """The metadata of a checkpoint.

    Attributes:
        arch: a name that `models.build.build` takes.
        classes: class names in the order of the outputs.
        preprocess: from image to input; `preprocess.side` is the size the network was built for.
        task: its name.
        seen: the images it was trained and selected on.
        provenance: where weights and data come from.
        pruned: of a pruned network, its share of the parameters that the architecture has otherwise.
    """

    arch: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    task: str
    seen: SeenImages
    provenance: Mapping[str, str]
    pruned: float | None = None

    @property
    def title(self) -> str:
        """The architecture in messages: `resnet18`, or `resnet18 pruned to 40%`."""
        return self.arch if self.pruned is None else pruned_name(self.arch, self.pruned)


def save_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    arch: str,
    classes: tuple[str, ...],
    preprocess: Preprocess,
    seen: SeenImages,
    provenance: Mapping[str, str],
    task: str = "classification",
    pruned: float | None = None,
) -> None:
    """Write `model`, whole or not at all; the same arguments give the same bytes.

    The widths of a pruned network are those of its tensors; nothing else is stored but the share of the parameters that it has.

    Raises:
        InputError: NaN or infinity in the weights.
    """
    described = {
        "schema": SCHEMA,
        "arch": arch,
        "classes": classes,
        "preprocess": preprocess.to_json(),
        "task": task,
        "seen": seen.to_json(),
        "provenance": provenance,
        **({} if pruned is None else {"pruned": pruned}),
    }
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    refuse_not_finite_tensors(tensors, path.name)
    write_whole(path, save(tensors, metadata={KEY: canonical_json(described)}))


def read_checkpoint(path: Path) -> CheckpointInfo:
    """The metadata of the checkpoint at `path`; no network is built.

    Raises:
        InputError: no such file, or no checkpoint that edgetl wrote.
    """
    if not path.is_file():
        raise InputError(f"expected a checkpoint at {path}, found {'a folder' if path.is_dir() else 'nothing'} there")
    if path.suffix.lower() != ".safetensors":
        raise InputError(f"expected a checkpoint (.safetensors), found {path.name}: give the file or the folder that edgetl wrote")
    text = read_description(path).get(KEY)
    if text is None:
        raise InputError(
            f"expected a checkpoint that edgetl wrote, found bare weights in {path.name}: "
            f"start from them with finetune --teacher-weights {path.name}"
        )
    try:
        said = json.loads(text)
        if said["schema"] != SCHEMA:
            raise ValueError(f"schema {said['schema']}, where this edgetl reads {SCHEMA}")
        return CheckpointInfo(
            arch=str(said["arch"]),
            classes=tuple(str(label) for label in said["classes"]),
            preprocess=Preprocess.from_json(said["preprocess"]),
            task=str(said["task"]),
            seen=SeenImages.from_json(said["seen"]),
            provenance={str(key): str(value) for key, value in said["provenance"].items()},
            pruned=float(said["pruned"]) if "pruned" in said else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"expected a checkpoint that edgetl wrote, found one with unreadable metadata in {path.name}: {error}") from error


def load_model(path: Path) -> nn.Module:
    """The network of a checkpoint, on the CPU, in evaluation mode.

    Raises:
        InputError: no checkpoint, weights that do not fit the architecture it names, or NaN or infinity in them.
    """
    info = read_checkpoint(path)
    model = build(info.arch, len(info.classes), info.preprocess.side)
    given, own = read_state(path), model.state_dict()
    refuse_not_finite_tensors(given, path.name)
    if info.pruned is not None:
        return _narrowed(model, given, info, path)
    wrong = [
        *(f"{name}: missing" for name in sorted(own.keys() - given.keys())),
        *(f"{name}: unknown" for name in sorted(given.keys() - own.keys())),
        *(
            f"{name}: expected {tuple(own[name].shape)}, found {tuple(given[name].shape)}"
            for name in sorted(own.keys() & given.keys())
            if own[name].shape != given[name].shape
        ),
    ]
    if wrong:
        raise InputError(f"expected the weights of {info.arch} in {path.name}, found others:\n{listing(wrong, 8)}")
    load_state(model, given)
    return model.eval()


def _narrowed(model: nn.Module, given: Mapping[str, Tensor], info: CheckpointInfo, path: Path) -> nn.Module:
    try:
        return narrow(model, given, info.preprocess.side)
    except InputError as error:
        raise InputError(f"{path.name}: {error}\nThe checkpoint is damaged, or of another network: distill again") from error


def find_checkpoint(path: Path, stage: str | None = None) -> Checkpoint:
    """The checkpoint that `path` means: a file, a stage folder, or a run folder.

    Of a run folder's checkpoints it is the only one, or the one that the latest run gave as the result of `stage`, which
    `run.json` names.

    Raises:
        InputError: nothing there, a stage that did not finish, or several checkpoints to choose from.
    """
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"expected a checkpoint, a stage folder or a run folder at {path}, found nothing there")
        read_checkpoint(path)
        return Checkpoint.of(path)
    if (path / STAGES).is_dir():
        return find_checkpoint(_of_run(path, stage))
    if (path / CHECKPOINT).is_file() and not (path / RESULT).is_file():
        raise InputError(f"expected a finished stage in {path}, found one without {RESULT}: it was interrupted. Run it again")
    if not (path / CHECKPOINT).is_file():
        raise InputError(
            f"expected a stage folder ({RESULT}, {CHECKPOINT}) or a run folder ({RUN}) at {path}, found neither. Give a checkpoint file"
        )
    return find_checkpoint(path / CHECKPOINT)


def _of_run(folder: Path, wanted: str | None) -> Path:
    """The stage folder that holds a run's checkpoint."""
    found = sorted(file.parent for file in (folder / STAGES).glob(f"*/{CHECKPOINT}") if (file.parent / RESULT).is_file())
    said = read_json(folder / RUN) if (folder / RUN).is_file() else None
    results = said.get("results") if isinstance(said, dict) else None
    result = results.get(wanted) if isinstance(results, dict) else None
    named = [stage for stage in found if stage.name == result]
    if len(named or found) == 1:
        return (named or found)[0]
    if not found:
        raise InputError(f"expected a checkpoint in {folder / STAGES}, found none that is finished. Run finetune or distill first")
    raise InputError(
        f"expected one checkpoint in {folder}, found {len(found)}; name one:\n{listing([stage / CHECKPOINT for stage in found])}"
    )
