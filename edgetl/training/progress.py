"""The state between two epochs, in a file that is written whole or not at all, so that a killed training goes on."""

from __future__ import annotations

import csv
import math
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from edgetl.core.files import open_whole
from edgetl.core.progress import say
from edgetl.core.workspace import SCRATCH

RESUME, LOG = "resume.pt", "log.csv"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A network on the val images.

    Attributes:
        loss: cross-entropy, its classes weighted where they are unbalanced.
        score: the primary metric; what is reported.
        balanced: its mean over the classes, where they are unbalanced.
    """

    loss: float
    score: float
    balanced: float | None = None

    @property
    def choosing(self) -> float:
        """The score that chooses the epoch: the mean over the classes if they are unbalanced, since top-1 hides a rare class."""
        return self.score if self.balanced is None else self.balanced


@dataclass
class Progress:
    """The state of a training between two epochs, without model and optimizer."""

    epoch: int = 0
    stale: int = 0
    best_epoch: int = -1
    best_score: float = -math.inf  # of the weights that are kept
    best_balanced: float | None = None
    best_loss: float = math.inf
    best_choosing: float = -math.inf
    top: float = -math.inf  # the highest choosing score of any epoch
    best_state: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)

    def keep(self, model: nn.Module, seen: Evaluated, epoch: int) -> None:
        """Remember the model's weights as the best so far."""
        self.best_score, self.best_balanced, self.best_choosing = seen.score, seen.balanced, seen.choosing
        self.best_loss, self.best_epoch, self.stale = seen.loss, epoch, 0
        self.top = max(self.top, seen.choosing)
        self.best_state = {name: value.detach().clone() for name, value in model.state_dict().items()}


def save_progress(out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: Progress) -> None:
    """Write everything the next epoch depends on, whole or not at all, and on the disk before the next epoch begins."""
    resume = out / SCRATCH / RESUME
    resume.parent.mkdir(exist_ok=True)
    with open_whole(resume) as stream:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(state)}, stream)
    with (out / LOG).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(state.rows[0]))
        writer.writeheader()
        writer.writerows(state.rows)


def resumable(path: Path) -> bool:
    """Whether an earlier attempt left a whole file; a torn one, of a machine that died, is removed and said.

    torch reads a damaged file without a word (its reader leaves the checksums out): they are checked here.
    """
    if not path.exists():
        return False
    try:
        with zipfile.ZipFile(path) as content:
            if content.testzip() is None:
                return True
    except (zipfile.BadZipFile, OSError, EOFError):
        pass
    say(f"{path.name}: an interrupted run left a damaged file; this training starts again")
    path.unlink()
    return False


def load_progress(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """The state that an earlier attempt left, or that of a new training."""
    if not resumable(path):
        return Progress()
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return Progress(**saved["progress"])
