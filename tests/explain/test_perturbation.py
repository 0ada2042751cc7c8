from __future__ import annotations

import numpy as np
import torch

from detkit.explain.checks import curves, random_curves
from detkit.explain.perturbation import drise, num_windows, occlusion
from tests.explain.patch import COLUMNS, ROWS, Detects, patch_subject


def test_occlusion_finds_what_is_looked_at() -> None:
    steps: list[int] = []
    heat = occlusion(patch_subject(), steps.append).numpy()
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert ROWS.start <= y < ROWS.stop
    assert COLUMNS.start <= x < COLUMNS.stop
    assert heat[:16, 40:].max() == 0
    assert sum(steps) == num_windows((64, 64))


def test_drise_finds_what_is_looked_at_without_seeing_inside() -> None:
    heat = drise(patch_subject(Detects()), 600, 0, lambda count: None)
    inside = heat[ROWS, COLUMNS].mean()
    assert inside > heat.mean() + 2 * heat.std()


def test_masks_depend_on_the_seed_alone() -> None:
    of = patch_subject()
    first, again, other = (drise(of, 20, seed, lambda count: None) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_object_that_is_not_detected_is_explained_by_its_region() -> None:
    of = patch_subject()
    missed = type(of)(of.model, of.image, torch.tensor([40.0, 0.0, 60.0, 20.0]), 0)
    assert float(missed.similarities(of.image.pixels)[0]) == 0
    heat = drise(missed, 100, 0, lambda count: None)
    assert heat.std() > 0
    assert torch.allclose(heat, drise(of, 100, 0, lambda count: None))  # its box is found at an IoU of 1


def test_many_masks_delete_better_than_few_and_than_chance() -> None:
    of = patch_subject()
    many, few = (drise(of, masks, 0, lambda count: None).numpy() for masks in (1500, 25))
    floor = random_curves(of, 0, lambda count: None).deletion_auc
    areas = [curves(of, heat, lambda count: None).deletion_auc for heat in (many, few)]
    assert areas[0] < areas[1]
    assert areas[0] - 0.5 < (floor - 0.5) / 2  # 0.5 is what nothing gets
