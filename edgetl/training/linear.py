"""A linear head on frozen features, fitted to its optimum: multinomial logistic regression with an L2 penalty by L-BFGS.

The strength of the penalty is the one with the least log loss out of fold (k-fold cross-validation on the training images; Kornblith
et al. 2019, "Do better ImageNet models transfer better?", appendix A.5, choose it on validation data too). What looks alike is in one
fold, or a fold would be judged by frames of scenes that it was fitted on. The fitting itself is scikit-learn's.
"""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from edgetl.core.progress import track
from edgetl.training.features import Features, reserve

STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # inverse penalties, for standardized features
FOLDS, CHOOSERS = 5, 2_000  # cross-validation, and on how many images at most
RAM_BYTES = 1 << 30  # standardized features above that lie in a temporary file
MOST_STEPS = 300
ROWS_AT_ONCE = 4096  # standardized at a time
FLAT_SHARE = 1e-2  # of the mean deviation: features that hardly vary are not blown up
SMALL_NUMBERS = 5_000_000  # numbers: up to here threads cost more than they help, above all beside other work
Labels = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """A linear head: logits = features @ weight.T + bias.

    Attributes:
        weight: float32 [k, d].
        bias: float32 [k].
        strength: the inverse penalty that was chosen.
        unseen: logits [n, k] of `chosen` images, each by a head that was fitted without it.
        chosen: the indices of those images.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    unseen: NDArray[np.float32]
    chosen: NDArray[np.int64]

    def __call__(self, features: Features) -> NDArray[np.float32]:
        """Features [n, d] -> logits [n, k]."""
        return np.asarray(features @ self.weight.T + self.bias, dtype=np.float32)


def fit_linear(
    views: list[Features],
    labels: Labels,
    classes: int,
    *,
    weights: NDArray[np.float32] | None,
    seed: int,
    threads: int,
    groups: NDArray[np.int64] | None = None,
) -> LinearHead:
    """The head with the least penalized loss on all views.

    Args:
        views: one or more views of the same images, each [n, d]; the first is the one that is answered at the end.
        labels: [n]; every class occurs.
        classes: k.
        weights: of the classes, [k], or None: all alike.
        seed: of the folds.
        threads: of the linear algebra.
        groups: [n], the number of the group of near-duplicates of each image, which stays in one fold; None: none look alike.
    """
    with threadpool_limits(threads if views[0].size > SMALL_NUMBERS else 1):
        scaled = [_standardized(view, *(scale := _scale(views[0]))) for view in views]
        chosen = _choosers(labels, seed)
        few = [np.ascontiguousarray(view[chosen]) for view in scaled]
        folds = folds_of(labels[chosen], seed, groups=None if groups is None else groups[chosen])
        strength, unseen = _choose(few, labels[chosen], folds, classes, weights)
        with track("fit linear head", 1, "fit"):
            fitted = _fit(_stacked(scaled), np.tile(labels, len(views)), strength / len(views), classes, weights)
    mean, deviation = scale
    weight = (fitted.weight / deviation).astype(np.float32)
    bias = (fitted.bias - (fitted.weight / deviation) @ mean).astype(np.float32)
    return LinearHead(weight=weight, bias=bias, strength=strength, unseen=unseen, chosen=chosen)


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    weight: NDArray[np.float64]  # [k, d], for standardized features
    bias: NDArray[np.float64]  # [k]

    def __call__(self, x: Features) -> NDArray[np.float32]:
        return np.asarray(x @ self.weight.T.astype(np.float32) + self.bias, dtype=np.float32)


def _fit(x: Features, labels: Labels, strength: float, classes: int, weights: NDArray[np.float32] | None) -> _Fitted:
    """A fitted head; a class that no image is of gets an answer that never wins."""
    known = np.unique(labels)
    weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, -1e3)
    if len(known) == 1:
        bias[known] = 0
        return _Fitted(weight=weight, bias=bias)
    each = None if weights is None else {int(label): float(weights[label]) for label in known}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # after STEPS, what is left hardly moves an answer
        model = LogisticRegression(C=strength, class_weight=each, max_iter=MOST_STEPS).fit(x, labels)
    if len(known) == 2:  # scikit-learn gives one row: half of it to each side
        weight[known], bias[known] = np.vstack([-model.coef_, model.coef_]) / 2, np.append(-model.intercept_, model.intercept_) / 2
    else:
        weight[known], bias[known] = model.coef_, model.intercept_
    return _Fitted(weight=weight, bias=bias)


def _choose(
    views: list[Features], labels: Labels, folds: NDArray[np.int64], classes: int, weights: NDArray[np.float32] | None
) -> tuple[float, NDArray[np.float32]]:
    """The strength with the least (class-weighted) log loss out of fold, and the logits out of fold with it."""
    best, found, logits = np.inf, STRENGTHS[0], np.zeros((len(labels), classes), dtype=np.float32)
    each = np.ones(len(labels)) if weights is None else weights[labels]
    with track("choose the linear head's penalty", len(STRENGTHS), "fit") as bar:
        for strength in STRENGTHS:
            answers = np.empty((len(labels), classes), dtype=np.float32)
            for fold in range(FOLDS):
                inside, outside = folds != fold, folds == fold
                x, y = _stacked([view[inside] for view in views]), np.tile(labels[inside], len(views))
                answers[outside] = _fit(x, y, strength / len(views), classes, weights)(views[0][outside])
            loss = float(np.average(_losses(answers, labels), weights=each))
            bar.advance(note=f"loss {loss:.4f}")
            if loss > best:  # weaker penalties would fit more of the noise
                break
            best, found, logits = loss, strength, answers
    return found, logits


def _losses(logits: NDArray[np.float32], labels: Labels) -> NDArray[np.float64]:
    """Cross-entropy of each image, [n]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels])


def folds_of(labels: Labels, seed: int, count: int = FOLDS, groups: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The fold of each image, 0 to `count` - 1: each class is spread evenly, and a group of near-duplicates is in one fold."""
    order = np.random.Generator(np.random.Philox(key=[seed, 5])).permutation(len(labels))
    folds = np.empty(len(labels), dtype=np.int64)
    if groups is not None and len(np.unique(groups)) < len(labels):
        return _grouped_folds(labels, groups, order, count)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        folds[members] = (np.arange(len(members)) + label) % count
    return folds


def _grouped_folds(labels: Labels, groups: NDArray[np.int64], order: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Groups, the largest first, each to the fold that has the smallest share of its classes so far; of equal ones, the emptiest."""
    members: dict[int, list[int]] = {}
    for image in order.tolist():
        members.setdefault(int(groups[image]), []).append(image)
    totals = np.maximum(np.bincount(labels), 1)
    held = np.zeros((count, len(totals)))
    folds = np.empty(len(labels), dtype=np.int64)
    for group in sorted(members.values(), key=len, reverse=True):  # a stable sort: of equal sizes, as they were shuffled
        mine = np.bincount(labels[group], minlength=len(totals))
        fullness = held / totals @ mine
        fold = int(np.lexsort((held.sum(axis=1), fullness))[0])
        held[fold] += mine
        folds[group] = fold
    return folds


def _choosers(labels: Labels, seed: int) -> NDArray[np.int64]:
    """Indices of at most CHOOSERS images, at random."""
    order = np.random.Generator(np.random.Philox(key=[seed, 6])).permutation(len(labels))
    return np.sort(order[:CHOOSERS])


def _scale(features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each feature, [d] each."""
    mean = features.mean(axis=0, dtype=np.float64)
    total = np.zeros_like(mean)
    for start in range(0, len(features), ROWS_AT_ONCE):
        total += np.square(features[start : start + ROWS_AT_ONCE] - mean).sum(axis=0)
    deviation = np.sqrt(total / len(features))
    return mean, deviation + FLAT_SHARE * max(float(deviation.mean()), 1e-6)


def _standardized(features: Features, mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> Features:
    """Features of mean 0 and about deviation 1, in memory or, where that would take too much of it, in a nameless file."""
    scaled = _room(features.shape)
    for start in range(0, len(features), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        scaled[rows] = (features[rows] - mean) / deviation
    return scaled


def _stacked(views: list[Features]) -> Features:
    """All views, stacked along the first axis."""
    if len(views) == 1:
        return views[0]
    rows = sum(len(view) for view in views)
    stacked = _room((rows, views[0].shape[1]))
    return np.concatenate(views, out=stacked)


def _room(shape: tuple[int, ...]) -> Features:
    size = 4 * int(np.prod(shape))
    if size <= RAM_BYTES:
        return np.empty(shape, dtype=np.float32)
    with tempfile.TemporaryFile(prefix="edgetl-") as file:
        reserve(file.fileno(), size)
        return np.memmap(file, dtype=np.float32, mode="r+", shape=shape)
