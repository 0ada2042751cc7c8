"""What became of every region of an image, for `detkit trace`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from detkit.models.roi.selection import Scored, Selection
from detkit.models.rpn.traced import PROPOSAL_STEPS, TracedProposals
from detkit.models.traced_windows import nearest_rows
from detkit.structures import Trace


@dataclass(frozen=True)
class Judged:
    """Regions of an image, and what a head says of them.

    Attributes:
        scored: what the selection gets.
        regions: (R, 4) as they were proposed.
        levels: (R,) the map that each is read from; None of one.
        between: (S, R, 4) boxes behind each stage of a cascade but the last.
    """

    scored: Scored
    regions: Tensor
    levels: Tensor | None = None
    between: Tensor | None = None

    def trace(self, selection: Selection) -> Trace:
        """Return what becomes of each region and class."""
        scored = self.scored
        traced = selection.trace(scored.boxes, scored.scores, scored.deltas, scored.size)
        classes = scored.scores.shape[1]
        levels, between = self.levels, self.between
        return traced._replace(
            regions=self.regions.repeat_interleave(classes, 0),
            levels=None if levels is None else levels.repeat_interleave(classes),
            between=None if between is None else between.repeat_interleave(classes, 1),
        )


def trace_with_proposals(
    selection: Selection, judge: Callable[[Tensor], Judged], proposals: TracedProposals, around: Tensor
) -> Trace:
    """Return what becomes of the proposals, and of those near some boxes that were dropped before.

    The dropped ones are judged, too: whether they would have been detections is what tells which step lost an
    object.

    Args:
        selection: chooses what is reported.
        judge: asks the head about (R, 4) regions.
        proposals: of a proposal network.
        around: (M, 4) boxes in pixels of the batch.
    """
    near = nearest_rows(proposals.boxes, around, proposals.dropped < len(PROPOSAL_STEPS))
    better = proposals.by[near]
    is_proposal = torch.zeros_like(proposals.by, dtype=torch.bool)
    is_proposal[proposals.proposals] = True
    better = better[better >= 0]
    near = torch.unique(torch.cat([near, better[~is_proposal[better]]]))
    kept = judge(proposals.boxes[proposals.proposals]).trace(selection)
    lost = judge(proposals.boxes[near]).trace(selection)
    rows = torch.cat([proposals.proposals, near])
    classes = len(kept.labels) // max(1, len(proposals.proposals)) or len(lost.labels) // max(1, len(near))
    place = torch.full_like(proposals.by, -1)
    place[rows] = torch.arange(len(rows), device=rows.device)
    by = proposals.by[near]
    by = torch.where(by >= 0, place[by], -1).repeat_interleave(classes)
    labels = lost.labels
    lost = lost._replace(
        dropped=proposals.dropped[near].repeat_interleave(classes),
        by=torch.where(by >= 0, by * classes + labels, -1),
    )
    kept = kept._replace(dropped=kept.dropped + len(PROPOSAL_STEPS))
    each = rows.repeat_interleave(classes)
    return joined(kept, lost)._replace(
        steps=PROPOSAL_STEPS + kept.steps,
        objectness=proposals.objectness[each],
        ranks=proposals.ranks[each],
        anchors=proposals.anchors[each],
    )


def joined(first: Trace, second: Trace) -> Trace:
    """Return the candidates of both; `by` of either is left as it is."""
    values: dict[str, Any] = {}
    for name in ("regions", "boxes", "labels", "scores", "dropped", "by", "levels", "between"):
        one, other = cast(Tensor | None, getattr(first, name)), getattr(second, name)
        if one is not None:
            values[name] = torch.cat([one, other], dim=1 if name == "between" else 0)
    return first._replace(**values)
