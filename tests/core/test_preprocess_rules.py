"""What a Preprocess may say: each problem is a line in terms of its JSON fields, with what to write instead."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgetl.core.errors import InputError
from edgetl.core.misfit import example_for, refuse_misfit
from edgetl.core.preprocess import Preprocess, imagenet

PLAIN = {"size": 32, "resize": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def refused(**changes: Any) -> list[str]:
    """The lines that say what is wrong."""
    with pytest.raises(InputError) as caught:
        Preprocess.from_json(json.dumps({**PLAIN, **changes}))
    first, *lines = str(caught.value).splitlines()
    assert first == "expected preprocessing as JSON (size, resize, filter, mean, std), found preprocessing that cannot be used:"
    return [line.strip() for line in lines]


UNITS = [
    (
        {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
        "mean, std: [123.675, 116.28, 103.53] and [58.395, 57.12, 57.375] are in units of 0 to 255. "
        'Divided by 255: write "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]',
    ),
    (
        {"mean": [127.5] * 3, "std": [127.5] * 3},
        "mean, std: [127.5, 127.5, 127.5] and [127.5, 127.5, 127.5] are in units of 0 to 255. "
        'Divided by 255: write "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]',
    ),
    (
        {"mean": [104, 117, 123], "std": [1, 1, 1]},
        "mean, std: [104, 117, 123] and [1, 1, 1] are in units of 0 to 255. "
        'Divided by 255: write "mean": [0.407843, 0.458824, 0.482353], "std": [0.00392157, 0.00392157, 0.00392157]',
    ),
    (
        {"mean": [0, 0, 0], "std": [255, 255, 255]},
        'std: [255, 255, 255] is in units of 0 to 255. Divided by 255: write "std": [1, 1, 1]',
    ),
    (
        {"mean": [123.675, 116.28, 103.53], "std": [0.229, 0.224, 0.225]},
        'mean: [123.675, 116.28, 103.53] is in units of 0 to 255. Divided by 255: write "mean": [0.485, 0.456, 0.406]',
    ),
    ({"mean": [300, 0, 0]}, "mean: expected 0 to 1, since pixel values are divided by 255 before, found [300, 0, 0]"),
    ({"mean": [-0.5, 0, 0]}, "mean: expected 0 to 1, since pixel values are divided by 255 before, found [-0.5, 0, 0]"),
    (
        {"std": [0.229 / 255] * 3},
        "std: expected 1/255 (0.00392157) to 1, since pixel values are divided by 255 before, "
        "found [0.000898039, 0.000898039, 0.000898039]. Was it divided by 255 twice? Times 255 it is [0.229, 0.229, 0.229]",
    ),
    ({"std": [0, 1, 1]}, "std: expected 1/255 (0.00392157) to 1, since pixel values are divided by 255 before, found [0, 1, 1]"),
    ({"std": [-1, 1, 1]}, "std: expected 1/255 (0.00392157) to 1, since pixel values are divided by 255 before, found [-1, 1, 1]"),
]


@pytest.mark.parametrize(("changes", "line"), UNITS)
def test_units_of_0_to_255_are_refused_with_the_numbers_to_write(changes: dict[str, Any], line: str) -> None:
    assert refused(**changes) == [line]


@pytest.mark.parametrize("changes", [changes for changes, _ in UNITS[:5]])
def test_the_numbers_to_write_are_accepted_and_give_what_was_meant(changes: dict[str, Any]) -> None:
    write = json.loads("{" + refused(**changes)[0].partition("write ")[2] + "}")
    p = Preprocess.from_json(json.dumps({**PLAIN, **changes, **write}))
    levels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    std = np.array(changes["std"]) if max(changes["std"]) >= 1 else 255 * np.array(changes["std"])
    expected = ((levels - np.array(changes["mean"])) / std).transpose(2, 0, 1)
    np.testing.assert_allclose(p.normalize(levels), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([0, 0, 0], [1, 1, 1]),
        ([0.5] * 3, [0.5] * 3),
        ([0, 0, 0], [1 / 255] * 3),
        ([0.1, 0.2, 0.3], [1.0, 1.0, 0.5]),
        ([1, 1, 1], [1, 1, 1]),
    ],
)
def test_units_of_0_to_1_are_taken(mean: list[float], std: list[float]) -> None:
    assert Preprocess.from_json(json.dumps({**PLAIN, "mean": mean, "std": std})).mean == tuple(mean)


def test_a_std_that_makes_huge_inputs_is_doubted_not_refused() -> None:
    assert imagenet().doubt() is None
    doubt = Preprocess(size=32, resize=32, mean=(0, 0, 0), std=(1 / 255,) * 3).doubt()
    assert doubt is not None and "inputs reach up to 255" in doubt


WRONG = [
    ({"size": "32"}, ['size: expected 8 to 1024 pixels, one number or [height, width], found "32"']),
    ({"size": 32.0}, ["size: expected 8 to 1024 pixels, one number or [height, width], found 32"]),
    ({"size": True}, ["size: expected 8 to 1024 pixels, one number or [height, width], found true"]),
    ({"size": None}, ["size: expected 8 to 1024 pixels, one number or [height, width], found null"]),
    ({"size": [3, 32, 32]}, ["size: expected 8 to 1024 pixels, one number or [height, width], found [3, 32, 32]"]),
    ({"size": 2000}, ["size: expected 8 to 1024 pixels, found 2000", "resize: expected at least size (2000), found 32"]),
    ({"size": [128, 64]}, ["resize: expected at least size ([128, 64]), found 32"]),
    ({"size": [128, 64], "resize": [64, 128]}, ["resize: expected at least size ([128, 64]), found [64, 128]"]),
    ({"resize": [32]}, ["resize: expected pixels, one number or [height, width], found [32]"]),
    ({"resize": 10**6}, ["resize: expected at most 4096 pixels, found 1000000"]),
    ({"mean": "imagenet"}, ['mean: expected three numbers for the color "RGB", found "imagenet"']),
    ({"mean": [0.5, "a", None]}, ['mean: expected three numbers for the color "RGB", found [0.5, "a", null]']),
    ({"mean": [0.5, 0.5]}, ['mean: expected three numbers for the color "RGB", found [0.5, 0.5]']),
    ({"std": [float("nan")] * 3}, ['std: expected three numbers for the color "RGB", found [NaN, NaN, NaN]']),
    ({"std": {"r": 1}}, ['std: expected three numbers for the color "RGB", found {"r": 1}']),
    (
        {"color": "gray", "mean": [0.485, 0.456, 0.406], "std": [1, 1, 1]},
        ['mean: expected one number for the color "gray", found [0.485, 0.456, 0.406]'],
    ),
    ({"filter": 3}, ['filter: expected "bilinear", "bicubic" or "lanczos", found 3']),
    ({"color": "L"}, ['color: expected "RGB" or "gray", found "L". Write "gray"']),
    ({"color": "rgb"}, ['color: expected "RGB" or "gray", found "rgb". Write "RGB"']),
    ({"fit": "stretch"}, ['fit: expected "crop", "squash" or "pad", found "stretch"']),
    (
        {"fit": "pad"},
        ["fill: expected the gray level of the bands that pad adds, 0 to 255 (edgetl's own is 114), found null"],
    ),
    ({"fit": "pad", "fill": 300}, ["fill: expected the gray level of the bands that pad adds, 0 to 255 (edgetl's own is 114), found 300"]),
    ({"fill": 3}, ['fill: expected none where "fit" is "crop", found 3']),
    ({"bits": 24}, ["bits: expected how many bits of 16-bit files are filled, 8 to 16, found 24"]),
    (
        {"gamma": 2},
        ["gamma: unknown; known: size, resize, filter, mean, std, decode, background, color, exif, scale, layout, dtype, fit, fill, bits"],
    ),
]


@pytest.mark.parametrize(("changes", "lines"), WRONG, ids=str)
def test_what_is_wrong_is_said_in_terms_of_json(changes: dict[str, Any], lines: list[str]) -> None:
    assert refused(**changes) == lines


def test_a_name_that_is_nearly_right_is_recognized_and_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match=r'means: unknown \(did you mean "mean"\?\)') as caught:
        Preprocess.from_json('{"size": 32, "means": [0, 0, 0]}')
    assert "resize: missing" in str(caught.value)


def test_bgr_is_refused_with_what_to_do() -> None:
    (line,) = refused(color="BGR")
    assert line == (
        'color: expected "RGB" or "gray", found "BGR". Reverse the input channels of the first Conv (its weight w becomes w[:, ::-1]), '
        'write "color": "RGB", and mean and std in the order red, green, blue; or give an .npz that is already prepared'
    )


def test_gray_takes_one_number_or_three_equal_ones() -> None:
    for mean, std in ((0.5, 0.25), ([0.5], [0.25]), ([0.5] * 3, [0.25] * 3)):
        p = Preprocess.from_json(json.dumps({"size": 28, "resize": 28, "color": "gray", "mean": mean, "std": std}))
        assert (p.mean, p.std, p.shape) == ((0.5,), (0.25,), (1, 28, 28))


def test_a_misfit_names_the_fields_to_change() -> None:
    refuse_misfit(imagenet(), (None, 3, 224, 224), "m.onnx")
    refuse_misfit(imagenet(), (1, None, None, None), "m.onnx")
    with pytest.raises(InputError) as caught:
        refuse_misfit(imagenet(), (None, 1, 128, 64), "m.onnx")
    assert str(caught.value) == (
        "expected preprocessing that gives the input of m.onnx, [n, 1, 128, 64], found preprocessing that gives [n, 3, 224, 224]. "
        'In the preprocessing file write "color": "gray" (mean and std: one number each), '
        '"size": [128, 64] and "resize": [128, 64] (or more); or give an .npz that is already preprocessed'
    )
    with pytest.raises(InputError, match=r'write "size": 28 and "resize": 28 \(or more\); or'):
        refuse_misfit(imagenet(), (None, 3, 28, 28), "m.onnx")
    with pytest.raises(InputError, match=r"takes 4, which image files do not have\. Give an \.npz"):
        refuse_misfit(imagenet(), (None, 4, 224, 224), "m.onnx")


@pytest.mark.parametrize("shape", [(None, 1, 28, 28), (None, 3, 128, 64), (None, 3, None, None), (1, None, 32, None)])
def test_the_example_for_a_model_suits_it(shape: tuple[int | None, ...]) -> None:
    preprocess = Preprocess.from_json(example_for(shape))
    refuse_misfit(preprocess, shape, "m.onnx")
    picture = io.BytesIO()
    Image.new("RGB", (150, 140)).save(picture, "PNG")
    made = preprocess(picture.getvalue()).shape
    assert all(wanted in (None, found) for wanted, found in zip(shape[1:], made, strict=True))
