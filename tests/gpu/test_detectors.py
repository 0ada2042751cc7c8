"""Each detector computes on a GPU what it computes on the CPU."""

from __future__ import annotations

import copy

import pytest
import torch

from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.detectors.faster_rcnn.model import FasterRCNN, ProposalNetwork
from tests.gpu.small_detectors import (
    NAMES,
    ROUNDED,
    fit_planes,
    images,
    losses_and_gradients,
    share_found_again,
    small,
    training_batch,
)

pytestmark = pytest.mark.gpu


def parts_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Return what learns from the same input on any device.

    Behind a proposal network two equal proposals, rounded in two ways, change places, and other ones are
    drawn; so network and head learn apart, the head from given proposals.
    """
    if not isinstance(model, FasterRCNN):
        return [model]
    return [
        ProposalNetwork(model.backbone, model.neck, model.rpn),  # type: ignore[arg-type]
        FastRCNN(model.backbone, model.neck, model.roi_head),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_gradients_are_those_of_the_cpu(device: torch.device, name: str) -> None:
    model, batch = small(name).eval(), training_batch(name)
    there = copy.deepcopy(model).to(device)
    for here, other in zip(parts_of(model), parts_of(there), strict=True):
        expected = losses_and_gradients(here.eval(), batch)
        got = losses_and_gradients(other.eval(), batch.to(device))
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            limit = ROUNDED * float(value.abs().max()) + 1e-7
            torch.testing.assert_close(got[key], value, rtol=0, atol=limit, msg=key)
        model.zero_grad()
        there.zero_grad()


@pytest.mark.parametrize("name", NAMES)
def test_detections_are_those_of_the_cpu(device: torch.device, name: str) -> None:
    model = small(name).eval()
    there = copy.deepcopy(model).to(device)
    fit_planes(model)
    fit_planes(there)
    batch = images().images
    found = model.detect(batch)  # type: ignore[operator]
    got = there.detect(batch.to(device))  # type: ignore[operator]
    assert all(own.boxes.device == own.scores.device == own.labels.device == device for own in got)
    got = [own.to("cpu") for own in got]
    assert sum(map(len, found)) > 0
    # Where two boxes are nearly equally good, and one suppresses the other, rounding decides.
    assert share_found_again(found, got) > 0.9
    assert share_found_again(got, found) > 0.9
