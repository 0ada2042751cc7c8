"""Tables, horizontal bars, legends and the confusion matrix as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from detkit.report.colours import as_hex, class_colour
from detkit.report.content import Bar, Cell, ConfusionMatrix, Curve, Table
from detkit.report.markup import Markup, element, joined

MAX_MATRIX = 21  # rows of the confusion matrix that a screen still shows well
MAX_NARROW_MATRIX = 6  # likewise the screen of a phone
NUM_PAIRS = 25
NONE = "–"
"""Where there is no number, among numbers."""
STRONG_SHARE = 0.68  # of a row, from which white reads better on the shade than black


def cell_text(value: Cell) -> str:
    """Return how a value is shown: three decimals, n/a for None and NaN.

    Example:
        >>> cell_text(0.12345), cell_text(12345), cell_text(None), cell_text(float("nan"))
        ('0.123', '12,345', 'n/a', 'n/a')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return value


def table(content: Table) -> Markup:
    """Return a table; numbers stand at the right, and columns named in `bars` get a bar.

    A text that begins with a digit, such as 12.5 ms, is a number with its unit. On a narrow screen each row
    becomes a card, in which every value stands below the name of its column.
    """
    kinds = ["text" if _is_text(values) else None for values in zip(*content.rows, strict=True)]
    kinds = kinds or [None] * len(content.columns)
    named = zip(content.columns, kinds, strict=True)
    head = element("tr", *(element("th", name, scope="col", class_=kind) for name, kind in named))
    rows = []
    links = content.links or [""] * len(content.rows)
    for i, (row, link) in enumerate(zip(content.rows, links, strict=True)):
        swatch = colour_swatch(i) if content.colours else Markup()
        cells = [element("th", swatch, _linked(cell_text(row[0]), link), scope="row")]
        for name, value in zip(content.columns[1:], row[1:], strict=True):
            cells.append(_cell(value, name, with_bar=name in content.bars))
        rows.append(element("tr", *cells))
    inner = joined(element("thead", head), element("tbody", *rows))
    return element("div", element("table", inner, class_="cards"), class_="scroll")


def bars(content: Sequence[Bar], colours: Sequence[str] | None = None) -> Markup:
    """Return horizontal bars, the longest as wide as there is room."""
    longest = max((bar.value for bar in content), default=0.0) or 1.0
    rows = []
    for i, bar in enumerate(content):
        share = max(0.0, bar.value) / longest * 100
        style = f"width:{share:.1f}%" + (f";background:{colours[i]}" if colours else "")
        line = element("span", element("span", class_="fill", style=style), class_="track")
        name = element("span", bar.name, class_="name", title=bar.note or None)
        rows.append(element("li", name, line, element("span", bar.text, class_="value")))
    return element("ul", *rows, class_="bars")


def stacked_bars(
    rows: Sequence[tuple[str, Sequence[int]]], names: Sequence[str], colours: Sequence[str]
) -> Markup:
    """Return a bar for each row, divided as its counts are, with the names of the parts and a table of them.

    Args:
        rows: name and N counts of each.
        names: N names of the parts.
        colours: N CSS colours.
    """
    drawn = []
    for name, counts in rows:
        total = max(1, sum(counts))
        parts = [
            element(
                "span",
                title=f"{part}: {count:,}",
                style=f"width:{100 * count / total:.2f}%;background:{colour}",
            )
            for part, count, colour in zip(names, counts, colours, strict=True)
            if count
        ]
        line = element("span", *parts, class_="stack", role="img", aria_label=name)
        drawn.append(element("li", element("span", name, class_="name"), line))
    counted = Table(("", *names), tuple((name, *counts) for name, counts in rows))
    return joined(
        colour_key(names, colours),
        element("ul", *drawn, class_="bars stacks"),
        element("div", table(counted), class_="counts"),
    )


def legend(curves: Sequence[Curve], colours: Sequence[str]) -> Markup:
    """Return the names of curves with their colours and values."""
    values = [Markup() if c.value is None else element("b", cell_text(c.value)) for c in curves]
    return colour_key([joined(c.name, " ", value) for c, value in zip(curves, values, strict=True)], colours)


def colour_key(names: Sequence[str], colours: Sequence[str]) -> Markup:
    """Return names, each beside its colour."""
    swatches = (element("i", style=f"background:{colour}") for colour in colours)
    items = (element("li", swatch, name) for swatch, name in zip(swatches, names, strict=True))
    return element("ul", *items, class_="legend")


def colour_swatch(label: int) -> Markup:
    """Return a small square in the colour of a class."""
    return element("i", class_="swatch", style=f"background:{as_hex(class_colour(label))}")


def confusion(matrix: ConfusionMatrix) -> Markup:
    """Return the matrix as a heat map, or, where it would not fit the screen, its largest confusions."""
    if len(matrix.names) > MAX_MATRIX:
        return table(_largest_pairs(matrix))
    if len(matrix.names) <= MAX_NARROW_MATRIX:
        return _heat_map(matrix)
    pairs = element("div", table(_largest_pairs(matrix)), class_="on-narrow")
    return joined(element("div", _heat_map(matrix), class_="on-wide"), pairs)


def _heat_map(matrix: ConfusionMatrix) -> Markup:
    totals = matrix.counts.sum(axis=1, keepdims=True)
    shares = matrix.counts / np.maximum(totals, 1)
    links = matrix.links or [""] * len(matrix.names)
    columns = [element("th", element("span", name), scope="col", class_="turned") for name in matrix.names]
    rows = []
    for name, link, counts, row in zip(
        matrix.names, links, matrix.counts.tolist(), shares.tolist(), strict=True
    ):
        cells = []
        for found, count, share in zip(matrix.names, counts, row, strict=True):
            title = f"{name} found as {found}: {count:,} ({share:.0%})"
            strong = "strong" if share > STRONG_SHARE else ("none" if count == 0 else None)
            style = f"--share:{round(100 * math.sqrt(share))}%"
            cells.append(element("td", f"{count:,}", title=title, class_=strong, style=style))
        rows.append(element("tr", element("th", _linked(name, link), scope="row"), *cells))
    head = element("tr", element("td", "labelled ↓ found →", class_="corner"), *columns)
    inner = joined(element("thead", head), element("tbody", *rows))
    return element("div", element("table", inner, class_="matrix"), class_="scroll")


def _largest_pairs(matrix: ConfusionMatrix) -> Table:
    off = matrix.counts.copy()
    np.fill_diagonal(off, 0)
    totals = np.maximum(matrix.counts.sum(axis=1), 1)
    rows: list[tuple[Cell, ...]] = []
    for flat in np.argsort(-off, axis=None, kind="stable")[:NUM_PAIRS].tolist():
        true, found = divmod(flat, len(matrix.names))
        if off[true, found] == 0:
            break
        count = int(off[true, found])
        rows.append((matrix.names[true], matrix.names[found], count, f"{count / totals[true]:.0%}"))
    return Table(("labelled", "found as", "times", "share of the class"), tuple(rows))


def _cell(value: Cell, column: str, *, with_bar: bool) -> Markup:
    text = cell_text(value)
    if text in {"n/a", NONE}:
        return element("td", text, class_="none", data_column=column)
    if not with_bar or not isinstance(value, float):
        return element("td", text, class_="text" if _is_text([value]) else None, data_column=column)
    fill = element("span", class_="fill", style=f"width:{100 * min(max(value, 0.0), 1.0):.1f}%")
    bar = element("span", fill, class_="track")
    return element("td", element("span", bar, element("span", text), class_="meter"), data_column=column)


def _linked(text: str, link: str) -> Markup:
    return element("a", text, href=f"#{link}") if link else joined(text)


def _is_text(values: Sequence[Cell]) -> bool:
    return any(isinstance(value, str) and value != NONE and not value[:1].isdigit() for value in values)
