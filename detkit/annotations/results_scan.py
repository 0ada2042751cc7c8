"""COCO results read in one compiled pass over the file's bytes.

A results file is a flat list of small objects, half a million of them for COCO's own validation set.
Building Python objects for them takes longer than the evaluation; this pass writes the numbers straight
into arrays. It accepts only what it fully understands: anything else is left to the general reader,
which also knows how to complain.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.decimals import nearest_float
from detkit.annotations.results_layout import (
    FAIL,
    PADDING,
    Layout,
    Results,
    learn_layout,
    read_alike,
    room_for,
)
from detkit.runtime.compiled import compiled, run_all

END = 0  # every loop over the text stops at its closing zero byte, which no JSON holds
FULL = np.uint64((2**64 - 10) // 10)  # above it one more digit might not fit
TEN = np.uint64(10)
IMAGE, CATEGORY, SCORE, BOX = 1, 2, 4, 8
COMPLETE = IMAGE | CATEGORY | SCORE | BOX
WHITE_SPACE = b" \n\r\t"
SPACE, QUOTE, COMMA, COLON = (ord(c) for c in ' ",:')
OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT = (ord(c) for c in "[]{}")
MINUS, PLUS, POINT, ZERO, NINE, SMALL_E, LARGE_E = (ord(c) for c in "-+.09eE")
NEW_LINE, RETURN, TAB = (ord(c) for c in "\n\r\t")
KEYS = ("image_id", "category_id", "score", "bbox")  # in the order of their bits
LETTERS = np.array([list(key.encode().ljust(11)) for key in KEYS], np.uint8)
LENGTHS = np.array([len(key) for key in KEYS])


@compiled
def skip_space(text: NDArray[np.uint8], at: int) -> int:
    """Return the place of the next character that is no white space."""
    while text[at] <= SPACE and text[at] in (SPACE, NEW_LINE, RETURN, TAB):
        at += 1
    return at


@compiled
def read_number(text: NDArray[np.uint8], at: int) -> tuple[int, np.uint64, int]:
    """Read a JSON number without its sign: the place behind it or FAIL, its digits and its exponent."""
    start, exponent, digits, power, full = at, 0, np.uint64(0), 0, False
    while ZERO <= text[at] <= NINE:
        full |= bool(digits > FULL)
        digits = digits * TEN + np.uint64(text[at] - ZERO)
        at += 1
    good = at > start and (text[start] != ZERO or at == start + 1)
    if text[at] == POINT:
        at += 1
        exponent = at
        while ZERO <= text[at] <= NINE:
            full |= bool(digits > FULL)
            digits = digits * TEN + np.uint64(text[at] - ZERO)
            at += 1
        exponent -= at
        good = good and exponent < 0
    if text[at] == SMALL_E or text[at] == LARGE_E:
        at += 1
        down = text[at] == MINUS
        at += int(down or text[at] == PLUS)
        start = at
        while ZERO <= text[at] <= NINE:
            power = power * 10 + int(text[at] - ZERO)
            at += 1
        good = good and 0 < at - start < 5
        exponent += -power if down else power
    return at if good and not full else FAIL, digits, exponent


@compiled
def read_float(text: NDArray[np.uint8], at: int) -> tuple[int, float]:
    """Read a number: the place behind it, FAIL where this way cannot tell, and its value."""
    negative = text[at] == MINUS
    end, digits, exponent = read_number(text, at + int(negative))
    value = nearest_float(digits, exponent)
    return FAIL if np.isnan(value) else end, -value if negative else value


@compiled
def read_id(text: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """Read an integer of up to 18 digits: the place behind it or FAIL, and its value."""
    negative = text[at] == MINUS
    at += int(negative)
    end, digits, _ = read_number(text, at)
    value = int(digits)
    only_digits = end - at < 19
    while at < end:
        only_digits = only_digits and ZERO <= text[at] <= NINE
        at += 1
    return end if only_digits else FAIL, -value if negative else value


@compiled
def read_box(text: NDArray[np.uint8], at: int, boxes: NDArray[np.float64], row: int) -> int:
    """Read a list of four numbers; return the place behind it or FAIL."""
    good = text[at] == OPEN_LIST
    for i in range(4):
        if good:
            at, boxes[row, i] = read_float(text, skip_space(text, at + 1))
            good = at != FAIL
        if good:
            at = skip_space(text, at)
            good = text[at] == (COMMA if i < 3 else CLOSE_LIST)
    return at + 1 if good else FAIL


@compiled
def read_key(text: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """Read a key with its colon: the place of the value or FAIL, and the key's bit, 0 for another key."""
    if text[at] != QUOTE:
        return FAIL, 0
    start = at + 1
    end = start
    while text[end] != QUOTE and text[end] != END:
        end += 1
    kind = 0
    for k in range(4):
        if LENGTHS[k] == end - start:
            same = 0
            while same < LENGTHS[k] and text[start + same] == LETTERS[k, same]:
                same += 1
            if same == LENGTHS[k]:
                kind = 1 << k
    at = skip_space(text, end + int(text[end] == QUOTE))
    if text[at] != COLON:
        return FAIL, 0
    return skip_space(text, at + 1), kind


@compiled
def read_record(
    text: NDArray[np.uint8],
    at: int,
    row: int,
    out: Results,
) -> int:
    """Read one result with just the four keys, in any order; return the place behind it or FAIL."""
    if text[at] != OPEN_OBJECT:
        return FAIL
    seen = 0
    while True:
        at, kind = read_key(text, skip_space(text, at + 1))
        if at == FAIL or kind == 0 or seen & kind:
            return FAIL
        seen |= kind
        if kind == IMAGE:
            at, out.image_ids[row] = read_id(text, at)
        elif kind == CATEGORY:
            at, out.category_ids[row] = read_id(text, at)
        elif kind == SCORE:
            at, out.scores[row] = read_float(text, at)
        else:
            at = read_box(text, at, out.boxes, row)
        if at == FAIL:
            return FAIL
        at = skip_space(text, at)
        if text[at] != COMMA and text[at] != CLOSE_OBJECT:
            return FAIL
        if text[at] == CLOSE_OBJECT:
            return at + 1 if seen == COMPLETE else FAIL


@compiled
def fill_results(text: NDArray[np.uint8], at: int, stop: int, row: int, layout: Layout, out: Results) -> bool:
    """Read the records from `at`, each behind its comma or opening bracket, to `stop`, just behind one."""
    while at < stop:
        at = skip_space(text, at)
        if text[at] != (COMMA if row else OPEN_LIST) or row == len(out.scores):
            return False
        end = read_record(text, skip_space(text, at + 1), row, out)
        if end == FAIL:
            return False
        at, row = read_alike(text, end, stop, row + 1, layout, out)
    return at == stop


@compiled
def count_records(text: NDArray[np.uint8], at: int, stop: int) -> int:
    """Return the number of opening braces from `at` to `stop`."""
    count = 0
    for character in text[at:stop]:
        count += character == OPEN_OBJECT
    return count


def scan_results(content: bytes, num_threads: int = 1) -> Results | None:
    """Read the bytes of a COCO results file, every number exactly as Python reads it.

    Args:
        content: a JSON list of objects with the keys image_id, category_id, bbox and score.
        num_threads: how many parts of the file are read at a time.

    Returns:
        The results in the order of the file, or None where the content is anything but that: other keys,
        an id that is no integer, a box that is not four numbers, an empty list, or no valid JSON at all.

    Example:
        >>> scan_results(b'[{"image_id": 7, "category_id": 1, "bbox": [0, 0, 2.5, 3], "score": 0.5}]').boxes
        array([[0. , 0. , 2.5, 3. ]])
        >>> scan_results(b'[{"image_id": 7}]') is None
        True
    """
    return scan_padded(bytearray(content) + bytes(PADDING), num_threads)


def scan_padded(content: bytearray | mmap.mmap, num_threads: int) -> Results | None:
    """Read a results file as `scan_results` does.

    Args:
        content: the file's bytes and PADDING zeros.
        num_threads: how many parts of the file are read at a time.
    """
    text = np.frombuffer(content, np.uint8)
    end = content.rfind(b"}") + 1
    layout = _layout(text, content)
    if layout is None or content[end:-PADDING].strip(WHITE_SPACE) != b"]":
        return None
    # A record holds no braces of its own, so the file may be cut behind any closing one.
    cuts = [content.find(b"}", end * part // num_threads) + 1 for part in range(1, num_threads)]
    ends = sorted({*cuts, end} - {0})
    starts = [0, *ends[:-1]]
    counts, good = [0] * len(ends), [False] * len(ends)

    def count(part: int) -> None:
        counts[part] = count_records(text, starts[part], ends[part])

    def scan(part: int) -> None:
        good[part] = fill_results(text, starts[part], ends[part], sum(counts[:part]), layout, out)

    run_all(count, range(len(ends)), num_threads)
    out = room_for(sum(counts))
    run_all(scan, range(len(ends)), num_threads)
    return out if all(good) else None


def read_padded(file: Path, num_threads: int = 1) -> mmap.mmap:
    """Return the bytes of a file and PADDING zeros; several parts are read at a time.

    Args:
        file: it must not change meanwhile.
        num_threads: how many parts.

    Raises:
        OSError: the file cannot be read.
    """
    size = file.stat().st_size
    content = mmap.mmap(-1, size + PADDING, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # zeros
    if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux; small pages would cost more than copying into them
        content.madvise(mmap.MADV_HUGEPAGE)
    cuts = [size * part // num_threads for part in range(num_threads + 1)]

    def read(part: int) -> None:
        with file.open("rb") as stream:
            stream.seek(cuts[part])
            stream.readinto(memoryview(content)[cuts[part] : cuts[part + 1]])

    run_all(read, range(num_threads), num_threads)
    return content


def _layout(text: NDArray[np.uint8], content: bytearray | mmap.mmap) -> Layout | None:
    """Return the layout of a file's records, None where the first is not good."""
    start = content.find(b"{")
    stop = read_record(text, start, 0, room_for(1)) if start != FAIL else FAIL
    if stop == FAIL:
        return None
    following = skip_space(text, skip_space(text, stop) + 1)
    return learn_layout(bytes(content[start:stop]), bytes(content[stop:following]))
