"""Content of a report as plain values: no model, no tensors, no dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cell = str | int | float | None
"""A value of a table; None and NaN are shown as n/a."""


@dataclass(frozen=True)
class Number:
    """One figure of the summary.

    Attributes:
        label: what it is, such as "AP50".
        value: a fraction is shown with three decimals, a count as it is, text unchanged.
        note: a few words below it, such as "VOC2007, 11 points".
    """

    label: str
    value: Cell
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column names the row.

    Attributes:
        columns: headings.
        rows: as many cells each.
        bars: columns whose values, from 0 to 1, also get a bar.
        colours: show the class colour of row i beside its name.
        links: for each row the id of the part of the page that its name leads to, empty for none.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    bars: tuple[str, ...] = ()
    colours: bool = False
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        name: for the legend.
        x: (N,) rising.
        y: (N,); NaN leaves a gap.
        value: a figure shown beside the name, such as the AP of a precision-recall curve.
        mark: x and y of a point to mark, such as that of the threshold chosen.
    """

    name: str
    x: NDArray[Any]
    y: NDArray[Any]
    value: float | None = None
    mark: tuple[float, float] | None = None


@dataclass(frozen=True)
class Plot:
    """Curves over a common axis.

    Attributes:
        title: heading.
        x_label: what the horizontal axis is, with its unit.
        curves: drawn in this order.
        y_limits: lowest and highest value; None takes them from the curves.
    """

    title: str
    x_label: str
    curves: tuple[Curve, ...]
    y_limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Picture:
    """An image and what is to be said about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        caption: a line below it.
        tag: one or two words before the caption, such as "missed".
        note: a second line, such as the image's name.
    """

    image: NDArray[np.uint8]
    caption: str
    tag: str = ""
    note: str = ""


@dataclass(frozen=True)
class Mistakes:
    """Mistakes that have to do with one class.

    Attributes:
        label: class index.
        name: the class.
        note: how many there are of which sort.
        pictures: the worst of them, worst first.
    """

    label: int
    name: str
    note: str
    pictures: tuple[Picture, ...]

    @property
    def anchor(self) -> str:
        """The id of this part of the page."""
        return f"mistakes-{self.label}"


@dataclass(frozen=True)
class Gallery:
    """Objects of which the same is to be said.

    Attributes:
        anchor: the id of this part of the page.
        name: what is said of them.
        note: how many there are.
        pictures: of some or all of them.
        files: names of the images of all.
    """

    anchor: str
    name: str
    note: str
    pictures: tuple[Picture, ...]
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its length, and the text at its end."""

    name: str
    value: float
    text: str
    note: str = ""


@dataclass(frozen=True)
class ConfusionMatrix:
    """Confusion matrix: how often each class was classified as each other.

    Attributes:
        names: K + 1 row and column names, the last for background.
        counts: (K + 1, K + 1) by true class (row) and found class (column).
        note: which detections are counted.
        links: for each row the id of the part of the page that its name leads to, empty for none.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    note: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetSummary:
    """Classes and counts of a dataset.

    Attributes:
        name: which dataset, such as a folder.
        num_images: all of them.
        num_empty: those without objects.
        objects_per_class: class name to count, in class order.
        sides_px: (M,) square roots of the areas of all objects, in pixels.
    """

    name: str
    num_images: int
    num_empty: int
    objects_per_class: Mapping[str, int]
    sides_px: NDArray[np.float64]


@dataclass(frozen=True)
class ReportData:
    """All that a report can show; sections without data are left out.

    Attributes:
        title: heading, such as the name of the run.
        subtitle: a line below it, such as the detector and the dataset.
        summary: the figures at the top.
        per_class: one row a class.
        pr_curves: recall (x) and precision (y) of each class, in class order, with its AP.
        det_curves: false positives an image (x, logarithm) and miss rate (y) of each class, with its average.
        window_curves: likewise false positives a window, with the miss rate at 0.0001.
        training: loss and metric curves.
        samples: images with ground truth and detections.
        mistakes: the worst mistakes, by class.
        filters: what the model's filters look for.
        confusion: which classes are classified as which.
        errors: kinds of error and the AP each costs.
        groups: AP of objects by size and by crowding.
        outcomes: how many objects were found, and why others were not.
        lost: how many objects each step of the detector lost, where they were traced.
        lost_objects: these objects, by the step.
        thresholds: suggested score thresholds by class.
        score_plots: what each threshold would give, plots with a curve a class, in class order.
        notes: sentences for the reader, such as why an AP is zero.
        datasets: the training and validation sets.
        config_yaml: the resolved config.
        environment: name to value: versions, machine.
        command: the exact command line.
    """

    title: str
    subtitle: str = ""
    summary: tuple[Number, ...] = ()
    per_class: Table | None = None
    pr_curves: Plot | None = None
    det_curves: Plot | None = None
    window_curves: Plot | None = None
    training: tuple[Plot, ...] = ()
    samples: tuple[Picture, ...] = ()
    mistakes: tuple[Mistakes, ...] = ()
    filters: tuple[Picture, ...] = ()
    confusion: ConfusionMatrix | None = None
    errors: tuple[Bar, ...] = ()
    groups: Table | None = None
    outcomes: Table | None = None
    lost: Table | None = None
    lost_objects: tuple[Gallery, ...] = ()
    thresholds: Table | None = None
    score_plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()
    datasets: tuple[DatasetSummary, ...] = ()
    config_yaml: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
