"""The documented defaults are what `auto` gives, and each says why in one line."""

from __future__ import annotations

import pytest

from edgetl.models import choose
from edgetl.models.build import build, check_architecture
from edgetl.models.choose import choose_student, choose_teacher


@pytest.mark.parametrize(
    ("side", "published", "gpu", "arch", "size"),
    [
        (8, True, False, "cifar_resnet16", 32),
        (64, True, True, "cifar_resnet16", 32),
        (65, True, False, "resnet18", 128),
        (159, True, False, "resnet18", 128),
        (160, True, False, "resnet18", 224),
        (160, True, True, "resnet50", 224),
        (288, False, True, "cifar_resnet16", 64),
        (0, False, False, "cifar_resnet16", 32),
    ],
)
def test_teachers(side: int, published: bool, gpu: bool, arch: str, size: int) -> None:
    choice = choose_teacher(side, 500, published=published, gpu=gpu)
    assert (choice.arch, choice.image_size) == (arch, size)


@pytest.mark.parametrize(
    ("size", "images", "prunable", "arch"),
    [
        (32, 1300, True, "edge_small"),
        (32, 50_000, True, "edge_medium"),
        (64, 245, True, "pruned"),
        (224, 20_000, True, "pruned"),
        (224, 245, False, "edge_medium"),
        (224, 20_000, False, "edge_large"),
    ],
)
def test_students_see_what_the_teacher_sees(size: int, images: int, prunable: bool, arch: str) -> None:
    choice = choose_student("resnet18", size, images, prunable=prunable)
    assert (choice.arch, choice.image_size) == (arch, size)


def test_every_choice_can_be_built_and_gives_a_reason_of_one_line() -> None:
    choices = [choose_teacher(side, images) for side in (20, 100, 300) for images in (100, 100_000)]
    choices += [choose_student(c.arch, c.image_size, images) for c in choices for images in (100, 100_000)]
    for choice in choices:
        if choice.arch != "pruned":
            check_architecture(choice.arch)
        assert choice.reason
        assert "\n" not in choice.reason
    assert build(choices[0].arch, 3, choices[0].image_size) is not None


def test_the_table_in_the_documentation_names_every_default() -> None:
    for word in ("cifar_resnet16", "resnet18", "resnet50", "pruned", "edge_small", "edge_medium", "edge_large", f"{choose.MANY_IMAGES:,}"):
        assert word in (choose.__doc__ or "")
