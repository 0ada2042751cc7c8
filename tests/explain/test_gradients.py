from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from detkit.errors import UserError
from detkit.explain.gradients import by_rule, grad_cam, gradient, integrated_gradients, saliency
from tests.explain.patch import COLUMNS, ROWS, patch_subject
from tests.explain.test_subject import subject


def test_saliency_is_the_largest_gradient_of_a_pixel() -> None:
    of = subject("faster_rcnn_resnet18_synthetic")
    found = gradient(of, of.normalised())[0]
    heat = saliency(of)
    assert heat.shape == (96, 128)
    assert float(heat[50, 60]) == max(abs(float(found[colour, 50, 60])) for colour in range(3))


def test_what_is_not_looked_at_gets_nothing() -> None:
    heat = saliency(patch_subject())
    assert (heat[ROWS, COLUMNS] > 0).all()
    assert float(heat.sum()) == pytest.approx(float(heat[ROWS, COLUMNS].sum()))


@pytest.mark.parametrize("name", ["faster_rcnn_resnet18_synthetic", "classifier_resnet18_synthetic"])
def test_integrated_gradients_add_up_to_the_difference(name: str) -> None:
    of = subject(name)
    heat, lacks = integrated_gradients(of)
    with torch.no_grad():
        difference = float(of.value(of.normalised()) - of.value(0 * of.normalised()))
    assert lacks <= 0.01
    assert float(heat.sum()) == pytest.approx(difference, rel=0.011)


def test_a_network_without_relus_has_no_rule_for_them() -> None:
    with pytest.raises(UserError, match="guided: the network has no ReLU"):
        by_rule(patch_subject(), "guided")


@pytest.mark.parametrize(
    "name",
    [
        "faster_rcnn_resnet18_synthetic",
        "fast_rcnn_alexnet_voc07_multiscale",
        "sppnet_zfnet_voc07",
        "localizer_resnet18_synthetic_keypoints",
    ],
)
def test_grad_cam_covers_the_image(name: str) -> None:
    of = subject(name)
    heats = torch.stack([grad_cam(replace(of, label=label)) for label in range(3)])
    assert heats.shape == (3, 96, 128)
    assert (heats >= 0).all()
    assert heats.max() > 0  # of a class that no cell speaks for there is no map


def test_grad_cam_leaves_out_what_a_region_does_not_read() -> None:
    of = replace(subject("faster_rcnn_resnet18_synthetic"), box=torch.tensor([10.0, 10.0, 60.0, 60.0]))
    heat = grad_cam(of)  # the region ends at pixel 30 of the batch
    assert float(heat[:30, :30].sum()) > 0
    assert float(heat[:, 72:].sum()) == float(heat[72:].sum()) == 0


def test_a_region_that_is_read_by_itself_has_no_map() -> None:
    with pytest.raises(UserError, match="no map of the whole image"):
        grad_cam(subject("rcnn_alexnet_voc07"))
