"""Plots from metrics.jsonl, the log of a training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from detkit.errors import UserError
from detkit.evaluation.measure import NAMES, log_key
from detkit.report.content import Curve, Plot

Record = dict[str, Any]
NOT_LOSSES = {"step", "epoch", "split", "lr", "images_per_second", "grad_norm"}
METRICS = {log_key(name): shown for name, shown in NAMES.items()}


def read_metrics(path: str | Path) -> list[Record]:
    """Return the records of a metrics.jsonl, in the order of its lines.

    Args:
        path: the file; an unfinished last line, which an interrupted training can leave, is skipped.

    Raises:
        UserError: another line is not a JSON object.
    """
    records: list[Record] = []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:  # not JSON, a number of thousands of digits, too deep
            if number == len(lines):
                break
            raise UserError(f"{path}:{number}: not a line of JSON: {error}") from error
        if not isinstance(record, dict):
            raise UserError(f"{path}:{number}: expected a JSON object, got {type(record).__name__}")
        records.append(record)
    return records


def training_plots(records: Sequence[Record], deciding: str) -> tuple[Plot, ...]:
    """Return plots of the losses, the metrics and the learning rate; those without records are left out.

    The epoch whose weights were kept is marked on the metrics, and the figures beside their names are
    those of this epoch.

    Args:
        records: as `read_metrics` gives them. Of split `train` every number but the step, the rate and
            the speed is a part of the loss; of any other split those of `Measured.columns` are shown.
        deciding: the key of the number by which the weights were chosen.
    """
    train = [r for r in records if r.get("split") == "train"]
    validations = [r for r in records if r.get("split") != "train"]
    names = _names(train)
    summed = [
        {**r, "total": sum(r[name] for name in names)}
        for r in train
        if all(_is_number(r.get(name)) for name in names)
    ]
    losses = _curves(summed, "step", ["total", *names] if len(names) > 1 else names)
    epoch, title = _best_epoch(validations, deciding), "Metrics on the validation set"
    if epoch is not None:
        title += f"; the dots: epoch {epoch:g}, the best by {METRICS[deciding]}"
    metrics = tuple(
        _marked(replace(curve, name=METRICS[curve.name]), epoch)
        for curve in _curves(validations, "epoch", [key for key in METRICS if key in _names(validations)])
    )
    plots = (
        Plot("Loss", "step", losses, (0.0, _usual_top(losses))),
        Plot(title, "epoch", metrics, (0.0, 1.0)),
        Plot("Learning rate", "step", _curves(train, "step", ["lr"])),
    )
    return tuple(plot for plot in plots if plot.curves)


def _best_epoch(validations: Sequence[Record], deciding: str) -> float | None:
    """Return the epoch of the weights that were kept: the first with the highest number."""
    known = [r for r in validations if _is_number(r.get(deciding)) and _is_number(r.get("epoch"))]
    return float(max(known, key=lambda r: float(r[deciding]))["epoch"]) if known else None


def _marked(curve: Curve, epoch: float | None) -> Curve:
    at = np.flatnonzero(curve.x == epoch)
    if not len(at):
        return curve
    value = float(curve.y[at[0]])
    return replace(curve, value=value, mark=(float(curve.x[at[0]]), value))


def _names(records: Sequence[Record]) -> list[str]:
    """Return the keys that hold losses or metrics, in order of first appearance."""
    found = (key for r in records for key, value in r.items() if key not in NOT_LOSSES and _is_number(value))
    return list(dict.fromkeys(found))


def _curves(records: Sequence[Record], axis: str, names: Sequence[str]) -> tuple[Curve, ...]:
    curves = []
    for name in names:
        points = [(r[axis], r[name]) for r in records if _is_number(r.get(axis)) and _is_number(r.get(name))]
        if points:
            x, y = np.array(points, np.float64).T
            curves.append(Curve(name, x, y))
    return tuple(curves)


def _usual_top(curves: Sequence[Curve]) -> float:
    """Return a top for the axis that a few spikes at the start do not push up."""
    tops = [float(np.nanquantile(curve.y, 0.98)) for curve in curves if np.isfinite(curve.y).any()]
    return 1.1 * max(tops, default=1.0) or 1.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
