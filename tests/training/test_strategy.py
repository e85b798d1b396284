"""Laws of strategies, of unbalanced classes, and of the work that goes into the network from scratch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgetl.data.pixels import PixelSet
from edgetl.settings import FinetuneSettings
from edgetl.training.balance import balance_for, class_weights, image_shares
from edgetl.training.scratch import work_within
from edgetl.training.strategy import HeadScore, decide, groups

HUNDRED = np.array([0] * 90 + [1] * 10)


def test_a_strategy_that_is_asked_for_is_taken() -> None:
    assert decide("staged", HeadScore(score=1.0, images=10, val=5)).strategy == "staged"


def test_without_pretrained_weights_all_learns() -> None:
    assert decide("auto", None).strategy == "full"


@pytest.mark.parametrize(
    ("score", "val", "expected"),
    [(0.95, 34, "features"), (0.7, 34, "full"), (0.95, 5000, "staged"), (1.0, 5000, "features")],
)
def test_auto_trains_deeper_only_where_val_can_tell(score: float, val: int, expected: str) -> None:
    decision = decide("auto", HeadScore(score=score, images=7 * val, val=val))
    assert decision.strategy == expected
    assert f"{score:.1%} of {7 * val} images" in decision.reason and f"on {val} val images is" in decision.reason


def test_few_images_of_a_rare_class_tell_little_however_many_the_others_are() -> None:
    plain, rare = HeadScore(score=0.8, images=900, val=300), HeadScore(score=0.8, images=900, val=300, worth=12.0)
    assert decide("auto", plain).strategy == "full"
    decision = decide("auto", rare)
    assert decision.strategy == "features"
    assert (
        "on 300 val images (they count as 12: classes are unbalanced, or images look alike) is 11.2 points: they could not show such a gain"
        in decision.reason
    )


def test_staged_lets_one_block_more_learn_each_time_from_the_head_down() -> None:
    blocks = [[nn.Parameter(torch.zeros(1))] for _ in range(6)]
    staged, full = groups(blocks, "staged", 0.5), groups(blocks, "full", 0.5)
    assert [group.begins for group in staged] == pytest.approx([0.5, 0.375, 0.25, 0.125, 0, 0])
    assert [group.begins for group in full] == [0] * 6
    assert [group.scale for group in staged] == [0.5**5, 0.5**4, 0.5**3, 0.5**2, 0.5, 1]


def test_auto_balances_from_100_images_90_against_10_and_leaves_even_classes_alone() -> None:
    assert balance_for("auto", HUNDRED, 2) == "sampling"
    assert balance_for("auto", np.array([0] * 55 + [1] * 45), 2) == "none"
    assert balance_for("none", HUNDRED, 2) == "none" and balance_for("loss", HUNDRED, 2) == "loss"


def test_weighted_classes_weigh_the_same_and_images_one_on_average() -> None:
    weights = class_weights(HUNDRED, 2)
    assert weights[0] * 90 == pytest.approx(weights[1] * 10)
    assert weights[HUNDRED].mean() == pytest.approx(1)
    assert image_shares(HUNDRED, 2)[HUNDRED == 1].sum() == pytest.approx(50)


def test_the_network_from_scratch_costs_at_most_a_quarter() -> None:
    images, passes = 200, 200 * 3 * 12
    epochs, used = work_within(passes, images, 32, 32)
    assert (epochs, used) == (3, images) and 3 * used * epochs <= passes / 4
    assert work_within(passes, images, 224, 64) == (30, images)  # shrunk images: many more, up to a limit
    assert work_within(10, images, 32, 32) == (1, images)  # a small set is seen once
    epochs, used = work_within(2 * 40_000, 40_000, 32, 32)  # features of a large set, computed twice
    assert epochs == 1 and 500 < used < 40_000 and 3 * used <= 2 * 40_000 / 4


def test_some_images_are_spread_over_all() -> None:
    images = PixelSet(torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1), torch.arange(10))
    assert images.spread(4).labels.tolist() == [0, 2, 5, 7] == images.spread(4).pixels.flatten().tolist()
    assert images.spread(10) is images


@pytest.mark.parametrize(
    ("weights", "size", "adapts"), [("package", 160, True), ("package", 224, False), ("none", 160, False), ("package", None, False)]
)
def test_where_a_network_has_to_adapt_all_of_it_learns_longer_and_faster(weights: str, size: int | None, adapts: bool) -> None:
    settings = FinetuneSettings(weights=weights, image_size=size)
    found = settings.resolved()
    assert (found.epochs_for(1000), found.layer_decay, found.patience) == ((12, 0.8, None) if adapts else (9, 0.6, 8))
    given = settings.but(epochs=2, layer_decay=0.5, patience=3).resolved()
    assert (given.epochs_for(1000), given.layer_decay, given.patience) == (2, 0.5, 3)
