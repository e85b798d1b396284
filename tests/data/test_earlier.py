"""Photos that are added to a run move no earlier one, whatever they look like."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgetl.core.errors import InputError
from edgetl.core.files import read_json, write_json
from edgetl.data.earlier import Earlier, write_split
from edgetl.data.images import Images, Part
from edgetl.data.sources import open_images
from edgetl.data.splits import Hashed, assign
from edgetl.settings import DataSettings

Parts = dict[str, Part]


def album(seed: int) -> list[tuple[Hashed, int]]:
    """200 photos of two classes with the scene of each: singles, bursts, and scenes that show both classes."""
    rng = random.Random(seed)
    photos = []
    for number in range(200):
        scene = rng.randrange(110)
        label = "ab"[scene % 2] if rng.random() < 0.95 else "ab"[number % 2]
        sha256 = hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()
        photos.append((Hashed(where=str(number), label=label, sha256=sha256), scene))
    return photos


def groups_among(photos: list[tuple[Hashed, int]]) -> dict[str, str]:
    """Led by the smallest sha256, which may be that of a photo added later."""
    first: dict[int, str] = {}
    for sha256, scene in sorted((photo.sha256, scene) for photo, scene in photos):
        first.setdefault(scene, sha256)
    return {photo.sha256: first[scene] for photo, scene in photos}


def three_steps(seed: int, *, keeps: bool) -> tuple[int, int]:
    """How many photos changed their part while photos were added in three steps; how many scenes lie in two parts."""
    photos, parts, moved = album(seed), Parts(), 0
    for count in (90, 120, 150, 200):
        now = photos[:count]
        refs, problems = assign(
            [photo for photo, _ in now], ("a", "b"), DataSettings(seed=seed), groups_among(now), dict(parts) if keeps else {}
        )
        assert not problems
        found = {ref.sha256: ref.part for ref in refs}
        moved += sum(found.get(sha256) != part for sha256, part in parts.items())
        parts = found
    homes: dict[int, set[Part]] = {}
    for photo, scene in photos:
        if photo.sha256 in parts:
            homes.setdefault(scene, set()).add(parts[photo.sha256])
    assert {"train", "val", "test"} <= set(parts.values())
    return moved, sum(len(of) > 1 for of in homes.values())


def test_photos_added_in_three_steps_move_none_over_100_seeds() -> None:
    assert [three_steps(seed, keeps=True) for seed in range(100)] == [(0, 0)] * 100
    assert sum(three_steps(seed, keeps=False)[0] > 0 for seed in range(100)) > 20  # so that the law above can fail


def hashed(name: str, label: str = "a") -> Hashed:
    return Hashed(where=name, label=label, sha256=hashlib.sha256(name.encode()).hexdigest())


def test_a_photo_that_ties_two_parts_is_left_out_and_said_so_and_one_that_ties_none_follows(told: Any) -> None:
    old = [hashed(f"old {number}") for number in range(40)] + [hashed(f"other {number}", "b") for number in range(40)]
    before = {ref.sha256: ref.part for ref in assign(old, ("a", "b"), DataSettings())[0]}
    train, test = ([image for image in old[:40] if before[image.sha256] == part] for part in ("train", "test"))
    tie, tie_too, follower = hashed("tie"), hashed("tie too"), hashed("follower")
    groups = {image.sha256: image.sha256 for image in old}
    groups |= {image.sha256: tie.sha256 for image in (train[0], test[0], tie, tie_too)}
    groups |= {test[1].sha256: follower.sha256, follower.sha256: follower.sha256}
    refs, problems = assign([*old, tie, tie_too, follower], ("a", "b"), DataSettings(), groups, before)
    after = {ref.sha256: ref.part for ref in refs}
    assert not problems and after == before | {follower.sha256: "test"}
    assert told.lines == [
        "left out 2 new images that look like earlier ones in two different parts. With another --out all images are split anew"
    ]


def parts_of(images: Images) -> Parts:
    return {ref.sha256: ref.part for ref in images.refs}


def test_a_run_folder_keeps_its_split_and_says_why_it_does_not(photos: Callable[..., Path], tmp_path: Path, told: Any) -> None:
    root, split, settings = photos({"ants": 6, "bees": 6}), tmp_path / "split.json", DataSettings()

    def opened(settings: DataSettings) -> Images:
        images = open_images(str(root), settings, earlier=Earlier.read(split, settings).parts)
        write_split(split, images, settings)
        return images

    first = opened(settings)
    assert opened(settings).digest == first.digest  # nothing is new: nothing runs again
    photos({"ants": 30, "bees": 30}, first=6)
    grown = opened(settings)
    assert len(grown) == 72 and parts_of(grown).items() >= parts_of(first).items()
    assert opened(settings).digest == grown.digest
    assert parts_of(open_images(str(root), settings)) != parts_of(grown)  # classes of six had borrowed, which is not given back
    other = settings.but(seed=1)
    assert parts_of(opened(other)) == parts_of(open_images(str(root), other))
    assert "split.json: the images are split anew, because seed changed" in told.lines


@pytest.mark.parametrize("content", [[], {"images": []}, {"images": {"00": ["a", "dog"]}}, {"images": {"00": 1}}])
def test_what_is_no_split_is_refused(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "split.json", content)
    with pytest.raises(InputError, match=r"expected the split \(train, val, test\) of an earlier run in .*split.json, found other content"):
        Earlier.read(tmp_path / "split.json", DataSettings())


def test_a_split_of_before_is_kept_without_its_seed(photos: Callable[..., Path], tmp_path: Path) -> None:
    images = open_images(str(photos({"ants": 12, "bees": 12})), DataSettings())
    write_split(tmp_path / "split.json", images, DataSettings())
    content = read_json(tmp_path / "split.json")
    del content["asked"]
    write_json(tmp_path / "split.json", content)
    assert Earlier.read(tmp_path / "split.json", DataSettings(seed=3)).parts == parts_of(images)
    assert Earlier.read(tmp_path / "none.json", DataSettings()).parts == {}


def test_the_folder_of_one_stage_and_status_read_the_same_split(photos: Callable[..., Path], tmp_path: Path) -> None:
    from edgetl.cli.pipeline import Request, opened, write_record
    from edgetl.settings import PipelineSettings

    root, out, seen = photos({"ants": 6, "bees": 6}), tmp_path / "out", Parts()
    for step in range(3):
        with opened(str(root), out, DataSettings(), tmp_path) as (images, _):
            assert parts_of(images).items() >= seen.items() and len(images) == 12 + 20 * step
        seen = parts_of(images)
        found = read_json(out / "split.json")
        assert found["digest"] == images.digest and {sha256: part for sha256, (_, part) in found["images"].items()} == seen
        photos({"ants": 10, "bees": 10}, first=6 + 10 * step)
        teacher = out / "stages" / "finetune-00" / "checkpoint.safetensors"
        with opened(str(root), tmp_path / f"student {step}", DataSettings(), tmp_path, teacher) as (images, _):
            assert parts_of(images).items() >= seen.items()
    write_record(out, PipelineSettings(), Request(data=str(root), root=tmp_path))
    assert Earlier.read(out / "split.json", read_settings(out)).parts == seen


def read_settings(out: Path) -> DataSettings:
    return DataSettings(**read_json(out / "run.json")["settings"]["data"])
