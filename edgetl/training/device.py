"""The device and the number format of training, chosen from the properties of the hardware, never by timing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from edgetl.core.errors import InputError
from edgetl.settings import Runtime


def pick_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        InputError: the device is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if there[name]))
    if not there.get(wanted, False):
        found = ", ".join(name for name, is_there in there.items() if is_there)
        raise InputError(f"expected the device {wanted!r}, found only: {found}. Choose one of these, or --device auto")
    return torch.device(wanted)


def pick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies matrices in it (AMX, AVX512-BF16, recent GPUs), else float32."""
    match device.type:
        case "cuda":
            native = torch.cuda.get_device_capability(device) >= (8, 0)
        case "cpu":
            # Of the CPU; torch may be told to use less of it (ATEN_CPU_CAPABILITY). An older torch does not say: float32.
            able: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
            native = bool(able.get("amx_bf16") or able.get("avx512_bf16")) and "AVX512" in torch.backends.cpu.get_cpu_capability()
        case _:
            native = False
    return torch.bfloat16 if native else torch.float32


def on_device(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` itself, on `device`, its kernels laid out channels last."""
    return model.to(device).to(memory_format=torch.channels_last)


def synchronize(device: torch.device) -> None:
    """Wait for a GPU. Its calls return at once, so a clock read before the wait measures nothing."""
    match device.type:
        case "cuda":
            torch.cuda.synchronize(device)
        case "mps":
            torch.mps.synchronize()


@contextmanager
def pinned(runtime: Runtime) -> Iterator[torch.device]:
    """The device of `runtime`, with the thread count pinned and deterministic algorithms while the block runs."""
    strict = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with threaded(runtime.threads):
            yield pick_device(runtime.device)
    finally:
        torch.use_deterministic_algorithms(strict)


@contextmanager
def threaded(count: int) -> Iterator[None]:
    """Torch on `count` threads of the CPU while the block runs. Enough for the same bits, where no kernel adds in any order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
