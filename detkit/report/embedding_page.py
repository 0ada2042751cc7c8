"""The page of an embedding: a map of objects to move about in, and what neighbours say of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.report.colours import as_hex, class_colour
from detkit.report.content import ConfusionMatrix, Number, Picture
from detkit.report.draw import Image
from detkit.report.html import page, resource
from detkit.report.markup import Markup, element, joined
from detkit.report.sections import confusion_section, data_uri, figure
from detkit.storage.json_text import json_bytes

SHOWN, SHOWN_PAIRS = 60, 25
"""Suspects, and pairs of near duplicates, that the page shows; files have all."""
NEIGHBOURS_SHOWN = 8

_SHEET_PX = 2048
_ALL_CROPS_PX = 6_000_000  # of all crops together: about 2 MB of the page
_LEAST_PX, _MOST_PX = 24, 112
_CARD_PX, _STRIP = 240, 4  # side of a suspect's picture, and its neighbours below it
_NO_COLOUR = "#9a9a9a"


@dataclass(frozen=True)
class EmbeddingMap:
    """N objects on a map.

    Attributes:
        places: (N, 2) in [0, 1].
        labels: (N,) indices of classes; -1 has none.
        suggested: (N,) the class that the neighbours of a suspect vote for; -1 of one that is none.
        names: N image names.
        neighbours: (N, k) others, nearest first.
        crops: (N, S, S, 3) uint8 RGB.
        classes: K names.
    """

    places: NDArray[np.float64]
    labels: NDArray[np.int64]
    suggested: NDArray[np.int64]
    names: Sequence[str]
    neighbours: NDArray[np.int64]
    crops: NDArray[np.uint8]
    classes: Sequence[str]

    def name(self, label: int) -> str:
        """Return what a label is called."""
        return self.classes[label] if label >= 0 else "none or several"


def crop_side(count: int) -> int:
    """Return the side in pixels of each of so many crops, with which a page stays small.

    Example:
        >>> crop_side(10), crop_side(600), crop_side(5000), crop_side(100_000)
        (112, 100, 34, 24)
    """
    return int(np.clip((_ALL_CROPS_PX / max(count, 1)) ** 0.5, _LEAST_PX, _MOST_PX))


def embedding_page(
    title: str,
    subtitle: str,
    figures: Sequence[Number],
    notes: Sequence[str],
    content: EmbeddingMap,
    suspects: Sequence[Picture],
    duplicates: Sequence[Picture],
    confused: NDArray[np.int64],
) -> str:
    """Return the page as HTML that needs nothing but itself.

    Args:
        title: what is shown.
        subtitle: of which dataset, by which model.
        figures: the numbers at the top.
        notes: for the reader.
        content: the objects.
        suspects: the labels that are suspect, worst first; see `suspect_card`.
        duplicates: pairs of near duplicates, those with two labels first.
        confused: (K, K) objects by their class (row) and the class that their neighbours vote for (column).
    """
    sections = [("Map", _map(content))] if len(content.labels) else []
    if suspects:
        cards = element("div", *map(figure, suspects), class_="grid crops")
        sections.append(("Suspect labels", joined(_SUSPECTS, cards)))
    if duplicates:
        pairs = element("div", *map(figure, duplicates), class_="grid crops pairs")
        sections.append(("Near duplicates", joined(_DUPLICATES, pairs)))
    if confused.sum():
        matrix = ConfusionMatrix(tuple(content.classes), confused, _CONFUSED)
        sections.append(("Neighbours", confusion_section(matrix)))
    style, script = resource("embedding.css"), resource("embedding.js")
    return page(title, subtitle, figures, notes, sections, style=style, script=script)


def suspect_card(crop: Image, row: int, content: EmbeddingMap) -> Picture:
    """Return the picture of a suspect, with its nearest neighbours in a strip below it.

    Args:
        crop: (H, W, 3) uint8 RGB of the object, in any size.
        row: which object it is.
        content: the objects.
    """
    small = _CARD_PX // _STRIP
    strip = np.full((small, _CARD_PX, 3), 255, dtype=np.uint8)
    for place, other in enumerate(content.neighbours[row, :_STRIP].tolist()):
        tile = _resized(content.crops[other], small)
        tile[-5:] = class_colour(int(content.labels[other])) if content.labels[other] >= 0 else (154,) * 3
        strip[:, place * small : (place + 1) * small] = tile
    label, better = (content.name(int(of[row])) for of in (content.labels, content.suggested))
    shown = np.vstack([_resized(crop, _CARD_PX), strip])
    return Picture(shown, f"labelled {label}", f"{better}?", content.names[row])


def _resized(image: Image, side: int) -> Image:
    method = cv2.INTER_AREA if side < len(image) else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (side, side), interpolation=method), dtype=np.uint8)


def _map(content: EmbeddingMap) -> Markup:
    """Return the map's canvas and controls, with its data and sheets of crops; embedding.js draws it."""
    present = np.unique(content.labels)
    keys = [
        element(
            "label",
            Markup(f'<input type="checkbox" checked value="{int(label)}">'),
            element("i", style=f"background:{_colour(int(label))}"),
            content.name(int(label)),
        )
        for label in present
    ]
    buttons = [
        element("button", text, type="button", data_do=action, aria_label=said)
        for text, action, said in (
            ("+", "in", "zoom in"),
            ("−", "out", "zoom out"),
            ("whole map", "whole", "whole map"),
            ("next suspect", "next", "next suspect"),
        )
    ]
    canvas = element(
        "canvas",
        id="canvas",
        tabindex="0",
        role="img",
        aria_label="objects, near to those that resemble them",
    )
    sheets, per_row = _sheets(content.crops)
    images = [element("img", class_="sheet", src=data_uri(sheet), alt="") for sheet in sheets]
    return joined(
        _MAP,
        element("div", *buttons, class_="controls"),
        element(
            "div", element("div", canvas, class_="canvas"), element("aside", id="panel"), class_="embedding"
        ),
        element("fieldset", element("legend", "Classes"), *keys, class_="keys"),
        element("div", *images, hidden="hidden"),
        element("script", _data(content, per_row), type="application/json", id="data"),
        Markup("<noscript><p class='notice'>The map needs a browser that runs its script.</p></noscript>"),
    )


def _sheets(crops: NDArray[np.uint8]) -> tuple[list[Image], int]:
    """Return crops side by side on large images, in their order, and how many are in a row."""
    side = crops.shape[1]
    per_row = min(_SHEET_PX // side, max(1, ceil(len(crops) ** 0.5)))
    sheets = []
    for start in range(0, len(crops), per_row**2):
        some = crops[start : start + per_row**2]
        rows = ceil(len(some) / per_row)
        padded = np.full((rows * per_row, *some.shape[1:]), 128, dtype=np.uint8)
        padded[: len(some)] = some
        grid = padded.reshape(rows, per_row, side, side, 3).swapaxes(1, 2)
        sheets.append(grid.reshape(rows * side, per_row * side, 3))
    return sheets, per_row


def _data(content: EmbeddingMap, per_row: int) -> Markup:
    """Return what the script reads as JSON in which no text can end its element."""
    images = list(dict.fromkeys(content.names))
    places = {name: place for place, name in enumerate(images)}
    values: dict[str, Any] = {
        "classes": [[name, _colour(label)] for label, name in enumerate(content.classes)],
        "none": [content.name(-1), _NO_COLOUR],
        "images": images,
        "side": content.crops.shape[1],
        "perRow": per_row,
        "places": content.places.round(4).tolist(),
        "labels": content.labels.tolist(),
        "suggested": content.suggested.tolist(),
        "image": [places[name] for name in content.names],
        "near": content.neighbours[:, :NEIGHBOURS_SHOWN].tolist(),
    }
    return Markup(json_bytes(values).decode().replace("<", "\\u003c"))


def _colour(label: int) -> str:
    return as_hex(class_colour(label)) if label >= 0 else _NO_COLOUR


def _hint(text: str) -> Markup:
    return element("p", text, class_="hint")


_MAP = _hint(
    "Objects that the network takes for alike are near to each other; between far ones, distances say little "
    "(t-SNE). A frame has the colour of the label, a dashed one is a suspect. Point at an object, or press "
    "it, to see it with its nearest neighbours. Drag to move; Ctrl and the wheel zoom."
)
_SUSPECTS = _hint(
    "Objects whose nearest neighbours agree on another class than the label says; those that disagree most "
    "come first. Below each are its nearest neighbours, underlined in the colour of their label. Look before "
    "you change a label: rare views of an object are found, too."
)
_DUPLICATES = _hint(
    "Objects in different images that are nearly the same, by code and by pixels. In training they count "
    "twice; between training and validation they flatter."
)
_CONFUSED = (
    "Each object's label, and the class that its ten nearest neighbours vote for: off the diagonal are "
    "classes that look alike to the network, or labels that are wrong."
)
