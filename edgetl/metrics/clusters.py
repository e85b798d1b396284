"""The effective number of images that come in groups: ten frames of one burst tell less than ten photos. numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Groups = NDArray[np.int64]
PRIOR_GROUPS = 1  # groups of equal answers that the estimate begins with: what they add was chosen by simulation (docs/adr/0029)


def group_numbers(hashes: Sequence[str], groups: Iterable[Sequence[str]]) -> Groups:
    """int64 [n]: the group of each image, those of `groups` (by sha256) together, every other image alone."""
    leader = {sha: members[0] for members in groups for sha in members}
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(leader.get(sha, sha), len(numbers)) for sha in hashes], dtype=np.int64)


def distinct(images: int, groups: Groups | None) -> int:
    """How many images there are if near-duplicates, of one number in `groups` int64 [images], count once."""
    return images if groups is None else len(np.unique(groups))


def design_effect(values: NDArray[np.bool_] | NDArray[np.int64], groups: Groups | None) -> float:
    """The factor by which groups widen the variance of the mean of `values`: n images tell as much as n / factor independent ones.

    1 + rho (sum n_g^2 / n - 1) for groups of n_g images (Donner & Klar 2000, "Design and Analysis of Cluster Randomization Trials";
    dividing counts by it: Rao & Scott 1992, "A simple method for the analysis of clustered binary data", Biometrics 48:577-585).
    rho, the correlation of two images of one group, is the mean product of their distances from the mean, over the variance. Few
    images that differ from the rest cannot show that it is small, since the groups that differ as a whole may be those that were not
    seen: rho is drawn towards 1 as if `PRIOR_GROUPS` more had been seen in which all images answer alike, beside as many groups as
    the images that differ would fill. It is 1 where nothing differs.

    Args:
        values: one for each image, [n]: whether it is right, or -1, 0, 1 for gained, neither, lost.
        groups: int64 [n]; None: every image is alone.
    """
    if groups is None or not len(values):
        return 1.0
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    pairs = float((sizes * (sizes - 1)).sum())
    if not pairs:
        return 1.0
    given = values.astype(np.float64)
    differs = values != _most_frequent(values)
    apart, variance = given - given.mean(), float(given.var())
    filled = float((np.bincount(group, weights=differs, minlength=len(sizes)) / sizes)[sizes > 1].sum())
    sums = np.bincount(group, weights=apart, minlength=len(sizes))
    rho = (float((sums**2).sum() - (apart**2).sum()) / (pairs * variance)) if variance > 0 else 1.0
    drawn = (filled * min(max(rho, 0.0), 1.0) + PRIOR_GROUPS) / (filled + PRIOR_GROUPS)
    return 1.0 + drawn * pairs / len(values)


def _most_frequent(values: NDArray[np.bool_] | NDArray[np.int64]) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])
