"""The command `edgetl` and `python -m edgetl`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # as in edgetl.cli.exit_codes, which is not imported yet


def main() -> None:
    """Run the command line; never returns.

    A Ctrl-C while its modules are imported ends it with one line, not with a traceback. A Python that takes file names for
    ASCII (`PYTHONUTF8=0` in the C locale) starts anew in its UTF-8 mode: names on disk and in a bundle are UTF-8.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job of a shell ignores it, and goes on to
        signal.signal(signal.SIGINT, _leave)
    if os.name == "posix" and sys.getfilesystemencoding() == "ascii" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    from edgetl.cli.app import main as run

    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Exit at once: no work has begun that could be lost."""
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
