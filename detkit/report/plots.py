"""Line plots as inline SVG; colours and fonts come from the page, so they follow its light or dark theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.report.content import Curve
from detkit.report.markup import Markup, element, joined

MAX_POINTS = 240
LETTER_PX = 7.5
MAX_STEPS = 8  # of an axis of factors, beside which numbers can be read


@dataclass(frozen=True)
class _Frame:
    """Mapping of values to places on the drawing."""

    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    size: tuple[int, int]
    foot: float
    top: float = 10.0

    @property
    def left(self) -> float:
        """Room for the longest number at the vertical axis."""
        return max(40.0, 10.0 + LETTER_PX * max(len(tick_text(value)) for value in ticks(*self.y_limits)))

    @property
    def right(self) -> float:
        return self.size[0] - 12.0

    @property
    def bottom(self) -> float:
        return self.size[1] - self.foot

    def place(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the (N, 2) points for values; y beyond the limits lies on them."""
        (x_low, x_high), (y_low, y_high) = self.x_limits, self.y_limits
        across = self.left + (x - x_low) / (x_high - x_low) * (self.right - self.left)
        up = self.bottom - (np.clip(y, y_low, y_high) - y_low) / (y_high - y_low) * (self.bottom - self.top)
        return np.stack([across, up], axis=1)


def line_plot(
    curves: Sequence[Curve],
    colours: Sequence[str],
    *,
    x_label: str,
    title: str = "",
    x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None,
    size: tuple[int, int] = (440, 270),
) -> Markup:
    """Return an SVG with one line a curve.

    Args:
        curves: at least one point each; curves without are skipped.
        colours: CSS colour of each curve.
        x_label: below the horizontal axis.
        title: what the plot shows, for those who hear the page.
        x_limits: lowest and highest x; None takes them from the curves.
        y_limits: likewise for y.
        size: width and height of the drawing; the page scales it.
    """
    drawn = [(c, colour) for c, colour in zip(curves, colours, strict=True) if len(c.x)]
    frame = _Frame(
        x_limits=x_limits or _limits([c.x for c, _ in drawn]),
        y_limits=y_limits or _limits([c.y for c, _ in drawn]),
        size=size,
        foot=38.0 if x_label else 22.0,
    )
    parts = [_grid(frame)]
    if x_label:
        centre, low = (frame.left + frame.right) / 2, size[1] - 4.0
        parts.append(element("text", x_label, x=centre, y=low, text_anchor="middle", class_="axis"))
    for curve, colour in drawn:
        x, y = thin_out(np.asarray(curve.x, np.float64), np.asarray(curve.y, np.float64))
        name = element("title", curve.name)
        path = element("path", name, d=_path(frame.place(x, y)), stroke=colour, class_="line")
        parts.append(path)
        marked = (float(x[0]), float(y[0])) if len(x) == 1 else curve.mark
        if marked is not None:
            ((cx, cy),) = frame.place(*np.array(marked)[:, None]).tolist()
            parts.append(element("circle", cx=cx, cy=cy, r=4.0, fill=colour, class_="mark"))
    names = ", ".join(curve.name for curve, _ in drawn[:8])
    heard = f"{title}: {names}" if title else names
    return element("svg", *parts, viewBox=f"0 0 {size[0]} {size[1]}", role="img", aria_label=heard)


@dataclass(frozen=True)
class Point:
    """A named point of a plot; x is above 0."""

    name: str
    x: float
    y: float


def point_plot(
    points: Sequence[Point],
    colours: Sequence[str],
    *,
    x_label: str,
    title: str,
    size: tuple[int, int] = (600, 320),
) -> Markup:
    """Return an SVG of named points, x on an axis whose steps are factors.

    Args:
        points: at least one.
        colours: CSS colour of each.
        x_label: below the horizontal axis.
        title: what the plot shows, for those who hear the page.
        size: width and height of the drawing; the page scales it.
    """
    x = np.log10([point.x for point in points])
    y = np.array([point.y for point in points])
    steps = _factors(min(point.x for point in points), max(point.x for point in points))
    top = 1.1 * float(y.max()) or 1.0
    frame = _Frame((math.log10(steps[0]), math.log10(steps[-1])), (0.0, top), size, foot=38.0)
    parts = [_rows_of(frame)]
    for step in steps:
        ((across, _),) = frame.place(np.log10([step]), np.zeros(1)).tolist()
        parts.append(element("path", d=f"M{across:.1f} {frame.top:.1f}V{frame.bottom:.1f}", class_="grid"))
        parts.append(element("text", f"{step:g}", x=across, y=frame.bottom + 16, text_anchor="middle"))
    centre = (frame.left + frame.right) / 2
    parts.append(element("text", x_label, x=centre, y=size[1] - 4.0, text_anchor="middle", class_="axis"))
    places = frame.place(x, y)
    for i, at in enumerate(_apart(places, [point.name for point in points], frame)):
        cx, cy = places[i].tolist()
        circle = element(
            "circle", element("title", points[i].name), cx=cx, cy=cy, r=5.0, fill=colours[i], class_="mark"
        )
        anchor = "end" if at[0] < cx else "start"
        parts += [
            circle,
            element("text", points[i].name, x=at[0], y=at[1], text_anchor=anchor, class_="label"),
        ]
    heard = f"{title}: {', '.join(point.name for point in points)}"
    return element("svg", *parts, viewBox=f"0 0 {size[0]} {size[1]}", role="img", aria_label=heard)


def _apart(places: NDArray[np.float64], names: Sequence[str], frame: _Frame) -> list[tuple[float, float]]:
    """Return where each point's name begins, or ends where it is left of it, clear of points and names.

    Of the places at either side, a little higher or lower, the nearest that is free is taken; where none is,
    the name stays beside its point.
    """
    taken = [(x - 7, x + 7, y - 7, y + 7) for x, y in places.tolist()]
    starts = [(0.0, 0.0)] * len(names)
    for i in np.argsort(places[:, 1], kind="stable"):
        cx, cy = places[i].tolist()
        wide = LETTER_PX * len(names[i])
        free = []
        for away in (0, 4, -4, 8, -8, 14, -14, 20, -20, 28, -28):
            for begin in (cx + 9, cx - 9 - wide):
                inside = frame.left <= begin and begin + wide <= frame.right
                place = (begin, begin + wide, cy + away - 7, cy + away + 7)
                if inside and not any(_meet(place, one) for one in taken):
                    free.append(place)
        place = free[0] if free else (cx + 9, cx + 9 + wide, cy - 7, cy + 7)
        taken.append(place)
        starts[i] = (place[1] if place[0] < cx else place[0], place[2] + 11)
    return starts


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    """Return whether two rectangles (left, right, top, bottom) have more than an edge in common."""
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def _factors(low: float, high: float) -> list[float]:
    """Return the steps of an axis of factors that holds [low, high]: 1, 2 and 5 of each power, or 1 alone.

    Example:
        >>> _factors(0.013, 0.1004), _factors(0.004, 3.0)
        ([0.01, 0.02, 0.05, 0.1, 0.2], [0.001, 0.01, 0.1, 1.0, 10.0])
    """
    for factors in ((1, 2, 5), (1,)):
        powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 2)
        every = [float(f"{factor}e{power}") for power in powers for factor in factors]
        first = max(i for i, step in enumerate(every) if step <= low)
        steps = every[first : 1 + next(i for i, step in enumerate(every) if step > high)]
        if len(steps) <= MAX_STEPS:
            break
    return steps


def thin_out(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return at most `MAX_POINTS` points: the means of equal runs, and the first and last as they are.

    Args:
        x: (N,).
        y: (N,); NaN does not count in a mean.
    """
    if len(x) <= MAX_POINTS:
        return x, y
    starts = np.linspace(0, len(x), MAX_POINTS - 1).astype(np.int64)[:-1]
    known = ~np.isnan(y)
    count = np.add.reduceat(known.astype(np.float64), starts)
    total = np.add.reduceat(np.where(known, y, 0.0), starts)
    mean_y = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    mean_x = np.add.reduceat(x, starts) / np.diff(np.append(starts, len(x)))
    return np.concatenate([x[:1], mean_x, x[-1:]]), np.concatenate([y[:1], mean_y, y[-1:]])


def ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers within [low, high].

    Example:
        >>> ticks(0.0, 1.0)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """Return a tick's label: large numbers in thousands.

    Example:
        >>> tick_text(20000.0), tick_text(1500.0), tick_text(0.2)
        ('20k', '1,500', '0.2')
    """
    if abs(value) >= 10000:
        return f"{value / 1000:g}k"
    return f"{value:,g}"


def _limits(values: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return limits that hold all values; zero is among them where it is near."""
    every = np.concatenate([np.asarray(v, np.float64) for v in values]) if values else np.zeros(0)
    every = every[np.isfinite(every)]
    if not len(every):
        return 0.0, 1.0
    low, high = float(every.min()), float(every.max())
    if low > 0 and low < 0.5 * high:
        low = 0.0
    if high - low <= 1e-12 * abs(high):
        around = abs(high) / 2 or 0.5
        return low - around, high + around
    return low, high


def _rows_of(frame: _Frame) -> Markup:
    parts = []
    for value in ticks(*frame.y_limits):
        ((_, y),) = frame.place(np.array([frame.x_limits[0]]), np.array([value])).tolist()
        parts.append(element("path", d=f"M{frame.left:.1f} {y:.1f}H{frame.right:.1f}", class_="grid"))
        parts.append(element("text", tick_text(value), x=frame.left - 6, y=y + 4, text_anchor="end"))
    return joined(*parts)


def _grid(frame: _Frame) -> Markup:
    parts = [_rows_of(frame)]
    for value in ticks(*frame.x_limits):
        ((x, _),) = frame.place(np.array([value]), np.array([frame.y_limits[0]])).tolist()
        parts.append(element("text", tick_text(value), x=x, y=frame.bottom + 16, text_anchor="middle"))
    parts.append(element("path", d=f"M{frame.left:.1f} {frame.bottom:.1f}H{frame.right:.1f}", class_="base"))
    return joined(*parts)


def _path(points: NDArray[np.float64]) -> str:
    """Return SVG path commands; a NaN lifts the pen."""
    commands, down = [], False
    for x, y in points.tolist():
        if math.isnan(y):
            down = False
            continue
        commands.append(f"{'L' if down else 'M'}{x:.1f} {y:.1f}")
        down = True
    return "".join(commands)
