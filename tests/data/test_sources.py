"""DATA as folders: layouts, parts, and one message that names every culprit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgetl.core.errors import InputError
from edgetl.data.fingerprint import Fingerprint
from edgetl.data.images import Images
from edgetl.data.sources import open_images
from edgetl.settings import DataSettings

SETTINGS = DataSettings()
Photos = Callable[..., Path]


def opened(root: Path, **kwargs: object) -> Images:
    return open_images(str(root), SETTINGS, **kwargs)  # type: ignore[arg-type]


def refused(root: Path | str) -> str:
    with pytest.raises(InputError) as error:
        open_images(str(root), SETTINGS)
    return str(error.value)


def link(at: Path, to: Path) -> None:
    try:
        at.symlink_to(to, target_is_directory=True)
    except OSError as error:
        pytest.skip(f"needs symbolic links: {error}")


def by_folder(images: Images) -> dict[str, dict[str, int]]:
    """Top folder of `where` -> part -> count."""
    found: dict[str, dict[str, int]] = {}
    for ref in images.refs:
        counts = found.setdefault(ref.where.split("/")[0], {})
        counts[ref.part] = counts.get(ref.part, 0) + 1
    return found


def test_class_folders_become_three_parts_with_sorted_classes(photos: Photos) -> None:
    images = opened(photos({"wasps": 20, "ants": 20, "Bees": 20}))
    assert images.classes == ("Bees", "ants", "wasps") and images.name == "photos" and images.flip and images.origin is None
    assert all(images.classes[ref.label] == ref.where.split("/")[0] for ref in images.refs)
    assert len(images) == 60 and all(images.counts().values())
    assert [(ref.part, ref.sha256) for ref in images.refs] == sorted((ref.part, ref.sha256) for ref in images.refs)


def test_adding_files_never_moves_old_ones(photos: Photos) -> None:
    before = {ref.sha256: ref.part for ref in opened(photos({"ants": 40, "bees": 40})).refs}
    after = {ref.sha256: ref.part for ref in opened(photos({"ants": 60, "bees": 30, "wasps": 20}, first=40)).refs}
    assert len(after) == 80 + 110 and all(after[sha] == part for sha, part in before.items())


def test_renaming_files_and_folder_changes_neither_digest_nor_parts(photos: Photos, tmp_path: Path) -> None:
    root = photos({"ants": 20, "bees": 20})
    before = opened(root)
    for path in list((root / "ants").iterdir()):
        path.rename(path.with_name(f"renamed{path.name}"))
    root.rename(tmp_path / "moved")
    after = opened(tmp_path / "moved")
    assert after.digest == before.digest and after.labels.tolist() == before.labels.tolist()


def test_train_val_test_are_used_as_they_are(photos: Photos) -> None:
    root = photos({f"{part}/{label}": 3 for part in ("train", "val", "test") for label in ("ants", "bees")})
    assert by_folder(opened(root)) == {"train": {"train": 6}, "val": {"val": 6}, "test": {"test": 6}}


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "test"])
def test_the_only_other_folder_judges_and_a_fold_of_train_selects(photos: Photos, told: Any, name: str) -> None:
    found = by_folder(opened(photos({"train/ants": 20, "train/bees": 20, f"{name}/ants": 3, f"{name}/bees": 3})))
    assert found[name] == {"test": 6}
    assert found["train"].keys() == {"train", "val"} and sum(found["train"].values()) == 40
    judge = "val is used as the test part; " if name != "test" else ""
    assert f"photos: {judge}a share of train is used as the val part" in told.lines


def test_train_alone_is_split_in_three(photos: Photos) -> None:
    assert opened(photos({"train/ants": 30, "train/bees": 30})).counts().keys() == {"train", "val", "test"}


def test_a_class_may_be_named_train(photos: Photos) -> None:
    assert opened(photos({"train": 20, "bus": 20})).classes == ("bus", "train")


def test_nested_folders_hidden_files_and_other_files(photos: Photos, told: Any) -> None:
    root = photos({"ants/2024/may": 10, "ants": 10, "bees": 20, ".cache": 5, "ants/.thumbs": 5, "__MACOSX/ants": 3})
    (root / "ants" / "notes.txt").write_text("six legs", encoding="utf-8")
    (root / "bees" / ".hidden.png").write_bytes(b"")
    (root / "bees" / "labels.json").write_text("{}", encoding="utf-8")
    (root / "lying.png").write_bytes(b"no matter")
    images = opened(root)
    assert len(images) == 40 and images.classes == ("ants", "bees")
    assert "photos: ignored 2 files that are not images" in told.lines
    assert "photos: ignored 1 images in ./ that are in no class folder" in told.lines


def test_link_loops_are_harmless_and_links_are_followed(photos: Photos, tmp_path: Path) -> None:
    root = photos({"ants": 15, "bees": 15})
    outside = photos({"more": 5}, root="outside")
    link(root / "ants" / "loop", root / "ants")
    link(root / "bees" / "up", root)
    link(root / "itself", root)
    link(root / "ants" / "extra", outside / "more")
    assert len(opened(root)) == 35


def test_exact_copies_in_a_class_collapse(photos: Photos, told: Any) -> None:
    root = photos({"ants": 15, "bees": 15})
    for number in (3, 4):
        (root / "ants" / f"copy{number}.png").write_bytes((root / "ants" / f"00{number}.png").read_bytes())
    assert len(opened(root)) == 30
    assert "photos: left out 2 exact copies within a class" in told.lines


def test_everything_that_is_wrong_is_in_one_message(photos: Photos) -> None:
    root = photos({"train/ants": 12, "train/bees": 12, "val/ants": 2, "val/wasps": 2, "train/flies": 0})
    whole = (root / "train/ants/000.png").read_bytes()
    (root / "train/ants/001.png").write_bytes(b"")
    (root / "train/ants/002.png").write_bytes(whole[:150])
    (root / "train/bees/003.jpg").write_bytes(b"not an image at all")
    (root / "val/ants/same.png").write_bytes(whole)
    (root / "train/bees/same.png").write_bytes((root / "train/ants/005.png").read_bytes())
    message = refused(root)
    for line in (
        "- class folders without images. Add images or delete the folders:\n  train/flies/",
        "- classes missing from a part. Add images of them:\n  bees: not in val\n  flies: not in val",
        "- classes that train does not have. Add them to train or take them out:\n  wasps: in val, not in train",
        "- image files that cannot be decoded. Replace or delete them, or leave them out with --skip-bad-images:\n"
        "  train/ants/001.png: empty file\n  train/ants/002.png: ",
        "  train/bees/003.jpg: no image, or of a kind that cannot be read",
        "- the same image in two classes. Delete it from the wrong one:\n  train/ants/005.png (ants) = train/bees/same.png (bees)",
        "- the same image in two parts. Delete it from one of them, or scores would be too good:\n"
        "  train/ants/000.png (train) = val/ants/same.png (val)",
    ):
        assert line in message
    assert message.startswith(f"expected images that can be used in {root}, found:\n- ")
    assert "0x" not in message


def test_sixty_corrupt_files_are_all_named(photos: Photos) -> None:
    root = photos({"ants": 40, "bees": 40})
    for label in ("ants", "bees"):
        for number in range(30):
            path = root / label / f"{number:03d}.png"
            path.write_bytes(path.read_bytes()[:100])
    message = refused(root)
    assert all(f"{label}/{number:03d}.png: " in message for label in ("ants", "bees") for number in range(30))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
def test_damage_of_any_kind_and_place_is_an_input_error_or_decodes(image: Callable[..., bytes], tmp_path: Path, kind: str) -> None:
    from edgetl.data.hashes import look_or_problem

    whole = image("x", kind, (24, 24))
    assert isinstance(look_or_problem(whole), Fingerprint)
    assert isinstance(look_or_problem(whole[: len(whole) // 2]), str)
    for place in range(0, min(len(whole), 300), 7):
        look_or_problem(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])


def test_fewer_than_two_classes(photos: Photos) -> None:
    assert "- fewer than two classes: ants. A classifier needs at least two." in refused(photos({"ants": 20}))


def test_a_folder_too_high_is_guessed(photos: Photos) -> None:
    root = photos({"set/ants": 20, "set/bees": 20})
    assert (
        f"fewer than two classes: set. A classifier needs at least two. Did you mean {root / 'set'}, which holds the folders ants, bees?"
        in refused(root)
    )


def test_images_without_class_folders(photos: Photos) -> None:
    assert "- no class folders in it (4 images lie directly in it). Put the images of each class into a folder" in refused(photos({".": 4}))


def test_a_part_without_class_folders(photos: Photos) -> None:
    message = refused(photos({"train/ants": 9, "train/bees": 9, "test": 4}))
    assert "- no class folders in test/ (4 images lie directly in it)." in message


def test_no_images_at_all(photos: Photos) -> None:
    root = photos({"ants": 0, "bees": 0})
    message = refused(root)
    assert "class folders without images. Add images or delete the folders:\n  ants/\n  bees/" in message and "- no images." in message
    assert "- no images. Give a folder that holds a folder of images for each class" in refused(_empty(root))


def _empty(root: Path) -> Path:
    folder = root.with_name("nothing")
    folder.mkdir()
    return folder


def test_val_and_test_without_train(photos: Photos) -> None:
    assert "- no train/ beside test/ and val/. Add it" in refused(photos({"val/ants": 3, "val/bees": 3, "test/ants": 2, "test/bees": 2}))


def test_other_folders_with_images_beside_the_parts(photos: Photos) -> None:
    root = photos({"train/ants": 9, "val/ants": 9, "unsorted": 2})
    assert "found other folders with images beside them:\n  unsorted/\nMove them elsewhere" in refused(root)


def test_other_folders_without_images_beside_the_parts_do_no_harm(photos: Photos) -> None:
    root = photos({"train/ants": 12, "train/bees": 12, "val/ants": 3, "val/bees": 3})
    (root / "docs").mkdir()
    assert opened(root).classes == ("ants", "bees")


def test_two_folders_for_one_part(photos: Photos) -> None:
    assert "found:\n  val/ and valid/\nMerge or move one of them" in refused(photos({"train/ants": 3, "val/ants": 3, "valid/ants": 3}))


def test_classes_with_too_few_images(photos: Photos) -> None:
    message = refused(photos({"ants": 1, "bees": 2, "wasps": 20}))
    assert re.search(r"classes with too few images .* 8 are nearly always enough\)\. .*Images found:\n  ants: 1\n  bees: 2$", message)


def test_an_unknown_name_gets_the_nearest_known_one(photos: Photos) -> None:
    root = photos({"ants": 1})
    assert 'found nothing there (did you mean "cifar10"?)' in refused("cifar-10")
    assert 'found nothing there (did you mean "photos"?)' in refused(root.with_name("fotos"))
    assert "expected images at '', found nothing there" in refused("")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    (tmp_path / "a.npz").write_bytes(b"")
    assert "expected a folder of class folders or a CSV (path,label[,part]), found the file" in refused(tmp_path / "a.zip")
    assert "(an .npz holds no images; quantize and verify take one)" in refused(tmp_path / "a.npz")


def test_a_dangling_link_is_named(photos: Photos) -> None:
    root = photos({"ants": 12, "bees": 12})
    link(root / "ants" / "gone.png", root / "nowhere.png")
    assert "  ants/gone.png: cannot be read (" in refused(root)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs permissions that bind this user")
def test_a_folder_that_cannot_be_read_is_named(photos: Photos) -> None:
    root = photos({"ants": 12, "bees": 12, "bees/closed": 2})
    (root / "bees/closed").chmod(0)
    try:
        assert "folders that cannot be read. Mend their permissions:\n" in refused(root)
    finally:
        (root / "bees/closed").chmod(0o755)


def test_heic_photos_are_read(photos: Photos) -> None:
    heif = pytest.importorskip("pillow_heif")
    from PIL import Image

    root = photos({"ants": 12, "bees": 12})
    heif.from_pillow(Image.new("RGB", (64, 64), (10, 200, 30))).save(root / "ants" / "phone.HEIC")
    images = opened(root)
    data = images.source.read("ants/phone.HEIC")
    assert len(images) == 25 and len(data) > 0


def test_a_file_that_has_gone_is_named(photos: Photos) -> None:
    root = photos({"ants": 12, "bees": 12})
    images = opened(root)
    (root / images.refs[0].where).unlink()
    with pytest.raises(InputError, match=r"expected a readable image at .*, found none"):
        images.read(0)


def test_real_photos_have_val_as_the_test_part(shared: Path, tmp_path: Path) -> None:
    images = open_images(str(shared / "data" / "hymenoptera"), SETTINGS, index=tmp_path / "index")
    assert images.counts()["test"] == 153 and images.counts()["train"] + images.counts()["val"] == 245
    assert images.classes == ("ants", "bees")


def test_data_that_is_no_torchvision_set_is_opened_without_torch(photos: Photos) -> None:
    root = photos({"ants": 12, "bees": 12})
    code = (
        "import sys; from pathlib import Path; from edgetl.core.preprocess import imagenet; from edgetl.settings import DataSettings\n"
        "from edgetl.data.sources import open_images; from edgetl.data.calibration import open_calibration\n"
        "open_images(None, DataSettings()); open_images(sys.argv[1], DataSettings()); open_calibration(Path(sys.argv[1]), imagenet())\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else 0)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code, str(root)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_table_without_rows_is_told_what_a_row_is(tmp_path: Path) -> None:
    (table := tmp_path / "photos.csv").write_text("path,label\n")
    assert "- no images. Give a row path,label[,part] for each image" in refused(table)
