"""COCO results read in one compiled pass over the file's bytes.

A results file is a flat list of small objects, half a million of them for COCO's own validation set.
Building Python objects for them takes longer than the evaluation. Programs write every record with the same
keys, in the same order, with the same white space, so the text around the seven numbers of the first record
is learned, and of the others only the numbers are read, straight into arrays. Any other file is left to the
general reader, which also knows how to complain. `benchmarks/coco_results.py` measures what this buys beside
msgspec and orjson.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.decimals import nearest_float
from detkit.runtime.compiled import compiled, run_all

PADDING = 64  # zero bytes behind a text, so that no comparison leaves it
MOST_DIGITS = 19  # of any 19 digits the value fits 64 bits
MINUS, PLUS, POINT, E = (np.uint8(ord(c)) for c in "-+.e")
LOWER_CASE = np.uint8(0x20)  # the bit in which e and E differ
ZERO, ONE, TEN, LARGEST_ID = np.uint64(ord("0")), np.uint64(1), np.uint64(10), np.uint64(10**18 - 1)
SPACE = b" \n\r\t"
NUMBER = re.compile(rb"-?[0-9][0-9.eE+-]*")
COLUMNS = {"image_id": [0], "category_id": [1], "bbox": [2, 3, 4, 5], "score": [6]}


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
    """Return the layout of the records of a file, None where its first is unusual.

    Args:
        record: the first, from its opening to its closing brace.
        between: the comma between it and the next, with the white space around it.

    Example:
        >>> record = b'{"image_id": 7, "category_id": 1, "score": 0.5, "bbox": [0, 0, 2.5, 3]}'
        >>> learn_layout(record, between=b", ").columns
        array([0, 1, 6, 2, 3, 4, 5])
    """
    keys = [key.decode() for key in re.findall(rb'"(\w+)"', record)]
    texts = NUMBER.split(between + record)
    if not _is_result(record, keys) or len(texts) != 8 or max(map(len, texts)) > PADDING:
        return None
    rows = np.frombuffer(b"".join(text.ljust(PADDING) for text in texts), np.uint8).reshape(-1, PADDING)
    columns = [column for key in keys for column in COLUMNS[key]]
    return Layout(rows, np.array([len(text) for text in texts]), np.array(columns))


def _is_result(record: bytes, keys: list[str]) -> bool:
    """Return whether a text is an object with each of the four keys once, and numbers where they belong."""
    try:
        read = json.loads(record)
    except ValueError:
        return False
    if sorted(keys) != sorted(COLUMNS) or record.count(b'"') != 8:
        return False
    box, *others = (read[key] for key in ("bbox", "image_id", "category_id", "score"))
    return isinstance(box, list) and len(box) == 4 and all(type(v) in (int, float) for v in box + others)


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
def read_number(text: NDArray[np.uint8], at: np.uint64) -> tuple[np.uint64, np.bool_, np.uint64, np.int64]:
    """Read a JSON number without its sign: the place behind it, if it is good, digits and exponent."""
    start = at
    at, digits = read_digits(text, start, np.uint64(0))
    good = (at == start + ONE) | ((at > start) & (text[start] != ZERO))
    count, exponent = np.int64(at - start), np.int64(0)
    if text[at] == POINT:
        point = at + ONE
        at, digits = read_digits(text, point, digits)
        exponent = -np.int64(at - point)
        good &= exponent < 0
    if count - exponent > MOST_DIGITS:
        while start < at and (text[start] == ZERO or text[start] == POINT):
            start += ONE
        good &= at - start <= np.uint64(MOST_DIGITS)
    if text[at] | LOWER_CASE == E:
        at += ONE
        down = text[at] == MINUS
        start = at + np.uint64(down | (text[at] == PLUS))
        at, power = read_digits(text, start, np.uint64(0))
        good &= (at > start) & (at < start + np.uint64(5))
        exponent += -np.int64(power) if down else np.int64(power)
    return at, good, digits, exponent


@compiled
def read_alike(
    text: NDArray[np.uint8], start: int, stop: int, row: int, layout: Layout, out: Results
) -> bool:
    """Read records of this layout, each behind its comma, from `start` to `stop`; False where one differs.

    Places are unsigned here: for signed ones every access would look whether it counts from the end.
    """
    at, end = np.uint64(start), np.uint64(stop)
    good: np.bool_ = np.bool_(True)
    while at < end and good:
        for i in range(8):
            for j in range(layout.lengths[i]):
                good &= text[at + np.uint64(j)] == layout.texts[i, j]
            at += np.uint64(layout.lengths[i])
            if i == 7 or not good:
                break
            negative = text[at] == MINUS
            at, good, digits, exponent = read_number(text, at + np.uint64(negative))
            column = layout.columns[i]
            if column < 2:
                good &= exponent == 0 and digits <= LARGEST_ID
                ids = out.image_ids if column == 0 else out.category_ids
                ids[row] = -np.int64(digits) if negative else np.int64(digits)
            else:
                value = nearest_float(digits, exponent)
                good &= not np.isnan(value)
                value = -value if negative else value
                if column == 6:
                    out.scores[row] = value
                else:
                    out.boxes[row, column - 2] = value
        row += 1
    return bool(good and at == end)


def scan_results(file: Path, num_threads: int = 1) -> Results | None:
    """Read a COCO results file, every number exactly as Python reads it.

    Args:
        file: a JSON list of objects with the keys image_id, category_id, bbox and score, all laid out alike;
            it must not change meanwhile.
        num_threads: how many parts of the file are read at a time.

    Returns:
        The results in the order of the file, or None where the content is anything but that: other keys,
        an id that is no integer, a box that is not four numbers, an empty list, or no valid JSON at all.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "found.json"
        ...     _ = file.write_text('[{"image_id": 7, "category_id": 1, "bbox": [0, 0, 2.5, 3], "score": 1}]')
        ...     scan_results(file).boxes
        array([[0. , 0. , 2.5, 3. ]])
    """
    content = bytearray(file.stat().st_size + 2 * PADDING)
    with file.open("rb") as stream:
        stream.readinto(memoryview(content)[PADDING:-PADDING])
    start, first, end = content.find(b"{"), content.find(b"}") + 1, content.rfind(b"}") + 1
    around = bytes(content[PADDING : max(start, 0)] + content[end:-PADDING])
    between = bytes(content[first : content.find(b"{", first)]) if first < end else b","
    layout = learn_layout(bytes(content[start:first]), between)
    if around.translate(None, SPACE) != b"[]" or between.strip(SPACE) != b"," or layout is None:
        return None
    begin = start - len(between)
    content[begin:start] = between  # so that the first record looks like the others
    # A record holds no braces of its own, so the file may be cut behind any closing one.
    cuts = [
        content.find(b"}", begin + (end - begin) * part // num_threads) + 1 for part in range(1, num_threads)
    ]
    ends = sorted({*cuts, end})
    starts = [begin, *ends[:-1]]
    rows = np.cumsum([0, *(content.count(b"{", a, b) for a, b in zip(starts, ends, strict=True))]).tolist()
    text, good = np.frombuffer(content, np.uint8), [False] * len(ends)
    out = Results(
        np.empty(rows[-1], np.int64),
        np.empty(rows[-1], np.int64),
        np.empty((rows[-1], 4)),
        np.empty(rows[-1]),
    )

    def scan(part: int) -> None:
        good[part] = read_alike(text, starts[part], ends[part], rows[part], layout, out)

    run_all(scan, range(len(ends)), num_threads)
    return out if all(good) else None
