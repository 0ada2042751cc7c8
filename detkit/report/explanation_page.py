"""The page of an explanation: each method's map over the image, with what its checks say beside it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.report.content import Curve, Number, Picture, Plot, Table
from detkit.report.draw import Image
from detkit.report.html import page
from detkit.report.markup import element, joined
from detkit.report.sections import class_curves, figure
from detkit.report.tables import table

_HIGHEST = 99.5  # percentile of a map that is drawn in full colour: single pixels would leave the rest dark


def overlay(image: Image, heat: NDArray[np.float32]) -> Image:
    """Return an image with a map over it, the warmer the more it mattered; negative values stay dark.

    Args:
        image: (H, W, 3) uint8 RGB.
        heat: (h, w) map of all of it, in another size perhaps.
    """
    positive = np.maximum(heat - np.median(heat), 0)
    large = cv2.resize(positive, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    top = float(np.percentile(large, _HIGHEST)) or float(large.max()) or 1.0
    shown = np.clip(255 * large / top, 0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(shown, cv2.COLORMAP_INFERNO)[:, :, ::-1]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None].astype(np.float32)
    share = 0.35 + 0.65 * np.sqrt(shown[:, :, None] / 255)
    return np.asarray((1 - share) * grey + share * colours, dtype=np.uint8)


def explanation_page(
    title: str,
    subtitle: str,
    figures: Sequence[Number],
    notes: Sequence[str],
    pictures: Sequence[Picture],
    checks: Table,
    plots: Sequence[Plot],
) -> str:
    """Return the page as HTML that needs nothing but itself.

    Args:
        title: what is explained.
        subtitle: of which image, by which model.
        figures: the numbers at the top.
        notes: for the reader.
        pictures: the image and each method's map, with the checks that failed as its note.
        checks: a row for each method.
        plots: the curves of deletion and insertion.
    """
    sections = [
        ("Maps", element("div", *map(figure, pictures), class_="grid wide")),
        ("Checks", joined(_WHAT_CHECKS_SAY, table(checks))),
    ]
    if plots:
        sections.append(("Curves", class_curves(plots, marked=False)))
    return page(title, subtitle, figures, notes, sections)


_WHAT_CHECKS_SAY = element(
    "p",
    "Randomisation: rank correlation with the map of a network of random weights; near 1, the map shows the "
    "image and not the network. Deletion: mean score while the pixels of the map are taken away, best first; "
    "lower is better. Insertion: while they are given back to a blurred image; higher is better. Points at: "
    "whether the maximum lies in the object.",
    class_="hint",
)


def curve(name: str, heights: NDArray[np.float32], area: float) -> Curve:
    """Return a curve of evenly spaced points over shares from 0 to 1, with the area below it."""
    return Curve(name, np.linspace(0, 1, len(heights)), heights.astype(np.float64), value=area)
