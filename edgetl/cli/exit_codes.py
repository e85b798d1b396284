"""From what went wrong to an exit code and one message."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress

import typer

from edgetl.core.errors import EdgetlError

DONE, BAD_INPUT, INTERNAL, INTERRUPTED, READER_GONE = 0, 2, 3, 130, 141


def guarded(app: Callable[[], object]) -> int:
    """Run `app`; its exit code.

    An error that a user can mend is one message on stderr and exit code 2. Any other error is a fault of edgetl, exit code 3.
    `--debug` anywhere on the command line shows the traceback instead.
    """
    open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    debug = "--debug" in sys.argv[1:]
    sys.argv[1:] = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        code = app()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        return reader_gone()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # Typer makes a 1 of it, which would say that a verdict failed
            return reader_gone()
        raise
    except typer.Exit as stop:
        code = stop.exit_code
    except EdgetlError as error:
        if debug:
            raise
        return complain(f"error: {error}", BAD_INPUT)
    except Exception as error:
        if debug:
            raise
        return foreign(error)
    if code == INTERRUPTED:  # Typer turns a Ctrl-C into this code without a word
        return complain("interrupted. Finished work is kept: run the same command to continue", INTERRUPTED)
    return code if isinstance(code, int) else DONE


def open_streams() -> None:
    """Give this process the standard streams that it was started without (`<&-`, some schedulers): they are empty, or lead nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  until the process ends


def reader_gone() -> int:
    """The exit code of a program whose reader has closed the pipe (`| head`), as a shell shows it."""
    silence()
    return READER_GONE


def silence() -> None:
    """Let nothing be written to standard output any more, nor be said about it at exit."""
    with suppress(OSError, AttributeError, ValueError):
        sys.stdout.flush()
    with suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]


def foreign(error: Exception) -> int:
    """Exit code and message for what edgetl did not raise itself."""
    if callable(message := getattr(error, "format_message", None)):  # the option parser's usage errors
        return complain(f"error: {message()}\nTry `edgetl --help`, or `edgetl COMMAND --help`.", BAD_INPUT)
    if isinstance(error, typer.Abort):
        return complain("interrupted", INTERRUPTED)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        silence()
        return complain(
            f"error: expected room for what is written, found the disk full ({error}). Free some space, and run it again", BAD_INPUT
        )
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return complain("error: expected a folder for temporary files, found none to write in. Name one in the variable TMPDIR", BAD_INPUT)
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    return complain(
        f"internal error: {name}: {error}\n"
        "This is a bug in edgetl. Please report it where you got edgetl, with the output of the same command with --debug.",
        INTERNAL,
    )


def complain(message: str, code: int) -> int:
    """One message on stderr."""
    print(message, file=sys.stderr)
    return code
