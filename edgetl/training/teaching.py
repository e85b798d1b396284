"""The targets of the student: the teacher's answers and features for the views that the student sees."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgetl.models.finite import refuse_mute
from edgetl.models.heads import head_name
from edgetl.training.features import memory_mapped
from edgetl.training.job import TrainingBatch

MIX_KEY = 2**63  # apart from the keys of views and orders


class WatchedNetwork:
    """A network, and if `watched` what enters its head; a map of features is averaged over its places."""

    def __init__(self, model: nn.Module, *, watched: bool) -> None:
        self.model, self.watched, self._features = model, watched, torch.empty(0)
        if watched:
            model.get_submodule(head_name(model)).register_forward_pre_hook(self._note)

    def _note(self, _head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features = inputs[0].flatten(2).mean(dim=2) if inputs[0].ndim > 2 else inputs[0]

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [n, 3, s, s] -> features [n, d] (not watched: [n, 0]) and logits [n, k], float32."""
        logits = self.model(x).float()
        return self._features.float() if self.watched else logits[:, :0], logits


class Taught(nn.Module):
    """The student and the adapter from its features to the teacher's, which learn together (FitNets; Romero et al. 2015, section 2.2).

    Args:
        student: the network.
        widths: how many features it has, and the teacher; None: features are not matched.
    """

    def __init__(self, student: nn.Module, widths: tuple[int, int] | None) -> None:
        super().__init__()
        self.student = student
        self.observed = WatchedNetwork(student, watched=widths is not None)
        self.adapter = nn.Linear(*widths) if widths else None

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, s, s] -> logits [n, k]."""
        logits: Tensor = self.student(x)
        return logits

    def feature_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Mean squared difference of the adapted features [n, d] and the teacher's, in units of their variance."""
        assert self.adapter is not None
        return F.mse_loss(self.adapter(student).float(), teacher) / teacher.var().clamp_min(1e-6)


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """Images of a batch mixed in pairs (Zhang et al. 2018, "mixup", eq. 1).

    Attributes:
        share: of the image itself, [n, 1]; the rest is its partner's.
        partner: [n].
    """

    share: Tensor
    partner: Tensor

    @staticmethod
    def of(batch: TrainingBatch, strength: float) -> Mixing:
        """Shares from Beta(strength, strength), partners at random; the same whenever the batch comes again."""
        key = np.array([batch.seed, MIX_KEY + (batch.round << 32) + batch.places.start], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        count, device = len(batch.labels), batch.x.device
        share = torch.from_numpy(random.beta(strength, strength, size=(count, 1)).astype(np.float32))
        return Mixing(share=share.to(device), partner=torch.from_numpy(random.permutation(count)).to(device))

    def __call__(self, values: Tensor) -> Tensor:
        """[n, ...] -> [n, ...]."""
        share = self.share.view(-1, *[1] * (values.ndim - 1))
        return share * values + (1 - share) * values[self.partner]


@dataclass(frozen=True, kw_only=True)
class TeacherAnswers:
    """The teacher's answers to a batch: logits [n, k] and, if it is watched, features [n, d]."""

    logits: Tensor
    features: Tensor


class Teaching(Protocol):
    """The source of the teacher's answers."""

    def __call__(self, batch: TrainingBatch, x: Tensor) -> TeacherAnswers:
        """The answers to a batch, whose views are `x`, [n, 3, s, s]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Live:
    """The teacher looks at what the student sees, mixed or not (Beyer et al. 2022, "function matching")."""

    teacher: WatchedNetwork
    shrink: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, batch: TrainingBatch, x: Tensor) -> TeacherAnswers:
        """One forward pass.

        Raises:
            InputError: answers that are not finite.
        """
        features, logits = self.teacher.both(self.shrink(x))
        refuse_mute(logits, "the teacher")
        return TeacherAnswers(logits=logits, features=features)


def checksums(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each row, [n]: 23 bits of its CRC-32 and a one, which float32 holds exactly; zeros are never right."""
    return np.array([zlib.crc32(row.tobytes()) & 0xFFFFFF | 1 for row in rows], dtype=np.float32)


class Remembered:
    """Live answers, kept for batches that come again; in a file, so that a killed run goes on with the same.

    Args:
        live: answers a batch when it comes for the first time.
        file: float32 [rounds, images, 1 + k + d]: checksum of the rest, which says that the teacher has answered; logits, features.
        rounds, images: of batches, and in each of them.
        outputs, features: k and d.
    """

    def __init__(self, live: Live, file: Path, *, rounds: int, images: int, outputs: int, features: int) -> None:
        self.live, self.outputs = live, outputs
        self._rows = memory_mapped(file, (rounds, images, 1 + outputs + features))

    def __call__(self, batch: TrainingBatch, x: Tensor) -> TeacherAnswers:
        """The answers to a batch, computed or remembered."""
        rows = self._rows[batch.round, batch.places]
        if not np.array_equal(rows[:, 0], checksums(rows[:, 1:])):  # not answered yet, or torn: what was half written does not count
            answers = self.live(batch, x)
            rows[:, 1:] = torch.cat([answers.logits, answers.features], dim=1).cpu().numpy()
            rows[:, 0] = checksums(rows[:, 1:])
            return answers
        found = torch.from_numpy(rows[:, 1:].copy()).to(x.device)
        return TeacherAnswers(logits=found[:, : self.outputs], features=found[:, self.outputs :])
