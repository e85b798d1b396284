"""Near-duplicates: what looks alike is found, what does not is not, and a group never straddles parts."""

from __future__ import annotations

import hashlib
import io
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from edgetl.core.imagefile import decode
from edgetl.data.fingerprint import Fingerprint, look_of
from edgetl.data.images import Images
from edgetl.data.near import BURST_BITS, BURST_S, COPY_BITS, WHOLE, grouped, led
from edgetl.data.sources import open_images
from edgetl.data.splits import Hashed, assign, groups_in
from edgetl.settings import DataSettings

SETTINGS = DataSettings()


def scene(name: str, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A smooth picture with structure at all scales, as photos have; its content follows from `name`."""
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    total = np.zeros((size[1], size[0], 3))
    for side in (3, 6, 12, 24, 48):
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
        total += np.asarray(noise, dtype=np.float64) / side**0.8
    return Image.fromarray((255 * (total - total.min()) / np.ptp(total)).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))


def jpeg(image: Image.Image, quality: int = 90, taken: str | None = None) -> bytes:
    exif = Image.Exif()
    if taken:
        exif.get_ifd(0x8769)[0x9003] = taken
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, exif=exif)
    return stream.getvalue()


def copies(image: Image.Image) -> dict[str, Image.Image]:
    width, height = image.size
    return {
        "poor quality": Image.open(io.BytesIO(jpeg(image, 30))),
        "half size": image.resize((width // 2, height // 2)),
        "brighter": ImageEnhance.Brightness(image).enhance(1.15),
        "gray": image.convert("L").convert("RGB"),
        "cropped": image.crop((2, 2, width - 2, height - 2)),
    }


def bits(look: Fingerprint) -> np.ndarray:
    return np.array([int(digit, 16) >> shift & 1 for digit in look.bits for shift in (3, 2, 1, 0)])


def distance(one: Fingerprint, other: Fingerprint) -> int:
    return int((bits(one) != bits(other)).sum())


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [scene(f"scene {number}") for number in range(60)]


def test_copies_are_near_and_other_scenes_are_far(scenes: list[Image.Image]) -> None:
    looks = [look_of(image) for image in scenes]
    for image, look in zip(scenes[:10], looks, strict=False):
        for kind, copy in copies(image).items():
            assert distance(look, look_of(copy)) <= COPY_BITS, kind
    assert min(distance(a, b) for i, a in enumerate(looks) for b in looks[:i]) > COPY_BITS


def test_groups_by_hash_are_small_components_of_the_near_pairs_and_long_chains_are_cut() -> None:
    rng = random.Random(0)
    looks = [Fingerprint(bits=rng.randbytes(32).hex(), taken=rng.choice([None, 0, 3, 100])) for _ in range(300)]
    for _ in range(600):  # chains: each a few bits from some other
        base = bytearray.fromhex(rng.choice(looks).bits)
        for _flip in range(rng.choice([20, 45, 55, 75, 90])):
            base[rng.randrange(32)] ^= 1 << rng.randrange(8)
        looks.append(Fingerprint(bits=base.hex(), taken=rng.choice([None, 4, 7, 101])))
    found = grouped(looks)
    table = np.stack([bits(look) for look in looks])
    far = (table[:, None] != table[None]).sum(-1)
    taken = np.array([np.nan if look.taken is None else look.taken for look in looks])
    near = {(int(one), int(other)) for one, other in found.pairs}
    for pair in near:
        assert far[pair] <= BURST_BITS and (far[pair] <= COPY_BITS or abs(taken[pair[0]] - taken[pair[1]]) <= BURST_S)
    close = {(int(one), int(other)) for one, other in np.argwhere(far <= 50) if one < other}
    assert close <= near  # random pairs differ in 128 +- 8 bits, so that the bound is hardly below COPY_BITS
    component = list(range(len(looks)))
    for one, other in near:  # flood fill, the slow way
        if component[one] != component[other]:
            old, new = component[other], component[one]
            component = [new if group == old else group for group in component]
    sizes = Counter(component)
    assert max(sizes.values()) > WHOLE and len(sizes) > 200
    for number, size in sizes.items():
        members = [index for index, of in enumerate(component) if of == number]
        if size <= WHOLE:
            assert len(set(found.group[members])) == 1
        for member in members:
            leader = int(found.group[member])
            assert leader in members and (size <= WHOLE or leader == member or (leader, member) in near)


def test_order_does_not_matter_and_the_first_taken_leads() -> None:
    rng = random.Random(1)
    base = rng.randbytes(32).hex()
    looks = {f"{number:02d}": Fingerprint(bits=base, taken=taken) for number, taken in enumerate([None, 900, 30, 30, None])}
    looks |= {"aa": Fingerprint(bits=rng.randbytes(32).hex())}
    for _ in range(5):
        shuffled = dict(rng.sample(sorted(looks.items()), len(looks)))
        assert led(shuffled)[0] == {**dict.fromkeys(["00", "01", "02", "03", "04"], "02"), "aa": "aa"}
    assert led({})[0] == {}


def test_the_time_comes_from_exif_and_a_damaged_one_is_no_error(scenes: list[Image.Image]) -> None:
    assert look_of(decode(jpeg(scenes[0], taken="1970:01:02 00:00:07"))).taken == 86407
    assert look_of(decode(jpeg(scenes[0], taken="yesterday"))).taken is None
    assert look_of(decode(jpeg(scenes[0]))).taken is None


@pytest.fixture
def album(tmp_path: Path, scenes: list[Image.Image]) -> Path:
    """Two classes of 30 scenes; ten scenes of each also as a poor copy and as a small one."""
    for number, image in enumerate(scenes):
        folder = tmp_path / "album" / ("ants" if number % 2 else "bees")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:02d}.jpg").write_bytes(jpeg(image))
        if number < 20:
            (folder / f"{number:02d}-poor.jpg").write_bytes(jpeg(image, 30))
            (folder / f"{number:02d}-small.png").write_bytes(png(image.resize((80, 60))))
    return tmp_path / "album"


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def parts_by_scene(images: Images) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for ref in images.refs:
        found.setdefault(Path(ref.where).stem.split("-")[0], set()).add(ref.part)
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_scene_straddles_parts_and_all_parts_are_filled(album: Path, told: Any, seed: int) -> None:
    images = open_images(str(album), DataSettings(seed=seed))
    parts = parts_by_scene(images)
    assert len(images) == 100 and all(len(of) == 1 for of in parts.values()) and set.union(*parts.values()) == {"train", "val", "test"}
    assert (images.intake.near_duplicates, images.intake.near_duplicates_across_parts) == (60, 0)
    assert "album: 60 near-duplicates (resized copies, bursts); each group of them is kept in one part" in told.lines


def test_without_grouping_the_same_album_would_straddle(album: Path) -> None:
    images = open_images(str(album), SETTINGS)
    ungrouped, _ = assign(
        [Hashed(where=ref.where, label=images.classes[ref.label], sha256=ref.sha256) for ref in images.refs], images.classes, SETTINGS
    )
    assert any(len(parts) > 1 for parts in parts_by_scene(Images(name="", classes=(), refs=ungrouped, source=images.source)).values())


def test_the_index_remembers_looks(album: Path, tmp_path: Path, told: Any) -> None:
    first = open_images(str(album), SETTINGS, index=tmp_path / "index")
    told.advanced.clear()
    again = open_images(str(album), SETTINGS, index=tmp_path / "index")
    assert "read images" not in told.advanced and again.digest == first.digest and again.intake == first.intake


def test_adding_unlike_photos_moves_none_and_a_later_burst_follows_the_first_photo(album: Path) -> None:
    rng = random.Random(3)
    for path in list(album.rglob("*.jpg")):  # photos of a camera with a clock
        if "-" not in path.stem:
            taken = f"2024:05:{int(path.stem) % 28 + 1:02d} 10:{int(path.stem):02d}:00"
            path.write_bytes(jpeg(Image.open(path), taken=taken))
    before = {ref.where: ref.part for ref in open_images(str(album), SETTINGS).refs}
    for number in range(60, 90):
        (album / rng.choice(["ants", "bees"]) / f"{number}.jpg").write_bytes(jpeg(scene(f"scene {number}")))
    for path in sorted(album.rglob("[2-5]?.jpg")):
        image = Image.open(path)
        path.with_name(f"{path.stem}-later.jpg").write_bytes(jpeg(image, 60, taken="2025:01:01 00:00:00"))
    images = open_images(str(album), SETTINGS)
    after = {ref.where: ref.part for ref in images.refs}
    assert len(after) == 100 + 30 + 40 and all(after[where] == part for where, part in before.items())
    assert all(len(parts) == 1 for parts in parts_by_scene(images).values())


def test_near_copies_across_brought_parts_are_named_and_counted(tmp_path: Path, scenes: list[Image.Image], told: Any) -> None:
    for number, image in enumerate(scenes):
        part, label = "test" if number < 10 else "train", "ants" if number % 2 else "bees"
        (tmp_path / "x" / part / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / part / label / f"{number}.jpg").write_bytes(jpeg(image))
    (tmp_path / "x/train/ants/copy.jpg").write_bytes(jpeg(scenes[1], 40))
    images = open_images(str(tmp_path / "x"), SETTINGS)
    assert images.intake.near_duplicates_across_parts == 2 and images.counts()["test"] == 10
    line = next(line for line in told.lines if "different parts" in line)
    assert line.startswith("x: 2 near-duplicates are in different parts, so scores may be too high:\n")
    assert "test/ants/1.jpg (test)" in line and "train/ants/copy.jpg (" in line


def hashed(label: str, looks: list[Fingerprint], salt: str = "") -> list[Hashed]:
    names = [f"{label}/{salt}{number}" for number in range(len(looks))]
    return [Hashed(where=n, label=label, sha256=hashlib.sha256(n.encode()).hexdigest(), look=k) for n, k in zip(names, looks, strict=True)]


def unlike(count: int, seed: int) -> Iterator[Fingerprint]:
    rng = random.Random(seed)
    return (Fingerprint(bits=rng.randbytes(32).hex()) for _ in range(count))


def test_a_class_that_looks_all_alike_is_split_one_by_one_and_said_so(told: Any) -> None:
    images = hashed("alike", [Fingerprint(bits="0f" * 32)] * 40) + hashed("other", list(unlike(40, 4)))
    refs, problems = assign(images, ("alike", "other"), SETTINGS, groups_in(images))
    assert not problems and {ref.part for ref in refs if ref.label == 0} == {"train", "val", "test"}
    assert told.lines == ["alike: nearly all of its 40 images look alike, so they are split one by one; scores may be too high"]


@pytest.mark.parametrize("seed", range(8))
def test_a_group_of_more_than_half_a_class_trains(seed: int) -> None:
    images = hashed("a", [Fingerprint(bits="0f" * 32)] * 25 + list(unlike(20, seed)), salt=str(seed)) + hashed(
        "b", list(unlike(30, 100 + seed))
    )
    refs, problems = assign(images, ("a", "b"), DataSettings(seed=seed), groups_in(images))
    large = {image.sha256 for image in images[:25]}
    assert not problems and {ref.part for ref in refs if ref.sha256 in large} == {"train"}
    assert {ref.part for ref in refs if ref.label == 0} == {"train", "val", "test"}


@pytest.mark.parametrize("seed", range(8))
def test_a_scene_in_two_classes_stays_in_one_part(seed: int) -> None:
    pairs = list(unlike(12, seed))
    images = hashed("a", pairs + list(unlike(9, 50 + seed))) + hashed("b", pairs + list(unlike(9, 80 + seed)))
    refs, problems = assign(images, ("a", "b"), DataSettings(seed=seed), groups_in(images))
    part = {ref.where: ref.part for ref in refs}
    assert not problems and all(part[f"a/{number}"] == part[f"b/{number}"] for number in range(12))
