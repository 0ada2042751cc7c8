from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from detkit.data.regions.batch import RegionBatch
from detkit.detectors.builder import build_detector
from detkit.detectors.rcnn.config import RCNNConfig, WarpConfig
from detkit.detectors.rcnn.model import RCNN
from detkit.errors import UserError
from detkit.models.backbones.resnet.family import ResNetConfig
from detkit.models.roi.decision_config import BoxRegressionConfig, SoftmaxDecisionConfig, SVMDecisionConfig
from detkit.ops.warp import Cuts, plan_warp
from detkit.proposals.config import SlidingWindowConfig
from detkit.structures import ImageBatch
from detkit.training.staged.ridge import CODER
from tests.reference.warp import crop

K, SIZE = 3, 32
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (2, 60, 80, 3), dtype=np.uint8)
BOXES = torch.tensor([[5.0, 6.0, 40.0, 50.0], [0.0, 0.0, 20.0, 12.0], [30.0, 20.0, 79.0, 59.0]])


def model(softmax: bool = False, regression: bool = True, at_once: int = 2) -> RCNN:
    head = (
        SoftmaxDecisionConfig(type="softmax") if softmax else SVMDecisionConfig(type="svm", features="pool5")
    )
    spec = RCNNConfig(
        type="rcnn",
        backbone=ResNetConfig(type="resnet", depth=18, width=0.0625),
        proposals=SlidingWindowConfig(type="sliding_window"),
        regions=WarpConfig(type="warp", size=SIZE, context_px=3, at_once=at_once),
        head=head,
        box_regression=BoxRegressionConfig() if regression else None,
    )
    built = build_detector(spec, K, 0).eval()
    assert isinstance(built, RCNN)
    return built


def images(boxes: tuple[torch.Tensor, ...] | None = (BOXES, BOXES[:1])) -> ImageBatch:
    pixels = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    return ImageBatch(pixels, ((60, 80), (50, 70)), ((60, 80), (100, 140)), boxes)


def filled(detector: RCNN) -> RCNN:
    """SVMs and regression as if they had been learned."""
    rng, width = np.random.default_rng(1), detector.widths["pool5"]
    assert detector.decision.svms is not None
    planes = torch.from_numpy(rng.normal(size=(2, width)))
    weights = torch.stack([planes[0], torch.zeros(width), planes[1]])
    detector.decision.svms.fill(weights, torch.tensor([0.1, 0.0, 0.2]), [True, False, True], 2)
    if detector.decision.box_deltas is not None:
        weights = torch.stack([torch.from_numpy(0.02 * rng.normal(size=(width, 4))).T for _ in range(K)])
        detector.decision.box_deltas.fill(weights, torch.full((K, 4), 0.05).double(), 1.5)
    return detector


def test_every_region_is_read_by_itself_from_its_own_crop() -> None:
    detector = filled(model())
    mean, std = detector.mean.flatten(), detector.std.flatten()
    found = list(detector.read(images().part(0, 1), BOXES))
    assert [len(pool5) for pool5, _ in found] == [2, 1]
    pool5 = torch.cat([part for part, _ in found])
    for row, (x1, y1, x2, y2) in zip(pool5, BOXES.tolist(), strict=True):
        pixels = crop(PIXELS[0], (x1 + 1, y1 + 1, x2, y2), SIZE, 3, False, False, tuple(mean.tolist()))
        one = torch.from_numpy(pixels / std.numpy()).float().permute(2, 0, 1)[None]
        torch.testing.assert_close(detector.network.pool5(one)[0], row, atol=2e-4, rtol=1e-3)


def test_a_region_at_the_border_is_filled_with_the_mean_and_not_with_padding() -> None:
    detector, border = filled(model()), torch.tensor([[50.0, 30.0, 70.0, 50.0]])
    batch = images()
    _, vectors = next(detector.read(batch.part(1, 2), border))
    other = batch.pixels.clone()
    other[1, :, 50:], other[1, :, :, 70:] = 255, 255  # what lies outside the image's (50, 70)
    _, again = next(detector.read(replace(batch, pixels=other).part(1, 2), border))
    assert torch.equal(vectors, again)


def test_scores_are_the_svms_and_boxes_the_regressions() -> None:
    detector = filled(model())
    detector.selection = replace(detector.selection, score_threshold=0.0, nms_iou=1.0)
    first, second = detector.detect(images())
    pool5 = torch.cat([part for part, _ in detector.read(images().part(0, 1), BOXES)])
    assert detector.decision.svms is not None
    assert detector.decision.box_deltas is not None
    scores, deltas = detector.decision.svms(pool5).detach(), detector.decision.box_deltas(pool5).detach()
    expected = [
        (float(scores[row, label]), label, CODER.decode(deltas[row, label][None], BOXES[row][None])[0])
        for row in range(3)
        for label in range(K)
    ]
    expected.sort(key=lambda one: -one[0])
    torch.testing.assert_close(first.scores, torch.tensor([one[0] for one in expected]))
    assert first.labels.tolist() == [one[1] for one in expected]
    assert first.margins is not None
    torch.testing.assert_close(first.margins.sigmoid(), first.scores)
    raw = detector.decision.svms.cls_score(pool5).detach().flatten().sort(descending=True).values
    torch.testing.assert_close(first.margins, raw)
    limits = torch.tensor([80.0, 60.0, 80.0, 60.0])
    torch.testing.assert_close(
        first.boxes,
        torch.stack([one[2].clamp(min=0).minimum(limits) for one in expected]),
        rtol=1e-4,
        atol=1e-3,
    )
    assert float(first.scores[first.labels == 1].max()) < 1e-8  # no SVM was learned for it
    assert float(second.boxes[:, 2].max()) > 70  # back in the pixels of a file twice as large


def test_how_many_crops_go_together_changes_nothing() -> None:
    few, many = filled(model(at_once=1)), filled(model(at_once=100))
    few.selection = many.selection = replace(few.selection, score_threshold=0.0)
    for one, other in zip(few.detect(images()), many.detect(images()), strict=True):
        torch.testing.assert_close(one.scores, other.scores)
        torch.testing.assert_close(one.boxes, other.boxes)


def test_softmax_takes_the_place_of_the_svms_and_leaves_background_out() -> None:
    detector = model(softmax=True, regression=False)
    detector.selection = replace(detector.selection, score_threshold=0.0, nms_iou=1.0)
    found, _ = detector.detect(images())
    pool5 = torch.cat([part for part, _ in detector.read(images().part(0, 1), BOXES)])
    expected = (
        detector.decision.classifier(pool5).detach().softmax(1)[:, :K].flatten().sort(descending=True).values
    )
    torch.testing.assert_close(found.scores, expected)
    assert found.margins is None
    assert {tuple(box) for box in found.boxes.tolist()} == {tuple(box) for box in BOXES.tolist()}


def test_nowhere_to_look_finds_nothing_and_not_being_told_is_an_error() -> None:
    detector = filled(model())
    nothing = torch.zeros((0, 4))
    assert [len(found) for found in detector.detect(images((nothing, nothing)))] == [0, 0]
    with pytest.raises(UserError, match="needs proposals"):
        detector.detect(images(None))


def test_the_loss_is_the_cross_entropy_of_the_regions_and_reaches_every_layer() -> None:
    detector = model().train()
    plan = plan_warp(BOXES.numpy(), (60, 80), SIZE, 3, square=False)
    table = torch.from_numpy(PIXELS[0]).view(-1, 3)
    batch = RegionBatch(table, Cuts.in_image(plan, 80), torch.tensor([0, K, 2]), (0, 0, 0))
    losses = detector(batch)
    logits = detector.decision.classifier(detector.network(detector.crop(table, batch.cuts)))
    picked = -logits.log_softmax(1)[torch.arange(3), batch.labels]
    torch.testing.assert_close(losses["head_class"], picked.mean())
    losses["head_class"].backward()  # type: ignore[no-untyped-call]
    learned = [p for name, p in detector.named_parameters() if p.requires_grad]
    assert all(p.grad is not None for p in learned)
    assert not any(p.requires_grad for p in detector.decision.svms.parameters())  # type: ignore[union-attr]
