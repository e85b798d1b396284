"""The meaning of a classifier's outputs (logits, probabilities, ...), from the last operator of the graph and from the values.

| meaning             | outputs                                              | answer            | confidence of a class        |
|---------------------|------------------------------------------------------|-------------------|------------------------------|
| `logits`            | [n, k], any numbers                                  | the largest       | softmax                      |
| `probabilities`     | [n, k], not negative, rows sum to 1                  | the largest       | the output itself            |
| `log_probabilities` | [n, k], the logarithms of those                      | the largest       | softmax                      |
| `sigmoids`          | [n, k], each in [0, 1] by itself                     | the largest       | the output itself            |
| `sigmoid`           | [n, 1] in [0, 1]: the probability of the second class | second above 0.5  | 1 - p and p                  |
| `logit`             | [n, 1]: the log odds of the second class             | second above 0    | 1 - p and p, p their sigmoid |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Meaning = Literal["logits", "probabilities", "log_probabilities", "sigmoids", "sigmoid", "logit"]
Activation = Literal["softmax", "log_softmax", "sigmoid", "linear"]  # what ends a graph
ONE_OUTPUT: frozenset[Meaning] = frozenset({"sigmoid", "logit"})
THRESHOLDS: Mapping[Meaning, float] = {"sigmoid": 0.5, "logit": 0.0}  # above it, one output answers with the second class
ROUNDED = 0.1  # how far the sum of probabilities may be from 1 where the graph says that they are: int8 rounds each of them
SUM_TOLERANCE = 1e-3  # and where nothing but the sum says it


def meaning_of(outputs: NDArray[np.float32], activation: Activation | None) -> Meaning:
    """What outputs [n, k] mean, given the operator that ends the graph (None: one that tells nothing, so that the numbers must)."""
    if outputs.shape[1] == 1:
        return "sigmoid" if activation == "sigmoid" or (activation != "linear" and _within_unit(outputs)) else "logit"
    match activation:
        case "linear":
            return "logits"
        case "sigmoid":
            return "sigmoids"
        case "softmax" if _sums_to_one(outputs, ROUNDED):
            return "probabilities"
        case "log_softmax" if _sums_to_one(np.exp(np.minimum(outputs, 1)), ROUNDED):
            return "log_probabilities"
    return "probabilities" if _sums_to_one(outputs, SUM_TOLERANCE) else "logits"


def in_words(meaning: Meaning) -> str:
    """The meaning for people, as a manifest says it."""
    match meaning:
        case "logits":
            return "logits, one for each class; softmax not applied"
        case "probabilities":
            return "probabilities, one for each class, which sum to 1; softmax is part of the graph"
        case "log_probabilities":
            return "logarithms of probabilities, one for each class; exp makes probabilities of them"
        case "sigmoids":
            return "a value in [0, 1] for each class by itself (sigmoid is part of the graph); they do not sum to 1"
        case "sigmoid":
            return "one number in [0, 1], the probability of the second class; above 0.5 the second class is the answer"
        case "logit":
            return "one number, the log odds of the second class; above 0 the second class is the answer"


def _within_unit(outputs: NDArray[np.float32]) -> bool:
    return bool(outputs.min() >= 0 and outputs.max() <= 1)


def _sums_to_one(outputs: NDArray[np.float32], tolerance: float) -> bool:
    sums = outputs.sum(axis=1, dtype=np.float64)
    return bool(outputs.min() >= 0 and np.all(np.abs(sums - 1) <= tolerance))
