"""Runs a command as on a laptop's CPU, with AVX2 but without AVX-512 and VNNI, at this machine's speed.

    python scripts/without_vnni.py python -m pytest -q -n 2
    python scripts/without_vnni.py edgetl quantize ...

onnxruntime has no setting for the kernels that it chooses: it asks the CPU, with the instruction `cpuid`. So the command
gets copies of its libraries in which each `cpuid` is replaced by an instruction that no CPU has, and a library
(`without_vnni.c`) that answers in its place. torch, oneDNN, MKL, OpenBLAS and numpy have settings for it. That the copy answers
as an emulated Haswell does, bit for bit, is a test: tests/test_without_vnni.py. Needs Linux on x86-64, gcc, and binutils' objdump.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CPUID, ILLEGAL = b"\x0f\xa2", b"\x0f\x0b"
AT = re.compile(rb"^ *([0-9a-f]+):\s+cpuid", re.MULTILINE)
SETTINGS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}


def why_not() -> str | None:
    """Why it cannot be done here; None where it can."""
    if not sys.platform.startswith("linux") or os.uname().machine != "x86_64":
        return "needs Linux on x86-64"
    missing = [tool for tool in ("gcc", "objdump") if shutil.which(tool) is None]
    return f"needs {' and '.join(missing)}" if missing else None


def environment(folder: Path) -> dict[str, str]:
    """What to set for a command, after what it needs was written into the empty `folder` (70 MB).

    Raises:
        ValueError: an onnxruntime that does not ask the CPU, as far as is seen.
    """
    answering, copies = folder / "cpuid.so", folder / "onnxruntime"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(answering), str(source), "-ldl"], check=True)
    copies.mkdir()
    _copy_libraries(copies)
    features = " ".join(_numpy_features())
    return {**SETTINGS, "LD_PRELOAD": str(answering), "WITHOUT_VNNI": str(copies), "NPY_DISABLE_CPU_FEATURES": features}


def _copy_libraries(copies: Path) -> None:
    """All of the installed onnxruntime."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise ValueError("expected onnxruntime to be installed, found none")
    libraries = sorted((Path(spec.origin).parent / "capi").glob("*.so*"))
    if not sum(_copy(path, copies) for path in libraries):
        raise ValueError(f"expected cpuid instructions in {', '.join(path.name for path in libraries)}, found none")


def _copy(library: Path, copies: Path) -> int:
    """Write a copy whose `cpuid` instructions are illegal ones; how many."""
    listed = subprocess.run(["objdump", "-d", "--no-show-raw-insn", str(library)], check=True, capture_output=True).stdout
    code, offset = bytearray(library.read_bytes()), _offset_of_text(library)
    found = [int(match[1], 16) + offset for match in AT.finditer(listed)]
    for at in found:
        if code[at : at + 2] != CPUID:
            raise ValueError(f"expected cpuid at byte {at} of {library.name}, found {code[at : at + 2].hex()}")
        code[at : at + 2] = ILLEGAL
    if found:
        (copies / library.name).write_bytes(code)
    else:
        (copies / library.name).symlink_to(library)  # which the others look for beside them
    return len(found)


def _offset_of_text(library: Path) -> int:
    """What to add to an address in its section .text for the place in the file."""
    listed = subprocess.run(["objdump", "-h", "-j", ".text", str(library)], check=True, capture_output=True, text=True).stdout
    fields = next(line.split() for line in listed.splitlines() if " .text " in line)
    return int(fields[5], 16) - int(fields[3], 16)


def _numpy_features() -> list[str]:
    """Of numpy: its kernels for AVX-512."""
    from numpy._core._multiarray_umath import __cpu_dispatch__  # type: ignore[import-not-found]

    return [name for name in __cpu_dispatch__ if name.startswith(("AVX512", "X86_V4"))]


def main() -> int:
    """The command's exit code; 2 where it cannot be run."""
    reason = why_not() if sys.argv[1:] else "expected a command"
    if reason:
        print(f"without_vnni: {reason}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        return subprocess.run(sys.argv[1:], env={**os.environ, **environment(Path(folder))}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
