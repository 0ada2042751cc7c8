from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
import torch

from detkit.errors import UserError
from detkit.explain.gradients import gradient
from detkit.explain.subject import Subject
from detkit.structures import ImageBatch
from tests.explain.patch import BOX, Detects, patch_subject
from tests.gpu.small_detectors import fit_planes, small

DETECTORS = {
    "faster_rcnn_resnet18_synthetic": ("class", "objectness", "x1", "y2"),
    "cascade_rcnn_resnet18_synthetic": ("class", "objectness", "x2"),
    "fast_rcnn_alexnet_voc07_multiscale": ("class", "y1"),
    "rcnn_alexnet_voc07": ("class", "x1"),
    "sppnet_zfnet_voc07": ("class", "x1"),
    "classifier_resnet18_synthetic": ("class",),
    "localizer_resnet18_synthetic_keypoints": ("class", "x1"),
}


def subject(name: str, output: Any = "class") -> Subject:
    """Return an output of an untrained detector at a box of noise."""
    model = small(name).eval()
    fit_planes(model)
    noise = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (1, 3, 96, 128), generator=noise, dtype=torch.uint8)
    proposals = (torch.tensor([[0.0, 0.0, 100.0, 90.0]]),)
    images = ImageBatch(pixels, ((96, 128),), ((192, 256),), proposals)
    return Subject(model, images, torch.tensor([40.0, 30.0, 180.0, 160.0]), 1, output)


@pytest.mark.parametrize(
    ("name", "output"), [(name, output) for name, outputs in DETECTORS.items() for output in outputs]
)
def test_gradients_are_those_of_finite_differences(name: str, output: str) -> None:
    of = subject(name, output)
    image = of.normalised()
    slope = gradient(of, image)
    steepest = slope / slope.norm()
    step = 0.0005 * image.norm()
    with torch.no_grad():
        after, before = of.value(torch.cat([image + step * steepest, image - step * steepest])).double()
    assert float((after - before) / (2 * step)) == pytest.approx(float(slope.norm()), rel=0.05)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_score_is_of_the_pixels_that_networks_see(name: str) -> None:
    of = subject(name)
    with torch.no_grad():
        raw, normalised = of.value(of.image.pixels), of.value(of.normalised())
    assert raw.item() == pytest.approx(normalised.item(), rel=1e-4, abs=1e-5)
    assert 0 <= of.scores(of.image.pixels).item() <= 1


def test_the_region_is_in_pixels_of_the_batch() -> None:
    assert subject("classifier_resnet18_synthetic").region.tolist() == [[20.0, 15.0, 90.0, 80.0]]


def test_similarity_is_score_times_overlap_of_the_class() -> None:
    of = patch_subject()
    score = float(of.value(of.normalised()).detach().sigmoid())
    half = torch.tensor([BOX[0], BOX[1], BOX[2], (BOX[1] + BOX[3]) / 2])
    pixels = of.image.pixels
    assert float(of.similarities(pixels)[0]) == pytest.approx(score, rel=1e-5)
    assert float(Subject(of.model, of.image, half, 0).similarities(pixels)[0]) == pytest.approx(
        score / 2, rel=1e-5
    )
    assert float(Subject(of.model, of.image, BOX, 1).similarities(pixels)[0]) == 0


def test_a_model_that_reads_no_regions_is_asked_what_it_detects() -> None:
    blind, seeing = patch_subject(Detects()), patch_subject()
    assert not blind.has_gradient
    assert blind.scores(blind.image.pixels) == seeing.similarities(seeing.image.pixels)


def test_a_classifier_moves_no_box() -> None:
    with pytest.raises(UserError, match="finds classes of whole images"):
        patch_subject(output="x1").value(patch_subject().normalised())


def test_layers_become_random_from_the_output_down() -> None:
    of = subject("faster_rcnn_resnet18_synthetic")
    before = {name: value.clone() for name, value in of.model.named_parameters()}
    changed = []
    for other in of.with_random_layers(seed=0, stages=4):
        now = dict(other.model.named_parameters())
        changed.append({name for name, value in before.items() if not torch.equal(value, now[name])})
        for name, value in before.items():
            assert torch.equal(now[name].flatten().sort().values, value.flatten().sort().values)
    assert "roi_head.predictor.cls_score.weight" in changed[0]
    assert "backbone.conv1.weight" not in changed[0]
    assert all(earlier <= later for earlier, later in pairwise(changed))
    assert "backbone.conv1.weight" in changed[-1]
    assert all(torch.equal(value, before[name]) for name, value in of.model.named_parameters())
    one, other = (cast(Any, next(of.with_random_layers(seed, stages=1)).model) for seed in (0, 1))
    assert not torch.equal(one.backbone.conv1.weight, other.backbone.conv1.weight)
