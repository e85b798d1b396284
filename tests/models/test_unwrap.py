"""Checkpoints as trainers write them: the network's tensors are found, what is taken off is said, code is never run."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.progress import listening
from edgetl.core.seen import SeenImages
from edgetl.models.build import build
from edgetl.models.checkpoint import load_model, save_checkpoint
from edgetl.models.loading import load_into
from edgetl.models.weights import Weights, resolve_weights

from ..conftest import Told

ARCH = "cifar_resnet8"
FIRST = "conv1.weight"


def state(seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return build(ARCH, 3, 32).state_dict()


def prefixed(prefix: str, seed: int = 1) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state(seed).items()}


def given(path: Path) -> Weights:
    return Weights(source=f"file:{path.name}", path=path, sha256="0" * 64, preprocess=None, trained_on=None)


def loaded(content: object, folder: Path) -> tuple[nn.Module, str]:
    """A network with a checkpoint of that content, and what was said about it."""
    torch.save(content, path := folder / "w.pth")
    torch.manual_seed(9)
    with listening(told := Told()):
        report = load_into(model := build(ARCH, 3, 32), given(path))
    assert not report.missing + report.mismatched + report.head
    return model, told.text


def holds(model: nn.Module, seed: int = 1) -> bool:
    """Whether the network's weights are those of `state(seed)`, all of them."""
    own = model.state_dict()
    return all(torch.equal(own[name], value) for name, value in state(seed).items() if "num_batches" not in name)


@pytest.mark.parametrize(
    "prefix",
    [
        "model.",
        "module.",
        "_orig_mod.",
        "_orig_mod.module.",
        "module._orig_mod.model.",
        "model.model.",
        "net.backbone.",
        "_forward_module.model.",
    ],
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "network", "anything"])
def test_prefixes_and_wrappers_are_taken_off_and_said_in_one_line(tmp_path: Path, prefix: str, wrapper: str | None) -> None:
    inside = prefixed(prefix)
    model, said = loaded({wrapper: inside, "epoch": 3, "best": np.float64(0.9)} if wrapper else inside, tmp_path)
    assert holds(model)
    found = f"found under {wrapper}, " if wrapper else ""
    assert said == f"weights: w.pth: {found}prefix {prefix} taken off"


def test_what_else_trainers_write_is_passed_over(tmp_path: Path) -> None:
    torch.manual_seed(1)
    made = build(ARCH, 3, 32)
    optimizer = torch.optim.AdamW(made.parameters())
    made(torch.zeros(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    saved = {key: value.clone() for key, value in made.state_dict().items()}
    lightning = {f"model.{key}": value for key, value in saved.items()} | {
        "criterion.weight": torch.ones(3),
        "accuracy.count": torch.ones(1),
    }
    content = {"state_dict": lightning, "optimizer_states": [optimizer.state_dict()], "hyper_parameters": {"lr": 0.1}, "global_step": 7}
    model, said = loaded(content, tmp_path)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in saved.items() if "num_batches" not in key)
    assert said == "weights: w.pth: found under state_dict, prefix model. taken off"


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema", "ema_state_dict"])
def test_averaged_weights_go_before_plain_ones_and_it_is_said(tmp_path: Path, key: str) -> None:
    model, said = loaded({"state_dict": state(1), key: prefixed("module.", 2) | {"n_averaged": torch.tensor(5)}}, tmp_path)
    assert holds(model, 2) and not holds(model, 1)
    assert said == (
        f"weights: w.pth: found under {key}, prefix module. taken off; "
        "these are the averaged weights, which trainers judge by (the plain ones: state_dict)"
    )


def test_averaged_weights_without_the_norms_statistics_do_not_go_before_whole_ones(tmp_path: Path) -> None:
    shadow = {name: value for name, value in state(2).items() if "running" not in name}
    model, said = loaded({"model": state(1), "ema": {"shadow": shadow}}, tmp_path)
    assert holds(model, 1)
    assert "these are the plain weights, since the averaged ones (ema/shadow) are not complete" in said


def test_two_networks_that_fit_alike_are_not_chosen_between(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected one network in w\.pth, found 2 that fit equally well:\n  student\.\*.*\n  teacher\.\*.*\nSave the one"
    ):
        loaded({"state_dict": prefixed("student.", 1) | prefixed("teacher.", 2)}, tmp_path)
    with pytest.raises(InputError, match=r"found 2 that fit equally well:\n  query\n  key\n"):
        loaded({"query": state(1), "key": state(2)}, tmp_path)


def test_a_wrapper_around_a_part_of_the_network_leaves_its_name_in_the_middle(tmp_path: Path) -> None:
    inner = {name.replace("layer1.", "layer1._orig_mod.").replace("fc.", "fc.module."): value for name, value in state().items()}
    assert inner.keys() != state().keys()
    model, _ = loaded(inner, tmp_path)
    assert holds(model)


def test_the_guard_can_fail_a_strangers_names_are_not_bent_until_they_fit(tmp_path: Path) -> None:
    torch.save({"state_dict": build("edge_tiny", 3, 32).state_dict()}, path := tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"same architecture in w\.pth, found others: \d+ of the network's \d+ tensors .* are in the file"):
        load_into(build(ARCH, 3, 32), given(path))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_it_is_said(tmp_path: Path, dtype: torch.dtype) -> None:
    content = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state().items()}
    model, said = loaded(content, tmp_path)
    assert torch.equal(model.state_dict()[FIRST], state()[FIRST].to(dtype).float())
    assert said == f"weights: w.pth: {str(dtype).removeprefix('torch.')} made float32"


# numbers that are none


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(("value", "word"), [(float("nan"), "1 NaN"), (float("inf"), "1 infinite"), (-float("inf"), "1 infinite")])
def test_weights_that_are_not_finite_are_refused_and_the_tensor_named(tmp_path: Path, suffix: str, value: float, word: str) -> None:
    wrong = state()
    wrong["layer2.0.conv1.weight"][0, 0, 0, 0] = value
    path = tmp_path / f"w{suffix}"
    torch.save(wrong, path) if suffix == ".pth" else save_file(wrong, path)
    model = build(ARCH, 3, 32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        InputError,
        match=rf"expected finite weights in w\{suffix}, found NaN or infinity in 1 of \d+ tensors:\n  layer2\.0\.conv1\.weight: {word} of",
    ):
        load_into(model, given(path))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_half_precision_that_overflowed_is_refused_too(tmp_path: Path) -> None:
    wrong = {name: (value * 1e6).half() if name == FIRST else value for name, value in state().items()}
    with pytest.raises(InputError, match=rf"{FIRST}: \d+ infinite"):
        loaded(wrong, tmp_path)


def test_a_checkpoint_of_nan_is_refused_wherever_a_checkpoint_is_read(tmp_path: Path) -> None:
    model, path = build(ARCH, 3, 32), tmp_path / "checkpoint.safetensors"
    said: dict[str, Any] = {"arch": ARCH, "classes": ("a", "b", "c"), "preprocess": Preprocess(size=32, resize=32)}
    save_checkpoint(path, model=model, seen=SeenImages.of("none"), provenance={}, **said)
    with safe_open(path, framework="pt") as stream:
        metadata = stream.metadata()
    with torch.no_grad():
        model.get_parameter("fc.weight")[0, 0] = float("nan")
    with pytest.raises(InputError, match="finite weights"):
        save_checkpoint(path, model=model, seen=SeenImages.of("none"), provenance={}, **said)
    save_file(model.state_dict(), path, metadata=metadata)  # as another program might
    with pytest.raises(InputError, match=r"expected finite weights in checkpoint\.safetensors, .*\n  fc\.weight: 1 NaN"):
        load_model(path)


# what needs code


class Trap:
    """What runs when somebody unpickles it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder / "CODE_RAN"),)


def refusal(content: object, path: Path, **how: Any) -> str:
    torch.save(content, path, **how)
    with pytest.raises(InputError) as caught:
        resolve_weights(ARCH, str(path), path.parent)
    message = str(caught.value)
    assert "\x1b" not in message and "weights_only load failed" not in message.lower()
    return message


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "before 1.6"])
@pytest.mark.parametrize(
    ("shape", "named"),
    [("arguments", "argparse.Namespace"), ("module in a key", "edgetl.models.resnet"), ("module", "edgetl.models.resnet")],
)
def test_a_pickle_that_needs_code_is_refused_with_the_line_that_converts_it(
    tmp_path: Path, shape: str, named: str, how: dict[str, Any]
) -> None:
    torch.manual_seed(1)
    net = build(ARCH, 3, 32)
    content = {
        "arguments": {"epoch": 1, "model": net.state_dict(), "args": argparse.Namespace(lr=0.1)},
        "module in a key": {"epoch": 1, "optimizer": None, "network": net},
        "module": net,
    }[shape]
    message = refusal(content, path := tmp_path / "it's mine.pth", **how)
    assert f"that can be read without running its code, found a pickle that needs code ({named}" in message
    assert "If you trust its author, convert it with this line, which runs its code" in message
    words = shlex.split(message.splitlines()[-1])
    assert words[:2] == ["python", "-c"]
    exec(words[2], {})  # what `python -c` does, without another start of torch
    load_into(model := build(ARCH, 3, 32), given(path.with_name("it's mine-weights.pth")))
    assert holds(model)


def test_no_code_is_run_to_say_so(tmp_path: Path) -> None:
    message = refusal({"model": state(), "trap": Trap(tmp_path)}, tmp_path / "w.pth")
    assert "found a pickle that needs code (posix.mkdir)" in message.replace("nt.mkdir", "posix.mkdir")
    assert not (tmp_path / "CODE_RAN").exists()
    torch.load(tmp_path / "w.pth", weights_only=False)  # the guard can fail: the trap works
    assert (tmp_path / "CODE_RAN").exists()


def test_a_pickle_with_nothing_but_code_gets_no_line(tmp_path: Path) -> None:
    assert "and has no weights outside of it. Save the weights with torch.save(" in refusal(
        {"args": argparse.Namespace(lr=1)}, tmp_path / "w.pth"
    )


# what is something else


def other_files(folder: Path) -> dict[Path, str]:
    """Files that hold no state dict, and what each is called."""
    model = onnx.helper.make_model(onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [], []))
    contents = {
        "empty.pth": (b"", "an empty file"),
        "keras.pth": (b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file, as Keras writes"),
        "lite.pt": (bytes(4) + b"TFL3" + bytes(50), "a TensorFlow Lite model"),
        "pointer.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        "page.bin": (b"\n<!DOCTYPE html><html>", "a web page"),
        "net.onnx": (model.SerializeToString(), "an ONNX model"),
        "renamed.pth": (model.SerializeToString(), "an ONNX model"),
        "model.safetensors.index.json": (
            json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}).encode(),
            "in 2 other files",
        ),
        "config.json": (b"{}", "a JSON file"),
        "cut.pth": (b"PK\x03\x04" + bytes(90), "damaged or of another kind"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    kinds = {folder / name: kind for name, (_, kind) in contents.items()}
    np.savez(folder / "arrays.npz", x=np.zeros(3))
    save_file({"a": torch.zeros(1)}, folder / "tensors.pth")
    with zipfile.ZipFile(folder / "photos.pth", "w") as archive:
        archive.writestr("a/b.png", b"")
    torch.jit.script(nn.Linear(2, 2)).save(str(folder / "script.pt"))
    return kinds | {
        folder / "arrays.npz": "NumPy arrays",
        folder / "tensors.pth": "found a safetensors file. Rename it to tensors.safetensors",
        folder / "photos.pth": "a zip archive",
        folder / "script.pt": "a TorchScript program",
    }


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_files_of_other_kinds_are_named_for_what_they_are(tmp_path: Path) -> None:
    for path, kind in other_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            resolve_weights(ARCH, str(path), tmp_path)
        assert kind in str(caught.value), (path.name, str(caught.value))


def test_quantized_tensors_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"found quantized tensors:\n  {FIRST}\nGive the weights before quantization"):
        loaded(state() | {FIRST: torch.quantize_per_tensor(state()[FIRST], 0.1, 0, torch.qint8)}, tmp_path)
