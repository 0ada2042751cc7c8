"""The page of `detkit lineage`: what each idea of the R-CNN family bought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from detkit.evaluation.measure import NAMES
from detkit.lineage.losses import REASONS
from detkit.report.content import Bar, Cell, Number, Picture, Table
from detkit.report.html import page
from detkit.report.markup import Markup, element, joined
from detkit.report.plots import Point, point_plot
from detkit.report.sections import SERIES, figure
from detkit.report.tables import NONE, bars, stacked_bars, table
from detkit.runtime.memory import shown_bytes

COLUMNS = (
    "detector",
    NAMES["AP50"],
    NAMES["AP"],
    "recall of proposals",
    "boxes an image",
    "training",
    "an image",
    "proposals",
    "network",
    "memory",
)


@dataclass(frozen=True)
class Row:
    """One detector of the chain, measured on the same images as the others.

    Attributes:
        detector: its name in files and in JSON.
        title: its name for people.
        year: of its paper.
        idea: what is new in it, in a few words.
        ap50: COCO's AP at IoU 0.5.
        ap: COCO's AP.
        recall: share of objects with a proposal at IoU 0.5; None for a detector without proposals.
        boxes_per_image: proposals of an image; None likewise.
        train_seconds: time of the training, without that of the proposals.
        proposal_seconds: time that the proposals of an image take at test; None likewise.
        network_seconds: time that the rest takes.
        train_bytes: most memory in use at once in the training, all in all.
        test_bytes: likewise at test.
        objects: validation objects that count.
        lost: of them, how many were lost for which reason (`losses.REASONS`), from the scores of best F1 on.
    """

    detector: str
    title: str
    year: int
    idea: str
    ap50: float
    ap: float
    recall: float | None
    boxes_per_image: float | None
    train_seconds: float
    proposal_seconds: float | None
    network_seconds: float
    train_bytes: int
    test_bytes: int
    objects: int
    lost: dict[str, int]

    @property
    def test_seconds(self) -> float:
        """Time of an image at test, all in all."""
        return (self.proposal_seconds or 0.0) + self.network_seconds

    def cells(self) -> list[str]:
        """Return what stands behind the name in a table."""
        return [
            f"{self.ap50:.3f}",
            f"{self.ap:.3f}",
            NONE if self.recall is None else f"{self.recall:.3f}",
            NONE if self.boxes_per_image is None else f"{self.boxes_per_image:,.0f}",
            shown_seconds(self.train_seconds),
            shown_seconds(self.test_seconds),
            NONE if self.proposal_seconds is None else shown_seconds(self.proposal_seconds),
            shown_seconds(self.network_seconds),
            shown_bytes(self.test_bytes),
        ]


@dataclass(frozen=True)
class Ratio:
    """How many times faster one detector is than another, beside a paper's own figure.

    Attributes:
        what: which time, and of which two.
        slow: the slower detector.
        fast: the faster one.
        seconds: field of a row, what is compared.
        published: in the paper.
        source: which paper, and on what.
        measured: here; NaN where it was not.
    """

    what: str
    slow: str
    fast: str
    seconds: str
    published: float
    source: str
    measured: float = float("nan")


SPP = "SPP-net, ZF-5 on a GPU, one size of the image"
FAST = "Fast R-CNN, VGG16 on a K40"
CASCADE = "Cascade R-CNN, both with a feature pyramid on a GPU"
FASTER = "Faster R-CNN, VGG16 on a K40, selective search on a CPU"

PUBLISHED = {
    "fast_rcnn_train": Ratio("training: Fast R-CNN instead of R-CNN",
                             "rcnn", "fast_rcnn", "train_seconds", 8.8, FAST),
    "sppnet_test": Ratio("network, at test: SPP-net instead of R-CNN",
                         "rcnn", "sppnet", "network_seconds", 102, SPP),
    "fast_rcnn_test": Ratio("network, at test: Fast R-CNN instead of R-CNN",
                            "rcnn", "fast_rcnn", "network_seconds", 146, FAST),
    "rpn": Ratio("proposals: a network instead of selective search",
                 "fast_rcnn", "faster_rcnn", "proposal_seconds", 151, FASTER),
    "faster_rcnn_test": Ratio("a whole image: Faster instead of Fast R-CNN",
                              "fast_rcnn", "faster_rcnn", "test_seconds", 9.2, FASTER),
    "cascade_rcnn_test": Ratio("a whole image: Faster instead of Cascade R-CNN",
                               "cascade_rcnn", "faster_rcnn", "test_seconds", 1.2, CASCADE),
}  # fmt: skip


def ratios_of(rows: Sequence[Row]) -> dict[str, Ratio]:
    """Return the papers' figures of which both detectors were measured, by name."""
    by_name = {row.detector: row for row in rows}
    found = {}
    for name, ratio in PUBLISHED.items():
        if ratio.slow in by_name and ratio.fast in by_name:
            slow, fast = (getattr(by_name[one], ratio.seconds) for one in (ratio.slow, ratio.fast))
            found[name] = replace(ratio, measured=slow / fast if fast else float("nan"))
    return found


def shown_seconds(seconds: float) -> str:
    """Return a time for people.

    Example:
        >>> shown_seconds(0.0123), shown_seconds(3.21), shown_seconds(312.4)
        ('12.3 ms', '3.2 s', '312 s')
    """
    if seconds < 1:
        return f"{1000 * seconds:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def lineage_page(
    subtitle: str,
    rows: Sequence[Row],
    ratios: Sequence[Ratio],
    shown: Sequence[tuple[str, Sequence[Picture]]],
    notes: Sequence[str],
    environment: Mapping[str, str],
) -> str:
    """Return the page as HTML.

    Args:
        subtitle: which data and backbone.
        rows: the detectors, oldest first.
        ratios: what was gained, beside the papers' own figures.
        shown: name of each photograph, and what the detectors find in it.
        notes: sentences for the reader.
        environment: name to value: versions, machine, command.
    """
    best = max(rows, key=lambda row: row.ap50)
    fastest = min(rows, key=lambda row: row.test_seconds)
    figures = (
        Number(f"best {NAMES['AP50']}", best.ap50, best.title),
        Number("fastest at test", f"{shown_seconds(fastest.test_seconds)} an image", fastest.title),
    )
    whole = tuple((row.title, *row.cells()) for row in rows)
    pairs = [element("div", element("dt", k), element("dd", v)) for k, v in environment.items()]
    sections = [
        ("Time line", _time_line(rows)),
        ("The chain", table(Table(COLUMNS, whole))),
        ("Speed and accuracy", _speed_and_accuracy(rows)),
        ("Beside the papers", _ratios(ratios)),
        ("Time of an image", _times(rows)),
        ("Where objects were lost", _losses(rows)),
        *([("The same photographs", _photographs(shown))] if shown else []),
        ("Run it again", element("dl", *pairs, class_="environment")),
    ]
    return page("What each idea bought", subtitle, figures, notes, sections)


def _time_line(rows: Sequence[Row]) -> Markup:
    entries = []
    for row in rows:
        ap = f"{NAMES['AP50']} {row.ap50:.3f}, {shown_seconds(row.test_seconds)} an image"
        entries.append(
            element(
                "li",
                element("span", str(row.year), class_="year"),
                element("h3", row.title),
                element("p", row.idea),
                element("p", ap, class_="figures"),
            )
        )
    return element("ol", *entries, class_="timeline")


def _speed_and_accuracy(rows: Sequence[Row]) -> Markup:
    hint = element("p", "Better is up, faster is left; each step of the axis is a factor.", class_="hint")
    points = [Point(row.title, row.test_seconds, row.ap50) for row in rows]
    title = f"{NAMES['AP50']} by the time of an image"
    drawn = point_plot(points, _colours(rows), x_label="seconds an image", title=title)
    return joined(hint, element("figure", element("figcaption", title), drawn, class_="plot"))


def _losses(rows: Sequence[Row]) -> Markup:
    hint = element(
        "p",
        "Of all objects, from each class's score of best F1 on, at IoU 0.5. Found, or what lost it first: a "
        "right detection was dropped for better ones; another class was found there; its score was too low; "
        "its region was given a poor box; nothing that was looked at reached it.",
        class_="hint",
    )
    names = ["found", *REASONS.values()]
    shares = []
    for row in rows:
        counts = [row.objects - sum(row.lost.values()), *(row.lost[reason] for reason in REASONS)]
        shares.append((row.title, counts))
    colours = ["var(--series-3)", *(f"var(--series-{i})" for i in (4, 2, 5, 6, 7))]
    return joined(hint, stacked_bars(shares, names, colours))


def _photographs(shown: Sequence[tuple[str, Sequence[Picture]]]) -> Markup:
    hint = element(
        "p",
        "From each class's score of best F1 on. Dashed white: labelled. Press a picture to enlarge it.",
        class_="hint",
    )
    parts = [
        element(
            "div",
            element("h3", name),
            element("div", *map(figure, pictures), class_="grid crops"),
            class_="part",
        )
        for name, pictures in shown
    ]
    return joined(hint, *parts)


def _ratios(ratios: Sequence[Ratio]) -> Markup:
    hint = element(
        "p",
        "The papers measured on one GPU and other images: the order is to be compared, not the digits.",
        class_="hint",
    )
    rows: list[tuple[Cell, ...]] = [
        (ratio.what, f"{ratio.measured:.1f}x", f"{ratio.published:g}x", ratio.source) for ratio in ratios
    ]
    return joined(
        hint, table(Table(("how many times faster", "here", "published", "in the paper"), tuple(rows)))
    )


def _times(rows: Sequence[Row]) -> Markup:
    parts = []
    for heading, seconds in (
        ("Network", [row.network_seconds for row in rows]),
        ("Proposals", [row.proposal_seconds for row in rows]),
    ):
        known = [
            (Bar(row.title, value, shown_seconds(value)), colour)
            for row, value, colour in zip(rows, seconds, _colours(rows), strict=True)
            if value is not None
        ]
        drawn = bars([bar for bar, _ in known], [colour for _, colour in known])
        parts.append(element("div", element("h4", heading), drawn))
    return element("div", *parts, class_="grid wide")


def _colours(rows: Sequence[Row]) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(len(rows))]
