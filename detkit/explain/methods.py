"""The methods by name, each with the checks of its map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from detkit.errors import UserError
from detkit.explain.checks import (
    RANDOM_MAPS,
    SAME,
    STAGES,
    STEPS,
    Curves,
    Map,
    curves,
    points_at,
    random_curves,
    randomised,
)
from detkit.explain.gradients import (
    COMPLETE,
    FIRST_STEPS,
    MOST_STEPS,
    by_rule,
    grad_cam,
    integrated_gradients,
    saliency,
)
from detkit.explain.perturbation import drise, num_windows, occlusion
from detkit.explain.subject import COORDINATES, OnStep, Subject

Method = Literal["saliency", "deconvnet", "guided", "gradcam", "integrated", "occlusion", "drise"]
METHODS: tuple[Method, ...] = get_args(Method)
BLACK_BOX: tuple[Method, ...] = ("occlusion", "drise")
"""Methods that only look at what a model says of changed images."""

_MASKS_OF_CHECK = 500  # of D-RISE, for each of the two maps that the randomisation check compares
_CURVE = 2 * (STEPS + 1)


@dataclass(frozen=True)
class Explanation:
    """One method's map of what mattered, and what its checks say.

    Attributes:
        method: its name.
        heat: (H, W) float32 in pixels of the batch, the higher the more it mattered; None without one.
        why_not: why there is none.
        randomisation: rank correlations with the maps of networks whose weights are put to random, from the
            output down; the last has no trained weight left.
        curves: of deletion and insertion; None for a coordinate, which has no score.
        pointing: whether the maximum lies in the object.
        completeness: what the attributions of integrated gradients lack to their sum, as a share of it.
        failed: sentences on the checks that failed.
    """

    method: Method
    heat: Map | None
    why_not: str = ""
    randomisation: list[float] = field(default_factory=list)
    curves: Curves | None = None
    pointing: bool | None = None
    completeness: float | None = None
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explainer:
    """Explains one subject by several methods.

    Attributes:
        subject: what is explained.
        objects: (N, 4) boxes, in pixels of the batch, of which a map should point at one.
        masks: of D-RISE.
        seed: of masks, random maps and random weights.
        on_step: called with how many images more were looked at.
    """

    subject: Subject
    objects: NDArray[np.floating]
    masks: int
    seed: int
    on_step: OnStep = lambda count: None

    def num_steps(self, methods: Sequence[Method]) -> int:
        """Return how many images are looked at, gradients counting as one."""
        windows, few = num_windows(self.subject.image.sizes[0]), min(self.masks, _MASKS_OF_CHECK)
        costs = {
            "occlusion": 2 * windows,
            "drise": self.masks + 2 * few,
            "integrated": (2 + STAGES) * FIRST_STEPS,  # at least: more where they do not add up
        }
        of_checks = 0 if self.subject.output in COORDINATES else _CURVE
        each = [costs.get(name, 1 + STAGES) + of_checks for name in methods]
        return sum(each) + RANDOM_MAPS * of_checks

    def random_curves(self) -> Curves | None:
        """Return the mean curves of random maps; None for a coordinate."""
        if self.subject.output in COORDINATES:
            return None
        return random_curves(self.subject, self.seed, self.on_step)

    def __call__(self, methods: Sequence[Method], floor: Curves | None) -> Iterator[Explanation]:
        """Yield the explanation by each method.

        Args:
            methods: their names.
            floor: the curves of random maps.
        """
        for method in methods:
            try:
                heat, completeness = self._map(method, self.subject, self.masks)
            except UserError as error:
                yield Explanation(method, None, str(error))
                continue
            yield self._checked(method, heat, completeness, floor)

    def _map(self, method: Method, subject: Subject, masks: int) -> tuple[Map, float | None]:
        if method not in BLACK_BOX and not subject.has_gradient:
            raise UserError(
                f"{method}: the model says nothing of a given region, or has no gradient to its pixels; "
                f"{' and '.join(BLACK_BOX)} explain what it detects"
            )
        if method == "occlusion":
            return _array(occlusion(subject, self.on_step)), None
        if method == "drise":
            if subject.output != "class":
                raise UserError("drise: explains a detection, not the objectness or a coordinate of a box")
            return _array(drise(subject, masks, self.seed, self.on_step)), None
        if method == "integrated":
            steps = MOST_STEPS if subject is self.subject else FIRST_STEPS
            found, lacks = integrated_gradients(subject, steps, self.on_step)
            return _array(found if subject.output in {"class", "objectness"} else found.abs()), lacks
        self.on_step(1)
        if method == "saliency":
            return _array(saliency(subject)), None
        return _array(grad_cam(subject) if method == "gradcam" else by_rule(subject, method)), None

    def _checked(
        self, method: Method, heat: Map, completeness: float | None, floor: Curves | None
    ) -> Explanation:
        if not np.any(heat != heat.flat[0]):
            return Explanation(method, None, f"{method}: the map is flat: nothing that was changed mattered")
        own = None if floor is None else curves(self.subject, heat, self.on_step)
        with_masks = min(self.masks, _MASKS_OF_CHECK)
        compared = self._map(method, self.subject, with_masks)[0] if method == "drise" else heat
        stages = 1 if method in BLACK_BOX else STAGES

        def explain(subject: Subject) -> Map:
            return self._map(method, subject, with_masks)[0]

        random = randomised(self.subject, compared, explain, self.seed, stages)
        pointing = points_at(heat, self.objects)
        failed = _failures(random[-1], own, floor, completeness, points=pointing)
        return Explanation(method, heat, "", random, own, pointing, completeness, tuple(failed))


def _failures(
    random: float, own: Curves | None, floor: Curves | None, completeness: float | None, *, points: bool
) -> Iterator[str]:
    if random >= SAME:
        yield (
            f"the map hardly changes when all weights are random (rank correlation {random:.2f}): it shows "
            "the image, not what the network learned"
        )
    if own is not None and floor is not None and own.deletion_auc >= floor.deletion_auc:
        yield (
            f"deleting its pixels first costs no more than deleting at random "
            f"({own.deletion_auc:.3f}, at random {floor.deletion_auc:.3f})"
        )
    if own is not None and floor is not None and own.insertion_auc <= floor.insertion_auc:
        yield (
            f"inserting its pixels first brings no more than inserting at random "
            f"({own.insertion_auc:.3f}, at random {floor.insertion_auc:.3f})"
        )
    if not points:
        yield "its maximum lies outside the object"
    if completeness is not None and completeness > COMPLETE:
        yield f"its attributions miss their sum by {completeness:.1%}: so few steps do not follow it"


def _array(heat: Tensor) -> Map:
    return np.asarray(heat.float().cpu().numpy(), dtype=np.float32)
