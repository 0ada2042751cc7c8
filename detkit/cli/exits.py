"""End of a command: the exit status, and what stderr says about it."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from detkit.errors import LinesError, NonFiniteLossError, PeerStoppedError, UserError
from detkit.runtime.progress import say

DONE, NO, WRONG_INPUT, NON_FINITE, OUR_BUG, INTERRUPTED = 0, 1, 2, 3, 70, 130
# What a program gets that writes to a pipe nobody reads any more: 128 + SIGPIPE.
NOBODY_READS = 141

# Errors of the system that are not ours: no room, no right to write, a name that no file can have.
_NO_NAME = (errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ)
_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, *_NO_NAME)

_NO_MEMORY = (
    "error: out of memory: lower train.batch_size (train.reference_batch keeps the learning rate in step), "
    "work a batch off in parts (train.accumulate), or make the images smaller (data.resize)"
)


@contextmanager
def exit_status() -> Iterator[None]:
    """Turn whatever ends a command early into a message on stderr and an exit status.

    With DETKIT_DEBUG=1 in the environment the traceback is shown, too.

    Raises:
        typer.Exit: With the status.
    """
    try:
        yield
        sys.stdout.flush()
    except UserError as error:
        _end(WRONG_INPUT, error, *_of(error))
    except NonFiniteLossError as error:
        _end(NON_FINITE, error, *_of(error))
    except PeerStoppedError as error:
        _end(INTERRUPTED, error, str(error))
    except KeyboardInterrupt as error:
        # A training says where it stands and how it goes on.
        _end(INTERRUPTED, error, str(error) or "stopped by Ctrl-C")
    except BrokenPipeError as error:
        # Python flushes stdout once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        raise typer.Exit(NOBODY_READS) from error
    except Exception as error:
        if hasattr(error, "exit_code") or isinstance(error, typer.Abort):
            raise  # typer's own: a usage error, --help
        if isinstance(error, OSError) and error.errno in _SYSTEM:
            _end(WRONG_INPUT, error, f"error: {error.filename or 'a file'}: {error.strerror}")
        # torch's own class, by name: torch is not imported for commands that do without it.
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            _end(WRONG_INPUT, error, _NO_MEMORY)
        _end(OUR_BUG, error, *_apology(error))


def _of(error: LinesError) -> list[str]:
    first, *rest = error.lines
    return [f"error: {first}", *rest]


def _end(status: int, error: BaseException, *lines: str) -> None:
    if os.environ.get("DETKIT_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
    say(*lines)
    raise typer.Exit(status) from error


def _apology(error: Exception) -> list[str]:
    """Write the traceback to a file and return the lines that say where it is."""
    text = f"detkit {shlex.join(sys.argv[1:])}\n\n{''.join(traceback.format_exception(error))}"
    brief = f"error in detkit, not in your input: {type(error).__name__}: {str(error)[:300]}"
    try:
        handle, name = tempfile.mkstemp(prefix="detkit-", suffix=".txt")
        os.close(handle)
        Path(name).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError:
        return [brief, *text.splitlines()]
    return [brief, f"Sorry. The details are in {name}; please send them with a report."]
