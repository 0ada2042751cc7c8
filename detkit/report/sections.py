"""The sections of a report, each a function of its data."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.names import counted
from detkit.report.colours import as_hex, class_colour
from detkit.report.content import (
    Bar,
    ConfusionMatrix,
    Curve,
    DatasetSummary,
    Number,
    Picture,
    Plot,
    ReportData,
    Table,
)
from detkit.report.draw import fit
from detkit.report.markup import Markup, element, joined
from detkit.report.plots import line_plot
from detkit.report.tables import bars, cell_text, confusion, legend, table

MAX_CURVES = 8  # in one plot; more classes get a small plot each
SHOWN_MISTAKES = 15  # the others are folded away
PICTURE_PX = 1100
SERIES = tuple(f"var(--series-{i})" for i in range(1, 9))
SIDES_PX = (0, 8, 16, 32, 64, 128, 256, 512, 1024)


def all_sections(data: ReportData) -> list[tuple[str, Markup]]:
    """Return heading and content of each section that has data, in reading order."""
    offered = [
        ("Classes", data.per_class and table(data.per_class)),
        ("Precision and recall", data.pr_curves and pr_curves(data.pr_curves)),
        ("What it finds", data.samples and samples(data.samples)),
        ("Kinds of error", data.errors and errors(data.errors)),
        ("Found or missed", data.outcomes and table(data.outcomes)),
        ("Easy and hard objects", data.groups and table(data.groups)),
        ("Worst mistakes", data.mistakes and mistakes(data.mistakes)),
        ("Confusion", data.confusion and confusion_section(data.confusion)),
        ("Score thresholds", data.thresholds and thresholds(data.thresholds)),
        ("Training", data.training and training(data.training)),
        ("Data", data.datasets and joined(*map(dataset, data.datasets))),
        ("Run it again", reproduce(data)),
    ]
    return [(heading, content) for heading, content in offered if isinstance(content, Markup) and content]


def summary(numbers: Sequence[Number]) -> Markup:
    """Return the figures at the top."""
    tiles = []
    for number in numbers:
        parts = [element("dt", number.label), element("dd", cell_text(number.value))]
        if number.note:
            parts.append(element("dd", number.note, class_="note"))
        tiles.append(element("div", *parts))
    return element("dl", *tiles, class_="tiles")


def pr_curves(curves: Sequence[Curve]) -> Markup:
    """Return one plot for a few classes, a small one for each of many."""
    colours = [as_hex(class_colour(i)) for i in range(len(curves))]
    plot = partial(line_plot, x_limits=(0.0, 1.0), y_limits=(0.0, 1.0))
    if len(curves) <= MAX_CURVES:
        hint = _hint("Precision (upwards) at each recall; the number is the class's AP.")
        figure = element("figure", plot(curves, colours, x_label="recall", size=(440, 300)))
        return element("div", figure, element("div", legend(curves, colours), hint), class_="beside")
    small = []
    for curve, colour in zip(curves, colours, strict=True):
        heading = element("figcaption", curve.name, Markup(" "), element("b", cell_text(curve.value)))
        drawing = plot([curve], [colour], x_label="", size=(220, 160))
        small.append(element("figure", heading, drawing))
    hint = _hint("Precision (upwards) over recall; the number is the class's AP.")
    return joined(hint, element("div", *small, class_="grid small"))


def training(plots: Sequence[Plot]) -> Markup:
    """Return the training curves, a plot each."""
    figures = []
    for plot in plots:
        colours = [SERIES[i % len(SERIES)] for i in range(len(plot.curves))]
        drawing = line_plot(plot.curves, colours, x_label=plot.x_label, y_limits=plot.y_limits)
        names = Markup()
        if len(plot.curves) > 1 or plot.curves[0].value is not None:
            names = legend(plot.curves, colours)
        figures.append(element("figure", element("figcaption", plot.title), drawing, names))
    return element("div", *figures, class_="grid wide")


def samples(pictures: Sequence[Picture]) -> Markup:
    """Return images with ground truth and detections."""
    hint = _hint("Solid: found, with its score. Dashed white: labelled.")
    return joined(hint, element("div", *map(_figure, pictures), class_="columns"))


def mistakes(pictures: Sequence[Picture]) -> Markup:
    """Return crops of mistakes."""
    hint = _hint("Worst first. Solid: found, with its score. Dashed white: labelled.")
    first = element("div", *map(_figure, pictures[:SHOWN_MISTAKES]), class_="grid crops")
    rest = pictures[SHOWN_MISTAKES:]
    if not rest:
        return joined(hint, first)
    more = element("div", *map(_figure, rest), class_="grid crops")
    return joined(hint, first, element("details", element("summary", f"{len(rest)} more"), more))


def errors(kinds: Sequence[Bar]) -> Markup:
    """Return what each kind of error costs, with its meaning."""
    notes = [joined(element("dt", kind.name), element("dd", kind.note)) for kind in kinds if kind.note]
    hint = _hint(
        "AP at IoU 0.5 that would be gained if no error of this kind were made, and how many there are."
    )
    meaning = element("dl", *notes, class_="meaning") if notes else Markup()
    return joined(hint, element("div", bars(kinds), meaning, class_="beside"))


def confusion_section(matrix: ConfusionMatrix) -> Markup:
    """Return the confusion matrix and what it counts."""
    return joined(_hint(matrix.note) if matrix.note else Markup(), confusion(matrix))


def thresholds(content: Table) -> Markup:
    """Return the table of score thresholds, with what they are."""
    hint = _hint(
        "From which score on should a detection count? The score of the best F1, the one that keeps a "
        "precision of 0.9 with the most recall, and the one that keeps a recall of 0.9 with the most "
        "precision; n/a: out of reach."
    )
    return joined(hint, table(content))


def dataset(data: DatasetSummary) -> Markup:
    """Return counts, objects per class and sizes of boxes."""
    total = sum(data.objects_per_class.values())
    line = f"{counted(data.num_images, 'image')}, {counted(total, 'object')}"
    if data.num_empty:
        line += f", {counted(data.num_empty, 'image')} without objects"
    counts = [Bar(name, float(n), f"{n:,}") for name, n in data.objects_per_class.items()]
    colours = [as_hex(class_colour(i)) for i in range(len(counts))]
    edges = np.append(np.array(SIDES_PX, np.float64), np.inf)
    found, _ = np.histogram(data.sides_px, edges)
    names = [f"{low}–{high} px" for low, high in pairwise(SIDES_PX)]
    names.append(f"over {SIDES_PX[-1]} px")
    sizes = [Bar(name, float(n), f"{n:,}") for name, n in zip(names, found.tolist(), strict=True)]
    shown = np.flatnonzero(found)
    sizes = sizes[shown[0] : shown[-1] + 1] if len(shown) else []
    drawn = [element("div", element("h4", "Objects of each class"), bars(counts, colours))]
    if sizes:
        heading = element("h4", "Size of objects (square root of the area)")
        drawn.append(element("div", heading, bars(sizes)))
    grid = element("div", *drawn, class_="grid wide")
    return element("div", element("h3", data.name), _hint(line), grid, class_="dataset")


def reproduce(data: ReportData) -> Markup:
    """Return the command, the environment and the config."""
    parts = []
    if data.command:
        parts.append(element("pre", element("code", data.command), class_="command"))
    if data.environment:
        pairs = [element("div", element("dt", k), element("dd", v)) for k, v in data.environment.items()]
        parts.append(element("dl", *pairs, class_="environment"))
    if data.config_yaml:
        config = element("pre", element("code", data.config_yaml))
        parts.append(element("details", element("summary", "config.yaml"), config))
    return joined(*parts)


def _hint(text: str) -> Markup:
    return element("p", text, class_="hint")


def _figure(picture: Picture) -> Markup:
    shown = picture.image
    if max(shown.shape) > PICTURE_PX:
        shown = fit(shown, PICTURE_PX)
    image = element(
        "img",
        src=_data_uri(shown),
        alt=picture.caption,
        width=shown.shape[1],
        height=shown.shape[0],
        loading="lazy",
    )
    tag = element("span", picture.tag, class_="tag") if picture.tag else Markup()
    note = element("div", picture.note) if picture.note else Markup()
    return element("figure", image, element("figcaption", tag, picture.caption, note))


def _data_uri(image: NDArray[np.uint8]) -> str:
    done, encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
