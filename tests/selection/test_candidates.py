"""The documented defaults are what `auto` gives, and each says why in one line."""

from __future__ import annotations

import pytest

from edgetl.models.build import build, check_architecture
from edgetl.models.channel_groups import parameter_count
from edgetl.selection import candidates as choose
from edgetl.selection.candidates import WeightSource, choose_student, choose_teacher


@pytest.mark.parametrize(
    ("side", "source", "arch", "size"),
    [
        (8, "installed", "cifar_resnet16", 32),
        (64, "published", "cifar_resnet16", 32),
        (65, "installed", "efficientnet_lite0", 160),
        (159, "installed", "efficientnet_lite0", 160),
        (160, "installed", "efficientnet_lite2", 260),
        (159, "published", "resnet18", 128),
        (160, "published", "resnet18", 224),
        (288, "embedded", "cifar_resnet16", 64),
        (0, "embedded", "cifar_resnet16", 32),
    ],
)
def test_teachers(side: int, source: WeightSource, arch: str, size: int) -> None:
    choice = choose_teacher(side, 500, source=source)
    assert (choice.arch, choice.image_size) == (arch, size)


@pytest.mark.parametrize(("teacher_size", "size"), [(260, 224), (160, 160)])
def test_the_student_of_an_efficientnet_lite_is_a_shorter_one_and_sees_224_pixels_at_most(teacher_size: int, size: int) -> None:
    choice = choose_student("efficientnet_lite2", teacher_size, 245, 2)
    assert (choice.arch, choice.image_size, choice.keep) == ("efficientnet_lite0_short", size, 0.52)


@pytest.mark.parametrize(
    ("side", "arch"), [(65, "efficientnet_lite0_early"), (159, "efficientnet_lite0_early"), (160, "efficientnet_lite0_short")]
)
def test_images_with_little_detail_get_the_early_student_whole(side: int, arch: str) -> None:
    choice = choose_student("efficientnet_lite0", 160, 1000, 5, side=side)
    assert (choice.arch, choice.image_size, choice.keep is None) == (arch, 160, side < 160)


@pytest.mark.parametrize("classes", [2, 14, 100, 1000])
def test_the_default_student_stays_below_a_megabyte_however_large_its_head_is(classes: int) -> None:
    choice = choose_student("efficientnet_lite2", 260, 5000, classes)
    assert choice.keep is not None and (choice.keep == 0.52) == (classes == 2)
    parameters = parameter_count(build(choice.arch, classes, choice.image_size))
    assert 0.99 * choose.SHORT_PARAMETERS < choice.keep * parameters <= choose.SHORT_PARAMETERS


@pytest.mark.parametrize(
    ("size", "side", "images", "prunable", "arch"),
    [
        (32, 8, 1300, True, "edge_small"),
        (32, 16, 1300, True, "edge_small"),
        (32, 17, 1300, True, "pruned"),
        (32, 32, 3000, True, "pruned"),
        (32, 32, 3000, False, "edge_small"),
        (32, 500, 245, True, "pruned"),
        (32, 32, 50_000, True, "edge_medium"),
        (64, 500, 245, True, "pruned"),
        (224, 500, 20_000, True, "pruned"),
        (224, 500, 245, False, "edge_medium"),
        (224, 500, 20_000, False, "edge_large"),
    ],
)
def test_students_see_what_the_teacher_sees(size: int, side: int, images: int, prunable: bool, arch: str) -> None:
    choice = choose_student("resnet18", size, images, 5, side=side, prunable=prunable)
    assert (choice.arch, choice.image_size) == (arch, size)


def test_every_choice_can_be_built_and_gives_a_reason_of_one_line() -> None:
    choices = [choose_teacher(side, images) for side in (20, 100, 300) for images in (100, 100_000)]
    choices += [choose_student(c.arch, c.image_size, images, 5) for c in choices for images in (100, 100_000)]
    for choice in choices:
        if choice.arch != "pruned":
            check_architecture(choice.arch)
        assert choice.reason
        assert "\n" not in choice.reason
    assert build(choices[0].arch, 3, choices[0].image_size) is not None


def test_the_table_in_the_documentation_names_every_default() -> None:
    for word in (
        "cifar_resnet16",
        "resnet18",
        "efficientnet_lite0",
        "efficientnet_lite2",
        "efficientnet_lite0_short",
        "pruned",
        "edge_small",
        "edge_medium",
        "edge_large",
        f"{choose.MANY_IMAGES:,}",
    ):
        assert word in (choose.__doc__ or "")
