"""The exceptions that are shown without a traceback."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable


class LinesError(Exception):
    """Error whose message has several lines, which are kept apart.

    What else ends a line, in the name of a file, is no end of one where the message is printed.

    Args:
        lines: of the message.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)


class UserError(LinesError, ValueError):
    """Something the user gave is wrong: a file, a key, a value, a box.

    The message names the field or file, what was allowed and what came. The command line prints it
    on one screen and exits with status 2; a Python caller catches it as a `ValueError`.

    Example:
        >>> print(UserError("several are there:", "  a.json"))
        several are there:
          a.json
    """


class PeerStoppedError(RuntimeError):
    """Another process of the same training ended, so this one could not go on.

    The other one's message says why. The command line exits with 130: this process did nothing wrong.
    """


class NonFiniteLossError(LinesError, RuntimeError):
    """A loss became infinite or not a number, so the training stopped before it spoilt the weights.

    The message names the loss term, the images and the likely cause. The command line exits with 3.
    """


_SHOWN = 80


def shown(value: object, limit: int = _SHOWN) -> str:
    """Return a value of a file as a message shows it: on one line, of bounded length, nothing unprintable.

    Args:
        value: text is quoted; a list or dict is cut where it is long or deep.
        limit: the most characters.

    Example:
        >>> shown("cat"), shown([1, None, "x"]), shown(20 * "b", 9)
        ("'cat'", "[1, None, 'x']", "'bbbbb...")
    """
    parts = reprlib.Repr()
    parts.maxstring = parts.maxother = parts.maxlong = 12 * limit  # or it leaves out the middle
    return cut(parts.repr(value[:limit] if isinstance(value, str) else value), limit)


def cut(text: str, limit: int = _SHOWN) -> str:
    """Return a text of a message, its end left off where it is long.

    Example:
        >>> cut("cat"), cut("catastrophe", 6)
        ('cat', 'cat...')
    """
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def nearest(word: object, known: Iterable[str]) -> str:
    """Return ' did you mean "..."?' for the known word that is most like it, or nothing.

    Example:
        >>> nearest("dept", ["depth", "norm"])
        'did you mean "depth"? '
    """
    matches = difflib.get_close_matches(str(word), list(known), n=1)
    return f'did you mean "{matches[0]}"? ' if matches else ""
