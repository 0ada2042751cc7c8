"""The fast way through a results file: a record is most often laid out like the one before it.

Programs write every record with the same keys, in the same order, with the same white space. So the text
around the seven numbers of the first record is learned, and of a record that repeats it only the numbers
have to be read.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.decimals import nearest_float
from detkit.runtime.compiled import compiled

FAIL = -1
PADDING = 64  # zero bytes behind a text, so that no comparison leaves it
MOST_DIGITS = 19  # of any 19 digits the value fits 64 bits
MINUS, POINT = (ord(c) for c in "-.")
ZERO, ONE, TEN, LARGEST_ID = np.uint64(ord("0")), np.uint64(1), np.uint64(10), np.uint64(10**18 - 1)
NUMBER = re.compile(rb"-?[0-9][0-9.eE+-]*")
COLUMNS = {b"image_id": [0], b"category_id": [1], b"bbox": [2, 3, 4, 5], b"score": [6]}


class Results(NamedTuple):
    """D results as they stand in a file.

    Attributes:
        image_ids: (D,).
        category_ids: (D,).
        boxes: (D, 4) x y width height.
        scores: (D,).
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]


def room_for(count: int) -> Results:
    """Return arrays for so many results, not yet filled."""
    return Results(
        np.empty(count, np.int64), np.empty(count, np.int64), np.empty((count, 4)), np.empty(count)
    )


class Layout(NamedTuple):
    """What a record looks like.

    Attributes:
        texts: (8, PADDING) the text before each of the seven numbers, and behind the last.
        lengths: (8,) how many bytes of each row count.
        columns: (7,) what each number is: 0 the image, 1 the category, 2 to 5 the box, 6 the score.
    """

    texts: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    columns: NDArray[np.int64]


def learn_layout(record: bytes, between: bytes) -> Layout | None:
    """Return the layout of the records behind a good one, None where there is too much white space.

    Args:
        record: from its opening to its closing brace.
        between: the comma between it and the next, with the white space around it.

    Example:
        >>> record = b'{"image_id": 7, "category_id": 1, "score": 0.5, "bbox": [0, 0, 2.5, 3]}'
        >>> learn_layout(record, between=b", ").columns
        array([0, 1, 6, 2, 3, 4, 5])
    """
    texts = NUMBER.split(between + record)
    if max(map(len, texts)) > PADDING:
        return None
    rows = np.frombuffer(b"".join(text.ljust(PADDING) for text in texts), np.uint8).reshape(-1, PADDING)
    columns = [column for key in re.findall(rb'"(\w+)"', record) for column in COLUMNS[key]]
    return Layout(rows, np.array([len(text) for text in texts]), np.array(columns))


@compiled
def read_digits(text: NDArray[np.uint8], at: np.uint64, digits: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Append digits to a number: the place behind them, and the number modulo 2**64."""
    digit = np.uint64(text[at]) - ZERO
    while digit < TEN:
        digits = digits * TEN + digit
        at += ONE
        digit = np.uint64(text[at]) - ZERO
    return at, digits


@compiled
def read_plain(text: NDArray[np.uint8], at: np.uint64) -> tuple[np.uint64, np.bool_, np.uint64, np.int64]:
    """Read a number without sign and exponent: the place behind it, if it is good, digits and decimals."""
    start = at
    at, digits = read_digits(text, start, np.uint64(0))
    good = (at == start + ONE) | ((at > start) & (text[start] != ZERO))
    count, decimals = np.int64(at - start), np.int64(0)
    if text[at] == POINT:
        point = at + ONE
        at, digits = read_digits(text, point, digits)
        decimals = np.int64(at - point)
        good &= decimals > 0
    return at, good & (count + decimals <= MOST_DIGITS), digits, decimals


@compiled
def read_alike(
    text: NDArray[np.uint8], start: int, stop: int, row: int, layout: Layout, out: Results
) -> tuple[int, int]:
    """Read records of this layout, each with a comma before it, up to the first that differs.

    Places are unsigned here: for signed ones every access would look whether it counts from the end.

    Returns:
        The place behind the last such record, and the row after it.
    """
    done = np.int64(start)
    at, end = np.uint64(start), np.uint64(stop)
    good: np.bool_ = np.bool_(True)
    while at < end and row < len(out.scores):
        for i in range(8):
            for j in range(layout.lengths[i]):
                good &= text[at + np.uint64(j)] == layout.texts[i, j]
            at += np.uint64(layout.lengths[i])
            if i == 7 or not good:
                break
            negative = text[at] == MINUS
            at, good, digits, decimals = read_plain(text, at + np.uint64(negative))
            column = layout.columns[i]
            if column < 2:
                good &= decimals == 0 and digits <= LARGEST_ID
                ids = out.image_ids if column == 0 else out.category_ids
                ids[row] = -np.int64(digits) if negative else np.int64(digits)
            else:
                value = nearest_float(digits, -decimals)
                good &= not np.isnan(value)
                value = -value if negative else value
                if column == 6:
                    out.scores[row] = value
                else:
                    out.boxes[row, column - 2] = value
        if not good:
            break
        done = np.int64(at)
        row += 1
    return int(done), row
