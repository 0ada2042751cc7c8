"""The page of `detkit trace`: a person steps through what a detector did with each object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detkit.explain.lives import OUTCOMES, Mark, Stage
from detkit.report.content import Bar, Number
from detkit.report.draw import Image, fit
from detkit.report.html import page
from detkit.report.markup import Markup, element, joined
from detkit.report.sections import PICTURE_PX, data_uri
from detkit.report.tables import bars

COLOURS = {
    "object": "#ffffff",
    "candidate": "#ffb000",
    "better": "#ff3d5a",
    "other": "#59c3ff",
    "anchor": "#c79bff",
    "part": "#59c3ff",
}
_CONTEXT = 0.4  # of a region's sides, around it where it is shown alone


@dataclass(frozen=True)
class LifeView:
    """An object as it is shown.

    Attributes:
        name: its class.
        outcome: a key of `OUTCOMES`.
        stages: its steps.
    """

    name: str
    outcome: str
    stages: Sequence[Stage]


def life_page(title: str, subtitle: str, image: Image, views: Sequence[LifeView]) -> str:
    """Return the page as HTML that needs nothing but itself; a small script shows one step at a time.

    Args:
        title: what is shown.
        subtitle: the model.
        image: (H, W, 3) uint8 RGB.
        views: the objects.
    """
    found = sum(view.outcome == "found" for view in views)
    figures = [Number("objects", len(views)), Number("found", found), Number("lost", len(views) - found)]
    height, width = image.shape[:2]
    photo = element(
        "image",
        href=data_uri(fit(image, PICTURE_PX) if max(image.shape) > PICTURE_PX else image),
        width=str(width),
        height=str(height),
        preserveAspectRatio="none",
    )
    store = element("svg", element("symbol", photo, id="photo", overflow="visible"), class_="store")
    lives = [_life(view, number, (width, height)) for number, view in enumerate(views)]
    content = joined(_HINT, store, element("div", *lives, class_="lives"))
    return page(title, subtitle, figures, [], [("Objects", content)], script=_SCRIPT)


def _life(view: LifeView, number: int, size: tuple[int, int]) -> Markup:
    steps = [
        element("button", stage.name, type="button", **{"data-step": str(place)})
        for place, stage in enumerate(view.stages)
    ]
    shown = [_stage(stage, size) for stage in view.stages]
    state = "found" if view.outcome == "found" else "lost"
    heading = element(
        "h3",
        f"{number + 1}. {view.name}",
        element("small", f": {OUTCOMES[view.outcome]}"),
    )
    bar = element("div", *steps, class_="steps", role="tablist")
    return element("article", heading, bar, *shown, class_=f"life {state}", tabindex="0")


def _stage(stage: Stage, size: tuple[int, int]) -> Markup:
    drawing = _drawing(stage.marks, stage.zoom, size)
    text = element("p", stage.text, class_="said")
    scores = bars([Bar(name, value, f"{value:.3f}") for name, value in stage.scores]) if stage.scores else ""
    return element("div", element("h4", stage.name), text, scores, drawing, class_="step")


def _drawing(marks: Sequence[Mark], zoom: Sequence[float] | None, size: tuple[int, int]) -> Markup:
    x1, y1, x2, y2 = zoom or (0.0, 0.0, *size)
    if zoom:
        across, down = _CONTEXT * (x2 - x1), _CONTEXT * (y2 - y1)
        x1, y1, x2, y2 = (
            max(x1 - across, 0),
            max(y1 - down, 0),
            min(x2 + across, size[0]),
            min(y2 + down, size[1]),
        )
    width, height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    unit = max(width, height) / 100
    drawn = [part for mark in marks for part in _mark(mark, (x1, y1, y2), unit)]
    box = f"{x1:.1f} {y1:.1f} {width:.1f} {height:.1f}"
    return element("svg", element("use", href="#photo"), *drawn, viewBox=box, class_="photo", role="img")


def _mark(mark: Mark, edges: tuple[float, float, float], unit: float) -> list[Markup]:
    """Return the rectangle and the text of a box; edges are the left, upper and lower one of the picture."""
    a, b, c, d = mark.box
    thin = mark.kind in ("other", "part")
    rectangle = element(
        "rect",
        x=f"{a:.1f}",
        y=f"{b:.1f}",
        width=f"{max(c - a, 0):.1f}",
        height=f"{max(d - b, 0):.1f}",
        fill="none",
        stroke=COLOURS[mark.kind],
        stroke_width=f"{unit * (0.25 if thin else 0.7):.2f}",
        stroke_dasharray=f"{2 * unit:.1f}" if mark.kind == "object" else None,
        stroke_opacity="0.7" if thin else None,
    )
    if not mark.text:
        return [rectangle]
    left, top, bottom = edges
    style = f"fill:{COLOURS[mark.kind]};font-size:{3.4 * unit:.1f}px"
    place = {"x": f"{max(a, left):.1f}", "y": f"{_line(mark, top, bottom, unit):.1f}"}
    return [rectangle, element("text", mark.text, **place, style=style, class_="on-photo")]


def _line(mark: Mark, top: float, bottom: float, unit: float) -> float:
    """Return where a text stands: the object's below it, others above, and inside where there is no room."""
    upper, lower = mark.box[1], mark.box[3]
    if mark.kind == "object":
        return lower + 4 * unit if lower < bottom - 5 * unit else lower - unit
    return upper - unit if upper > top + 5 * unit else max(upper, top) + 4 * unit


_HINT = element(
    "p",
    "White, dashed: the object. Yellow: the box that this is said of. Red: the one that suppressed it. "
    "Blue: other regions, or parts. Violet: the anchor. Choose a step, or press the arrow keys.",
    class_="hint",
)

_SCRIPT = """
for (const life of document.querySelectorAll('.life')) {
  const steps = [...life.querySelectorAll('.step')], buttons = [...life.querySelectorAll('button')];
  const show = (at) => {
    at = Math.max(0, Math.min(at, steps.length - 1));
    life.dataset.at = at;
    steps.forEach((step, i) => { step.hidden = i !== at; });
    buttons.forEach((button, i) => { button.setAttribute('aria-pressed', String(i === at)); });
  };
  buttons.forEach((button, i) => button.addEventListener('click', () => show(i)));
  life.addEventListener('keydown', (event) => {
    const move = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (move) { event.preventDefault(); show(Number(life.dataset.at) + move); }
  });
  life.querySelectorAll('.photo').forEach((photo) => photo.addEventListener('click', () => {
    show((Number(life.dataset.at) + 1) % steps.length);
  }));
  life.classList.add('stepped');
  show(life.classList.contains('lost') ? steps.length - 1 : 0);
}
"""
