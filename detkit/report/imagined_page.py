"""The page of `detkit imagine`: images made for a network, and what the network looks at them with."""

from __future__ import annotations

from collections.abc import Sequence

from detkit.report.content import Number, Picture, Plot
from detkit.report.html import page
from detkit.report.markup import element
from detkit.report.sections import class_curves, figure


def imagined_page(
    title: str,
    subtitle: str,
    figures: Sequence[Number],
    notes: Sequence[str],
    pictures: Sequence[Picture],
    activations: Sequence[Picture],
    filters: Sequence[Picture],
    plot: Plot,
) -> str:
    """Return the page as HTML that needs nothing but itself.

    Args:
        title: what was made.
        subtitle: by which model, of which image.
        figures: the numbers at the top.
        notes: for the reader.
        pictures: the images that were made, and the one they were made of.
        activations: the strongest channels of the layer; none for a class.
        filters: those of the model's first layer; none where there are none to show.
        plot: what was minimised, at each step.
    """
    offered = [("Images", pictures), ("Activations", activations), ("Filters of the first layer", filters)]
    sections = [
        (heading, element("div", *map(figure, shown), class_="grid wide"))
        for heading, shown in offered
        if shown
    ]
    return page(title, subtitle, figures, notes, [*sections, ("Steps", class_curves([plot], marked=False))])
