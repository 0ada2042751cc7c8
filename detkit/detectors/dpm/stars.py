"""Star models: a root filter, parts that move around it at twice its resolution, and mixtures of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detkit.detectors.dpm.cascade import CascadeStages
from detkit.models.hog.dpm_features import MIRRORED
from detkit.ops.distance_transform import REACH, moving_costs
from detkit.ops.kernels.dpm_feature_loops import CHANNELS

Array = NDArray[Any]

CORNERS = 4
OCTAVES = 3  # the location of a root: in the first octave of the pyramid, in the second, or further on


@dataclass(frozen=True)
class Component:
    """A star model as it is looked for: one of a mixture, or its mirror image.

    Attributes:
        root: (rows, columns, 32) float32 filter.
        parts: (P, rows, columns, 32) float32 filters.
        anchors: (P, 2) x and y of each part, in cells of twice the resolution, from the root's corner.
        deformations: (P, 4) ax, bx, ay, by.
        offset: what is added to every score: the bias.
        location: (3,) what is added in the first octave, in the second, and in the others.
        box: (4, 2 * (P + 1) + 1) how far each side of the object is from the root's, in widths and heights of
            the root, from where the filters are; None leaves the root's box.
        stages: of the star-cascade; None looks at all places of all parts.
    """

    root: Array
    parts: Array
    anchors: Array
    deformations: Array
    offset: float
    location: Array
    box: Array | None
    stages: CascadeStages | None = None

    @cached_property
    def costs(self) -> Array:
        """(2, P, 9) float32 cost of moving a part in x and in y."""
        return moving_costs(self.deformations, REACH, np.float32)

    def location_at(self, octave: int) -> float:
        """Return what is added to scores in an octave of the pyramid, 0 for the finest."""
        return float(self.location[min(octave, len(self.location) - 1)])

    def mirrored(self, box: Array | None) -> Component:
        """Return the mirror image, with a prediction of its own of the object's box."""
        anchors, deformations = self.anchors.copy(), self.deformations.copy()
        anchors[:, 0] = 2 * self.root.shape[1] - self.parts.shape[2] - anchors[:, 0]
        deformations[:, 1] *= -1
        return Component(
            self.root[:, ::-1, MIRRORED],
            self.parts[:, :, ::-1, MIRRORED],
            anchors,
            deformations,
            self.offset,
            self.location,
            box,
            self.stages,
        )


class Star(nn.Module):
    """The weights of a star model, which its mirror image shares.

    Args:
        root: rows and columns of its root filter, in cells.
        num_parts: P.
        part: rows and columns of each part's filter.
        mirrored: whether its mirror image is looked for, too.
        predicts_box: whether the object's box is predicted from where the filters are.
        cascades: whether it is looked for stage by stage.
    """

    root: Tensor
    parts: Tensor
    anchors: Tensor
    deformations: Tensor
    offset: Tensor
    location: Tensor
    box: Tensor | None
    order: Tensor | None
    limits: Tensor | None

    def __init__(
        self,
        root: tuple[int, int],
        num_parts: int,
        part: tuple[int, int],
        *,
        mirrored: bool,
        predicts_box: bool,
        cascades: bool = False,
    ) -> None:
        super().__init__()
        double, sides = torch.float64, 2 if mirrored else 1
        self.is_mirrored = mirrored
        self.register_buffer("root", torch.zeros((*root, CHANNELS)))
        self.register_buffer("parts", torch.zeros((num_parts, *part, CHANNELS)))
        self.register_buffer("anchors", torch.zeros((num_parts, 2), dtype=torch.int64))
        self.register_buffer("deformations", torch.zeros((num_parts, 4), dtype=double))
        self.register_buffer("offset", torch.zeros((), dtype=double))
        self.register_buffer("location", torch.zeros(OCTAVES, dtype=double))
        width = 2 * (num_parts + 1) + 1
        box = torch.zeros((sides, CORNERS, width), dtype=double) if predicts_box else None
        self.register_buffer("box", box)
        stages = 2 * (num_parts + 1)
        order = torch.zeros(stages, dtype=torch.int64) if cascades else None
        self.register_buffer("order", order)
        self.register_buffer("limits", torch.zeros(2 * stages, dtype=double) if cascades else None)

    def like(self, root: tuple[int, int]) -> Star:
        """Return a model of the same kind with a root of other rows and columns, all 0."""
        return Star(
            root,
            len(self.parts),
            (self.parts.shape[1], self.parts.shape[2]),
            mirrored=self.is_mirrored,
            predicts_box=self.box is not None,
            cascades=self.order is not None,
        )

    def take(self, component: Component, box: Array | None) -> None:
        """Take over a component, and the predictions of boxes: (1, 4, F), or (2, 4, F) with the mirror's."""
        for name in ("root", "parts", "anchors", "deformations", "location"):
            getattr(self, name).copy_(torch.from_numpy(np.ascontiguousarray(getattr(component, name))))
        self.offset.fill_(component.offset)
        if self.box is not None and box is not None:
            self.box.copy_(torch.from_numpy(box))
        if self.order is not None and self.limits is not None and component.stages is not None:
            self.order.copy_(torch.from_numpy(component.stages.order))
            self.limits.copy_(torch.from_numpy(component.stages.limits))

    def components(self) -> list[Component]:
        """Return the model as it is looked for, and its mirror image where that is, too."""
        values = [
            getattr(self, name).numpy(force=True)
            for name in ("root", "parts", "anchors", "deformations", "offset", "location")
        ]
        root, parts, anchors, deformations, offset, location = values
        boxes: list[Array | None] = [None, None] if self.box is None else [*self.box.numpy(force=True)]
        stages = None
        if self.order is not None and self.limits is not None:
            stages = CascadeStages(self.order.numpy(force=True), self.limits.numpy(force=True))
        own = Component(root, parts, anchors, deformations, float(offset), location, boxes[0], stages)
        return [own, own.mirrored(boxes[1])] if self.is_mirrored else [own]


class Mixture(nn.Module):
    """The star models of a class.

    Args:
        stars: its models.

    Attributes:
        threshold: least score that a detection has to be above.
    """

    threshold: Tensor

    def __init__(self, stars: list[Star]) -> None:
        super().__init__()
        self.stars = nn.ModuleList(stars)
        self.register_buffer("threshold", torch.full((), -1.0, dtype=torch.float64))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *more: Any) -> None:
        first, roots = cast(Star, self.stars[0]), list[tuple[int, int]]()
        while isinstance(root := state_dict.get(f"{prefix}stars.{len(roots)}.root"), Tensor):
            if root.dim() != 3:
                break
            roots.append((root.shape[0], root.shape[1]))
        if roots and roots != [tuple(star.root.shape[:2]) for star in cast(Iterable[Star], self.stars)]:
            self.stars = nn.ModuleList(first.like(root) for root in roots).to(first.root.device)
        super()._load_from_state_dict(state_dict, prefix, *more)

    def take(self, stars: Sequence[Component], boxes: Sequence[Array | None], threshold: float) -> None:
        """Take over star models.

        Args:
            stars: the components that are no mirror images, with their stages where the model has some.
            boxes: of each the predictions of boxes, (1, 4, F), or (2, 4, F) with that of its mirror image;
                see `Component`.
            threshold: least score of a detection.
        """
        first = cast(Star, self.stars[0])
        made = [first.like((star.root.shape[0], star.root.shape[1])) for star in stars]
        for star, component, box in zip(made, stars, boxes, strict=True):
            star.take(component, box)
        self.stars = nn.ModuleList(made).to(first.root.device)
        self.threshold.fill_(threshold)

    def components(self) -> list[Component]:
        """Return all that is looked for, mirror images behind their originals."""
        stars = cast(Iterable[Star], self.stars)
        return [component for star in stars for component in star.components()]
