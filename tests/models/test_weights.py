"""Weights go where they fit, strangers are turned away, what is published is what torchvision publishes."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model_weights, googlenet
from torchvision.models.vision_transformer import VisionTransformer

from edgetl.core.canonical import digest_of
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.models.build import build
from edgetl.models.download import Unreachable, fetch_published
from edgetl.models.loading import load_into
from edgetl.models.published import published_preprocess
from edgetl.models.weights import Weights, resolve_weights

CLASSES = ("ape", "bee", "cat")


def trained(classes: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return build("cifar_resnet8", classes, 32).state_dict()


def given(path: Path, classes: tuple[str, ...] | None = None) -> Weights:
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    return Weights(source=f"file:{path.name}", path=path, sha256=sha, preprocess=None, trained_on=None, classes=classes)


def fresh(classes: int = 3) -> nn.Module:
    torch.manual_seed(2)
    return build("cifar_resnet8", classes, 32)


@pytest.mark.parametrize("wrap", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_state_dicts_are_read_however_they_were_wrapped(tmp_path: Path, wrap: str | None, prefix: str) -> None:
    state = {prefix + name: value for name, value in trained().items()}
    torch.save({wrap: state, "epoch": 3} if wrap else state, path := tmp_path / "w.pth")
    model = fresh()
    report = load_into(model, given(path))
    assert not report.missing + report.mismatched + report.unused + report.head
    assert all(torch.equal(model.state_dict()[name], value) for name, value in trained().items() if "num_batches" not in name)


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    save_file({name: value.half() for name, value in trained().items() if value.is_floating_point()}, path := tmp_path / "w.safetensors")
    model = fresh()
    report = load_into(model, given(path))
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert torch.equal(model.state_dict()["conv1.weight"], trained()["conv1.weight"].half().float())
    assert report.line() == f"loaded {len(report.matched)} pretrained tensors from file:w.safetensors"


def test_a_head_for_another_number_of_classes_is_left_out_and_reported(tmp_path: Path) -> None:
    torch.save(trained(), path := tmp_path / "w.pth")
    model = fresh(5)
    head = model.state_dict()["fc.weight"].clone()
    report = load_into(model, given(path))
    assert report.head == ("fc.bias", "fc.weight")
    assert torch.equal(model.state_dict()["fc.weight"], head)
    assert "the head is new" in report.line()


def test_a_file_without_a_head_fits_all_the_same(tmp_path: Path) -> None:
    save_file({name: value for name, value in trained().items() if not name.startswith("fc.")}, path := tmp_path / "w.safetensors")
    report = load_into(fresh(), given(path))
    assert report.head == ("fc.bias", "fc.weight") and report.missing == ()
    assert report.line() == f"loaded {len(report.matched)} pretrained tensors from file:w.safetensors; the head is new"


@pytest.mark.parametrize(("classes", "taken"), [(CLASSES, True), (("1", "2", "3"), False), (None, False)])
def test_a_head_for_other_classes_is_left_out_though_it_is_as_wide(tmp_path: Path, classes: tuple[str, ...] | None, taken: bool) -> None:
    torch.save(trained(), path := tmp_path / "w.pth")
    report = load_into(fresh(), given(path, CLASSES), classes)
    assert (report.head == ()) == taken


@pytest.mark.parametrize(
    ("saved_as", "into"), [("cifar_resnet8", "cifar_resnet20"), ("cifar_resnet20", "cifar_resnet8"), ("edge_tiny", "cifar_resnet8")]
)
def test_weights_of_another_network_are_refused_with_how_much_fitted(tmp_path: Path, saved_as: str, into: str) -> None:
    torch.save(build(saved_as, 3, 32).state_dict(), path := tmp_path / "w.pth")
    model = build(into, 3, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=r"same architecture in w\.pth, found others: \d+ of the network's \d+ tensors .* are in the file"):
        load_into(model, given(path))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    (noise := tmp_path / "n.safetensors").write_bytes(b"no")
    (text := tmp_path / "t.pth").write_text("no", encoding="utf-8")
    torch.save([1, 2], listed := tmp_path / "l.pth")
    torch.save({"epoch": 3}, empty := tmp_path / "e.pth")
    torch.save(fresh(), code := tmp_path / "c.pth")  # a pickled module: reading it would run code
    for path, message in (
        (noise, "expected a safetensors file"),
        (text, "expected a state dict"),
        (listed, "found list"),
        (empty, "found no tensors"),
        (code, "read without running its code"),
        (tmp_path, "found a folder"),
        (tmp_path / "gone.pth", "found nothing"),
    ):
        with pytest.raises(InputError, match=message):
            load_into(fresh(), resolve_weights("cifar_resnet8", str(path), tmp_path)[0] or given(noise))


def test_auxiliary_classifiers_in_a_file_are_unused_and_reported(tmp_path: Path) -> None:
    torch.save(googlenet(weights=None, aux_logits=True, init_weights=False, num_classes=3).state_dict(), path := tmp_path / "g.pth")
    report = load_into(build("googlenet", 3, 32), given(path))
    assert report.unused
    assert all(name.startswith("aux") for name in report.unused)
    assert not report.missing
    assert f"{len(report.unused)} unused (aux1" in report.line()


def test_a_vision_transformers_positions_are_interpolated_to_another_image_size(tmp_path: Path) -> None:
    def vit(size: int) -> VisionTransformer:
        return VisionTransformer(image_size=size, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=3)

    torch.save(vit(32).state_dict(), path := tmp_path / "v.pth")
    model = vit(48)
    report = load_into(model, given(path))
    assert report.mismatched == ()
    assert model.encoder.pos_embedding.shape == (1, 1 + 36, 16)
    assert torch.equal(model.encoder.pos_embedding[:, :1], torch.load(path)["encoder.pos_embedding"][:, :1])  # the class token's stays


@pytest.mark.parametrize("arch", ["mobilenet_v3_large", "efficientnet_b0", "efficientnet_v2_l"])
def test_the_published_preprocess_gives_what_torchvisions_transform_gives(arch: str) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (300, 401, 3), dtype=np.uint8)).resize((640, 480))
    image.save(stream := io.BytesIO(), "png")
    preprocess = published_preprocess(arch)
    assert preprocess is not None
    expected = get_model_weights(arch).DEFAULT.transforms()(image).numpy()
    np.testing.assert_allclose(preprocess(stream.getvalue()), expected, atol=2e-6)


def test_embedded_weights_are_found_by_architecture_and_described_by_their_file(tmp_path: Path) -> None:
    preprocess = Preprocess(size=32, resize=32, mean=(0.5, 0.5, 0.5))
    said = {"arch": "cifar_resnet8", "classes": json.dumps(CLASSES), "preprocess": preprocess.to_json(), "trained_on": "cifar10"}
    save_file({name: value.half() for name, value in trained().items()}, tmp_path / "tiny_fp16.safetensors", metadata=said)
    found, line = resolve_weights("cifar_resnet8", "auto", tmp_path, assets=tmp_path)
    assert found is not None
    assert (found.source, found.preprocess, found.trained_on, found.classes) == ("embedded:tiny", preprocess, "cifar10", CLASSES)
    assert digest_of(found) == digest_of({"sha256": hashlib.sha256(found.path.read_bytes()).hexdigest()})
    assert line == "weights that come with edgetl, pretrained on cifar10"
    assert resolve_weights("edge_tiny", "auto", tmp_path, assets=tmp_path) == (
        None,
        "edgetl has no weights for edge_tiny",
    )


def test_weights_may_say_which_images_they_have_seen(tmp_path: Path) -> None:
    seen = SeenImages.of("elsewhere", train=[hashlib.sha256(b"photo").hexdigest()])
    save_file(trained(), path := tmp_path / "w.safetensors", metadata={"arch": "cifar_resnet8", "seen": seen.to_json()})
    found, _ = resolve_weights("cifar_resnet8", str(path), tmp_path)
    assert found is not None and found.seen == seen


def test_none_means_none(tmp_path: Path) -> None:
    assert resolve_weights("resnet18", "none", tmp_path) == (None, "as requested")


def test_a_bare_file_gets_the_published_preprocess_of_its_architecture(tmp_path: Path) -> None:
    torch.save(trained(), path := tmp_path / "w.pth")
    found, _ = resolve_weights("efficientnet_b0", str(path), tmp_path)
    assert found is not None
    assert found.preprocess == Preprocess(size=224, resize=256, filter="bicubic")
    assert (found.trained_on, found.classes) == (None, None)


def test_real_weights_fit_their_network(shared: Path, tmp_path: Path) -> None:
    found, _ = resolve_weights("squeezenet1_0", str(shared / "weights" / "squeezenet1_0_imagenet_fp16.safetensors"), tmp_path)
    assert found is not None
    report = load_into(build("squeezenet1_0", 2, 224), found, ("ants", "bees"))
    assert (len(report.matched), report.head) == (50, ("classifier.1.bias", "classifier.1.weight"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served at."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (folder := tmp_path / "served").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_download_is_checked_kept_and_not_repeated(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    content = bytes(range(256)) * 4000
    name = f"net_v1.5-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    path = fetch_published(f"{address}/{name}", tmp_path / "cache")
    assert path.read_bytes() == content
    (folder / name).unlink()
    assert fetch_published(f"{address}/{name}", tmp_path / "cache") == path
    path.write_bytes(content[:-1])  # damaged: fetched again, which fails now
    with pytest.raises(Unreachable, match="not reachable: File not found"):
        fetch_published(f"{address}/{name}", tmp_path / "cache")


def test_what_does_not_have_its_hash_is_not_kept(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    (folder / "net-00000000.pth").write_bytes(b"<html>log in to the hotel's network</html>")
    with pytest.raises(Unreachable, match="its sha256 differs from that in its name"):
        fetch_published(f"{address}/net-00000000.pth", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_copy_in_torchs_own_cache_is_used(served: tuple[Path, str], tmp_path: Path) -> None:
    (own := tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    name = f"net-{hashlib.sha256(b'weights').hexdigest()[:8]}.pth"
    (own / name).write_bytes(b"weights")
    assert fetch_published(f"{served[1]}/{name}", tmp_path / "cache") == own / name


def test_nothing_in_reach_is_said_in_one_line(served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http_proxy", "https_proxy"):  # a proxy nobody listens at: every address is out of reach
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    found, line = resolve_weights("resnet18", "auto", tmp_path / "cache")
    assert found is None
    assert line.startswith("its published weights are not available: not reachable: ")
    assert "\n" not in line
