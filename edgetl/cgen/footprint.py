"""What a classifier in C takes of flash and RAM, known without a compiler."""

from __future__ import annotations

from dataclasses import dataclass

CODE_BYTES = 4096  # at most: 1.9 to 3.2 kB were measured with arm-none-eabi-gcc 12
STACK_BYTES = 512  # at most: 180 to 260 bytes were measured on emulated boards


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What the C code takes, in bytes.

    Attributes:
        table_bytes: of constants, in flash.
        arena_bytes: of activations, in RAM.
        flash_bytes: at most, with machine code for a Cortex-M (`-Os` or `-O2`; classes with long names take more).
        ram_bytes: at most, with the stack; image, logits and whatever calls it left out.
    """

    table_bytes: int
    arena_bytes: int
    flash_bytes: int
    ram_bytes: int

    @staticmethod
    def of(table_bytes: int, arena_bytes: int) -> Footprint:
        """That of C code with so many bytes of constants and of activations."""
        return Footprint(
            table_bytes=table_bytes,
            arena_bytes=arena_bytes,
            flash_bytes=table_bytes + CODE_BYTES,
            ram_bytes=arena_bytes + STACK_BYTES,
        )
