"""The life of an object: what became of the boxes that might have found it, and which step lost it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.ops.boxes import pairwise_iou
from detkit.structures import Trace

IOU = 0.5
OUTCOMES = {
    "found": "found",
    "not_proposed": "never proposed: nothing that was looked at reaches it",
    "padding": "its anchor lies in the padding",
    "min_size": "its proposal is smaller than the least size",
    "pre_nms": "its proposal is not among the best of its map",
    "objectness": "the objectness of its proposal is too low",
    "proposal_nms": "its proposal was suppressed by a better one",
    "post_nms": "its proposal is not among the best of the image",
    "poor_box": "looked at, but its box does not reach it",
    "wrong_class": "classified as another class",
    "rejected": "its score is too low",
    "per_class": "its region is not among the best of its class",
    "no_area": "its box has no area in the image",
    "nms": "its box was suppressed by a better one",
    "merging": "its box was merged into one that does not reach it",
    "per_image": "its box is not among the best of the image",
    "taken": "the detection on it went to a neighbour",
}
"""What can become of an object, in the order of a detector, and what that means."""

_SHOWN_CLASSES, _SHOWN_OTHERS = 5, 30


@dataclass(frozen=True)
class Life:
    """What became of an object.

    Attributes:
        label: its class.
        box: its corner box in pixels of the file.
        outcome: a key of `OUTCOMES`.
        row: the candidate that this is said of; None without any.
    """

    label: int
    box: tuple[float, ...]
    outcome: str
    row: int | None


@dataclass(frozen=True)
class Mark:
    """A box to be drawn: of the object, the candidate, another one, its anchor, or a part."""

    kind: str
    box: tuple[float, ...]
    text: str = ""


@dataclass(frozen=True)
class Stage:
    """One step of a life.

    Attributes:
        name: in a word or two.
        text: what happened.
        marks: boxes to be drawn, the most important last.
        scores: of classes, the best first.
        zoom: the part of the image to be shown; None is all.
    """

    name: str
    text: str
    marks: tuple[Mark, ...] = ()
    scores: tuple[tuple[str, float], ...] = ()
    zoom: tuple[float, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Scene:
    """An image's candidates in pixels of its file, and what counts there.

    Attributes:
        trace: from a detector, on the CPU.
        classes: K names.
        floors: (K,) lowest score of each class that is reported.
        scale: how many pixels of the network's image a pixel of the file is, along both sides.
    """

    trace: Trace
    classes: Sequence[str]
    floors: Tensor
    scale: tuple[float, float] = (1.0, 1.0)

    def life(self, box: Tensor, label: int, *, found: bool) -> Life:
        """Return what became of an object.

        Of one that is lost the first of these holds. Some candidate would have been a detection of it: then
        it was lost where the last of them was dropped, and where that was reported, it went to a neighbour.
        Another class is reported at it. A box reaches it, but the score is too low. A region reaches it, but
        the box does not. Nothing that was looked at reaches it.

        Args:
            box: (4,) corner box in pixels of the file.
            label: its class.
            found: whether the evaluation gave it a detection.
        """
        trace, own = self.trace, self.trace.labels == label
        reached, proposed = (pairwise_iou(each, box[None])[:, 0] for each in (trace.boxes, trace.regions))
        counts = trace.scores >= self.floors[trace.labels]
        on_it = own & (reached >= IOU)
        good = on_it & counts
        if found:
            outcome, row = "found", _best(trace.scores, good & trace.reported)
        elif good.any():
            last = int(trace.dropped[good].max())
            row = _best(trace.scores, good & (trace.dropped == last))
            outcome = "taken" if last == len(trace.steps) else trace.steps[last].replace("score", "rejected")
        elif (other := ~own & counts & trace.reported & (reached >= IOU)).any():
            outcome, row = "wrong_class", _best(trace.scores, other)
        elif on_it.any():
            outcome, row = "rejected", _best(trace.scores, on_it)
        elif (near := own & (proposed >= IOU)).any():
            outcome, row = "poor_box", _best(reached, near)
        else:
            outcome, row = "not_proposed", _best(proposed, own)
        return Life(label, tuple(box.tolist()), outcome, row)

    def stages(self, life: Life) -> list[Stage]:
        """Return the steps of a life, from the image to what came of it."""
        box = torch.tensor(life.box)
        width, height = (box[2:] - box[:2]).tolist()
        seen = f"{width * self.scale[0]:.0f} x {height * self.scale[1]:.0f}"
        name, mark = self.classes[life.label], Mark("object", life.box, self.classes[life.label])
        size = f"{name}, {width:.0f} x {height:.0f} pixels; the detector sees {seen}"
        stages = [Stage("image", size, (mark,))]
        if life.row is not None:
            row, trace = life.row, self.trace
            if trace.anchors is not None:
                iou = _iou(trace.anchors[row], box)
                anchor = Mark("anchor", _corners(trace.anchors[row]), "anchor")
                stages.append(Stage("anchor", f"the anchor has IoU {iou:.2f}", (mark, anchor)))
            stages.append(self._proposal(row, box, mark))
            stages.append(self._scores(row, life.label))
            stages.append(self._box(row, box, mark))
            stages.append(self._suppression(row, mark))
        stages.append(self._match(life, mark))
        return stages

    def _proposal(self, row: int, box: Tensor, mark: Mark) -> Stage:
        trace = self.trace
        best = float(pairwise_iou(trace.regions, box[None]).max())
        text = (
            f"the region has IoU {_iou(trace.regions[row], box):.2f}, the best that was looked at {best:.2f}"
        )
        if trace.objectness is not None and trace.ranks is not None:
            rank = int(trace.ranks[row]) + 1
            text += f"; objectness {trace.objectness[row]:.3f}, number {rank:,} of its map"
        step = int(trace.dropped[row])
        if step < len(trace.steps) and trace.steps[step] in _OF_PROPOSALS:
            text += f"; dropped: {OUTCOMES[trace.steps[step]]}"
        others = torch.unique(trace.regions[trace.dropped > step], dim=0)[:_SHOWN_OTHERS]
        marks = [Mark("other", _corners(other)) for other in others]
        return Stage(
            "region", text, (*marks, mark, Mark("candidate", _corners(trace.regions[row]), "region"))
        )

    def _scores(self, row: int, label: int) -> Stage:
        trace = self.trace
        same = torch.nonzero((trace.regions == trace.regions[row]).all(dim=1)).flatten()
        order = same[trace.scores[same].argsort(descending=True, stable=True)][:_SHOWN_CLASSES]
        scores = tuple(
            (self.classes[int(trace.labels[at])], round(float(trace.scores[at]), 4)) for at in order
        )
        best, score = scores[0]
        text = f"{best} {score:.3f}; {self.classes[label]} counts from {self.floors[label]:.3f} on"
        if trace.levels is not None:
            text += f"; read from map {int(trace.levels[row]) + 1}"
        region = _corners(trace.regions[row])
        parts = () if trace.parts is None else trace.parts[row]
        marks = tuple(Mark("part", _corners(part)) for part in parts)
        return Stage("scores", text, (*marks, Mark("candidate", region)), scores, region)

    def _box(self, row: int, box: Tensor, mark: Mark) -> Stage:
        trace = self.trace
        way = [
            trace.regions[row],
            *(() if trace.between is None else trace.between[:, row]),
            trace.boxes[row],
        ]
        ious = " -> ".join(f"{_iou(each, box):.2f}" for each in way)
        marks = [Mark("other", _corners(each)) for each in way[:-1]]
        last = Mark("candidate", _corners(way[-1]), self.classes[int(trace.labels[row])])
        return Stage("box", f"IoU {ious}", (*marks, mark, last))

    def _suppression(self, row: int, mark: Mark) -> Stage:
        trace, by = self.trace, int(self.trace.by[row])
        own = Mark("candidate", _corners(trace.boxes[row]), f"{trace.scores[row]:.3f}")
        if by < 0:
            step = int(trace.dropped[row])
            last = step == len(trace.steps)
            text = "kept" if last else f"dropped: {OUTCOMES.get(trace.steps[step], 'its score is too low')}"
            return Stage("suppression", text, (mark, own))
        name, step = self.classes[int(trace.labels[row])], int(trace.dropped[row])
        if trace.objectness is not None and trace.steps[step] in _OF_PROPOSALS:
            overlap = _iou(trace.regions[by], trace.regions[row])
            text = f"suppressed by a proposal of objectness {trace.objectness[by]:.3f}, IoU {overlap:.2f}, "
            text += f"whose {name} scores {trace.scores[by]:.3f}"
        else:
            overlap = _iou(trace.boxes[by], trace.boxes[row])
            text = f"suppressed by {name} {trace.scores[by]:.3f}, IoU {overlap:.2f}"
        better = Mark("better", _corners(trace.boxes[by]), f"{trace.scores[by]:.3f}")
        return Stage("suppression", text, (mark, own, better))

    def _match(self, life: Life, mark: Mark) -> Stage:
        trace = self.trace
        shown = torch.nonzero(trace.reported & (trace.scores >= self.floors[trace.labels])).flatten()
        near = shown[
            (pairwise_iou(trace.boxes[shown], torch.tensor(life.box)[None])[:, 0] > 0).nonzero()[:, 0]
        ]
        marks = [
            Mark(
                "candidate",
                _corners(trace.boxes[at]),
                f"{self.classes[int(trace.labels[at])]} {trace.scores[at]:.2f}",
            )
            for at in near.tolist()
        ]
        return Stage("outcome", OUTCOMES[life.outcome], (*marks, mark))


@dataclass(frozen=True)
class LostObjects:
    """What became of the M objects of a dataset.

    Attributes:
        outcomes: (M,) a key of `OUTCOMES` of each; empty for one that does not count.
        lives: of the objects that count and were lost, by their row.
    """

    outcomes: NDArray[np.str_]
    lives: dict[int, Life]

    @property
    def counts(self) -> dict[str, int]:
        """How many objects came to what, in the order of a detector; what none came to is left out."""
        every = {outcome: int((self.outcomes == outcome).sum()) for outcome in OUTCOMES}
        return {outcome: count for outcome, count in every.items() if count}


_OF_PROPOSALS = ("padding", "min_size", "pre_nms", "objectness", "proposal_nms", "post_nms")


def in_file_pixels(trace: Trace, size: tuple[int, int], original: tuple[int, int]) -> Trace:
    """Return a trace on the CPU, in pixels of the image's file.

    Args:
        trace: in pixels of the batch.
        size: (height, width) of the image there.
        original: (height, width) of the file.
    """
    scale = torch.tensor([original[1] / size[1], original[0] / size[0]]).repeat(2)
    moved: dict[str, Any] = {}
    for name, values in trace._asdict().items():
        if isinstance(values, Tensor):
            own = values.cpu()
            moved[name] = own * scale if name in _BOXES else own
    return trace._replace(**moved)


_BOXES = ("regions", "boxes", "anchors", "between", "parts")


def _best(values: Tensor, among: Tensor) -> int | None:
    """Return the place of the highest value among some; None where there is none."""
    rows = torch.nonzero(among).flatten()
    return int(rows[values[rows].argmax()]) if len(rows) else None


def _corners(box: Tensor) -> tuple[float, ...]:
    return tuple(round(side, 2) for side in box.tolist())


def _iou(one: Tensor, other: Tensor) -> float:
    return float(pairwise_iou(one[None].float(), other[None].float())[0, 0])
