"""The sections of a report, each a function of its data."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.names import counted
from detkit.report.colours import as_hex, class_colour
from detkit.report.content import (
    Bar,
    ConfusionMatrix,
    DatasetSummary,
    Gallery,
    Mistakes,
    Number,
    Picture,
    Plot,
    ReportData,
    Table,
)
from detkit.report.draw import fit
from detkit.report.markup import Markup, element, joined
from detkit.report.plots import line_plot
from detkit.report.tables import bars, cell_text, colour_key, colour_swatch, confusion, legend, table

MAX_CURVES = 8  # in one plot; more classes get a small plot each
SHOWN_MISTAKES = 5  # of a class; the others are folded away
MAX_KEY = 20  # classes whose colours can still be told apart
PICTURE_PX = 1100
SERIES = tuple(f"var(--series-{i})" for i in range(1, 9))
SIDES_PX = (0, 8, 16, 32, 64, 128, 256, 512, 1024)


def all_sections(data: ReportData) -> list[tuple[str, Markup]]:
    """Return heading and content of each section that has data, in reading order."""
    offered = [
        ("Classes", data.per_class and classes(data.per_class)),
        ("Precision and recall", data.pr_curves and class_curves([data.pr_curves])),
        ("Misses and false positives", data.det_curves and class_curves([data.det_curves], marked=False)),
        ("Misses and false windows", data.window_curves and class_curves([data.window_curves], marked=False)),
        ("What it finds", data.samples and samples(data.samples, data.per_class)),
        ("Kinds of error", data.errors and errors(data.errors)),
        ("Found or missed", data.outcomes and table(data.outcomes)),
        ("Where objects were lost", data.lost and lost_objects(data.lost, data.lost_objects)),
        ("Easy and hard objects", data.groups and table(data.groups)),
        ("Worst mistakes", data.mistakes and mistakes(data.mistakes, with_objects=bool(data.samples))),
        ("Confusion", data.confusion and confusion_section(data.confusion)),
        ("Score thresholds", data.thresholds and thresholds(data.thresholds, data.score_plots)),
        ("Filters", data.filters and filters(data.filters)),
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


def classes(content: Table) -> Markup:
    """Return the table of classes."""
    hint = _hint("The name of a class leads to its worst mistakes.") if any(content.links) else Markup()
    return joined(hint, table(content))


def class_curves(plots: Sequence[Plot], *, marked: bool = True) -> Markup:
    """Return plots with a curve a class: one drawing of a few classes, a small one for each of many."""
    hint = _hint("The dots are the score thresholds of best F1.") if marked else Markup("")
    if all(len(plot.curves) <= MAX_CURVES for plot in plots):
        return joined(hint, element("div", *map(_of_few, plots), class_="grid wide"))
    return joined(hint, *map(_of_many, plots))


def _of_few(plot: Plot) -> Markup:
    colours = _class_colours(len(plot.curves))
    return element(
        "figure", element("figcaption", plot.title), _drawn(plot, colours), legend(plot.curves, colours)
    )


def _of_many(plot: Plot) -> Markup:
    small = []
    for curve, colour in zip(plot.curves, _class_colours(len(plot.curves)), strict=True):
        heading = element("figcaption", curve.name, Markup(" "), element("b", cell_text(curve.value)))
        drawing = _drawn(replace(plot, x_label="", curves=(curve,)), [colour], size=(220, 160))
        small.append(element("figure", heading, drawing))
    return joined(element("h3", plot.title, class_="plots"), element("div", *small, class_="grid small"))


def _drawn(plot: Plot, colours: Sequence[str], size: tuple[int, int] = (440, 270)) -> Markup:
    limits = (0.0, 1.0) if plot.x_label == "recall" else None
    return line_plot(
        plot.curves,
        colours,
        x_label=plot.x_label,
        title=plot.title,
        x_limits=limits,
        y_limits=plot.y_limits,
        size=size,
    )


def _class_colours(count: int) -> list[str]:
    return [as_hex(class_colour(i)) for i in range(count)]


def training(plots: Sequence[Plot]) -> Markup:
    """Return the training curves, a plot each."""
    figures = []
    for plot in plots:
        colours = [SERIES[i % len(SERIES)] for i in range(len(plot.curves))]
        names = Markup()
        if len(plot.curves) > 1 or plot.curves[0].value is not None:
            names = legend(plot.curves, colours)
        figures.append(element("figure", element("figcaption", plot.title), _drawn(plot, colours), names))
    return element("div", *figures, class_="grid wide")


def samples(pictures: Sequence[Picture], of_classes: Table | None) -> Markup:
    """Return images with ground truth and detections, and the colours of the classes."""
    hint = _hint(
        "Solid: found, from each class's score of best F1 on, with the score. Dashed white: labelled. "
        "Press a picture to enlarge it."
    )
    names = [cell_text(row[0]) for row in of_classes.rows] if of_classes else []
    key = colour_key(names, _class_colours(len(names))) if len(names) <= MAX_KEY else Markup()
    return joined(hint, key, element("div", *map(figure, pictures), class_="columns"))


def mistakes(groups: Sequence[Mistakes], *, with_objects: bool) -> Markup:
    """Return the mistakes of each class; those of a detector show objects and detections."""
    key = "Solid: found, with its score. Dashed white: labelled. " if with_objects else ""
    return joined(_hint(f"Worst first. {key}Press a picture to enlarge it."), *map(_mistakes_of, groups))


def _mistakes_of(group: Mistakes) -> Markup:
    heading = element("h3", colour_swatch(group.label), group.name, element("small", f": {group.note}"))
    return element(
        "div", heading, *_crops(group.pictures, f" of {group.name}"), class_="part", id=group.anchor
    )


def _crops(pictures: Sequence[Picture], of: str = "") -> list[Markup]:
    """Return some pictures, and the others folded away."""
    parts = [element("div", *map(figure, pictures[:SHOWN_MISTAKES]), class_="grid crops")]
    if rest := pictures[SHOWN_MISTAKES:]:
        more = element("div", *map(figure, rest), class_="grid crops")
        parts.append(element("details", element("summary", f"{len(rest)} more{of}"), more))
    return parts


def lost_objects(counts: Table, groups: Sequence[Gallery]) -> Markup:
    """Return how many objects each step lost, and some of them."""
    hint = _hint(
        "The first step, in the order of the detector, behind which no box was left that would have been a "
        "detection of the object; from each class's score of best F1 on, at IoU 0.5. The names lead to the "
        "objects, and detkit trace shows the way of each."
    )
    return joined(hint, table(counts), *map(_gallery, groups))


def _gallery(group: Gallery) -> Markup:
    heading = element("h3", group.name, element("small", f": {group.note}"))
    parts = [heading, *_crops(group.pictures)]
    if len(group.files) > len(group.pictures):
        names = element("p", ", ".join(group.files), class_="hint")
        parts.append(element("details", element("summary", "images of all"), names))
    return element("div", *parts, class_="part", id=group.anchor)


def filters(pictures: Sequence[Picture]) -> Markup:
    """Return pictures of filters."""
    hint = _hint(
        "Of a network, the filters of its first layer, each in the colours that it answers to; of a linear "
        "model, the edges that each class looks for. Press a picture to enlarge it."
    )
    return joined(hint, element("div", *map(figure, pictures), class_="grid wide"))


def errors(kinds: Sequence[Bar]) -> Markup:
    """Return what each kind of error costs, with its meaning."""
    notes = [joined(element("dt", kind.name), element("dd", kind.note)) for kind in kinds if kind.note]
    hint = _hint(
        "AP at IoU 0.5 that would be gained if no error of this kind were made, and in parentheses how many "
        "there are from each class's score of best F1 on."
    )
    meaning = element("dl", *notes, class_="meaning") if notes else Markup()
    return joined(hint, element("div", bars(kinds), meaning, class_="beside"))


def confusion_section(matrix: ConfusionMatrix) -> Markup:
    """Return the confusion matrix and what it counts."""
    return joined(_hint(matrix.note) if matrix.note else Markup(), confusion(matrix))


def thresholds(content: Table, plots: Sequence[Plot]) -> Markup:
    """Return the table of score thresholds, with what they are, and the curves they were chosen by."""
    hint = _hint(
        "From which score on should a detection count? The score of the best F1, the one that keeps a "
        "precision of 0.9 with the most recall, and the one that keeps a recall of 0.9 with the most "
        "precision; n/a: out of reach. The counts and pictures of this page are those from the best F1 on."
    )
    return joined(hint, table(content), class_curves(plots) if plots else Markup())


def dataset(data: DatasetSummary) -> Markup:
    """Return counts, objects per class and sizes of boxes."""
    total = sum(data.objects_per_class.values())
    line = f"{counted(data.num_images, 'image')}, {counted(total, 'object')}"
    if data.num_empty:
        line += f", {counted(data.num_empty, 'image')} without objects"
    counts = [Bar(name, float(n), f"{n:,}") for name, n in data.objects_per_class.items()]
    colours = _class_colours(len(counts))
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
    return element("div", element("h3", data.name), _hint(line), grid, class_="part")


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


def figure(picture: Picture) -> Markup:
    """Return a picture that can be enlarged, with what is said about it."""
    shown = picture.image
    if max(shown.shape) > PICTURE_PX:
        shown = fit(shown, PICTURE_PX)
    heard = ", ".join(text for text in (picture.tag, picture.caption, picture.note) if text)
    image = element("img", src=data_uri(shown), alt=heard, width=shown.shape[1], height=shown.shape[0])
    # Open, its summary covers the window: enlarging without a script.
    enlarging = element("details", element("summary", image), element("p", heard), class_="enlarge")
    tag = element("span", picture.tag, class_="tag") if picture.tag else Markup()
    note = element("div", picture.note) if picture.note else Markup()
    return element("figure", enlarging, element("figcaption", tag, picture.caption, note))


def data_uri(image: NDArray[np.uint8]) -> str:
    """Return the address of a JPEG of (H, W, 3) uint8 RGB pixels that holds all of it."""
    done, encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
