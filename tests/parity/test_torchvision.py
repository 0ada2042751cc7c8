"""The same weights give the same detections and the same losses as torchvision's models."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2

from detkit.detectors.builder import build_detector
from detkit.detectors.faster_rcnn import model as faster_rcnn
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.detectors.faster_rcnn.torchvision import from_torchvision
from detkit.structures import ImageBatch, Target, TrainBatch
from tests.reference.calibration import calibrate

HEIGHT, WIDTH, NUM_CLASSES = 160, 192, 5
VERSIONS = {"v1": fasterrcnn_resnet50_fpn, "v2": fasterrcnn_resnet50_fpn_v2}


def our_spec(version: str) -> FasterRCNNConfig:
    two = version == "v2"
    head = {"type": "conv_fc"} if two else {"type": "two_fc"}
    return FasterRCNNConfig.model_validate(
        {
            "type": "faster_rcnn",
            "backbone": {"type": "resnet", "depth": 50, "norm": "frozen"},
            "neck": {"type": "fpn", "norm": "trainable" if two else "none"},
            "proposals": {"type": "rpn", "num_convs": 2 if two else 1, "normalize_by": "batch"},
            "regions": {"type": "roi_align", "aligned": False},
            "head": {**head, "normalize_by": "batch", "beta": 1 / 9},
        }
    )


def photo(number: int) -> Tensor:
    """Draw an image with large and small structure: (3, H, W) uint8."""
    noise = torch.Generator().manual_seed(number)
    coarse = torch.rand(1, 3, 8, 10, generator=noise)
    fine = torch.rand(1, 3, 40, 48, generator=noise)
    mixed = nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear") + nn.functional.interpolate(
        fine, (HEIGHT, WIDTH), mode="bilinear"
    )
    return (127.5 * mixed[0]).round().to(torch.uint8)


@pytest.fixture(scope="module", params=["v1", pytest.param("v2", marks=pytest.mark.slow)])
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, faster_rcnn.FasterRCNN]:
    torch.manual_seed(0)
    theirs = VERSIONS[request.param](
        weights=None,
        weights_backbone=None,
        num_classes=NUM_CLASSES + 1,
        min_size=HEIGHT,
        max_size=WIDTH,
    ).eval()
    calibrate(theirs, [photo(0) / 255])
    ours = build_detector(our_spec(request.param), NUM_CLASSES, 0)
    assert isinstance(ours, faster_rcnn.FasterRCNN)
    ours.load_state_dict(from_torchvision(theirs.state_dict()))
    return theirs, ours.eval()


def test_same_detections(pair: tuple[nn.Module, faster_rcnn.FasterRCNN]) -> None:
    theirs, ours = pair
    photos = [photo(0), photo(1)]
    sizes = ((HEIGHT, WIDTH),) * 2
    with torch.no_grad():
        wanted = theirs([image / 255 for image in photos])
    found = ours.detect(ImageBatch(torch.stack(photos), sizes, sizes))
    assert min(int((image["scores"] > 0.3).sum()) for image in wanted) >= 50
    for own, peer in zip(found, wanted, strict=True):
        assert len(own) == len(peer["scores"])
        # By pairs, not by rank: scores that differ in the last bit change places.
        apart = torch.cdist(own.boxes, peer["boxes"], p=float("inf"))
        apart[own.labels[:, None] != peer["labels"] - 1] = float("inf")
        distance, partner = apart.min(dim=1)
        assert len(partner.unique()) == len(own)
        assert distance.max() < 1e-2
        torch.testing.assert_close(own.scores, peer["scores"][partner], atol=1e-4, rtol=0)


class FirstOnes:
    """Draws the first positives and the first negatives, for both toolkits."""

    def __init__(self, num: int, fg_fraction: float) -> None:
        self.num, self.limit = num, int(num * fg_fraction)

    def draw(self, matches: Tensor) -> tuple[Tensor, Tensor]:
        fg = torch.nonzero(matches >= 0).squeeze(1)[: self.limit]
        return fg, torch.nonzero(matches == -1).squeeze(1)[: self.num - len(fg)]

    def sample_all(self, matches: Sequence[Tensor], seeds: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        return [self.draw(own) for own in matches]


class FirstOnesOfTorchvision(FirstOnes):
    """The same for torchvision, whose labels are 1 and above, 0 and -1, and which wants masks."""

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        drawn = [self.draw((own - 1).long()) for own in labels]
        return tuple(  # type: ignore[return-value]
            [torch.zeros_like(own, dtype=torch.bool).index_fill(0, kind[side], True)
             for own, kind in zip(labels, drawn, strict=True)]
            for side in range(2)
        )  # fmt: skip


def test_same_losses(pair: tuple[nn.Module, faster_rcnn.FasterRCNN], monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = pair
    boxes = [
        torch.tensor([[30.0, 40.0, 130.0, 150.0], [90.0, 60.0, 185.0, 150.0], [10.0, 10.0, 40.0, 44.0]]),
        torch.tensor([[100.0, 20.0, 170.0, 90.0]]),
    ]
    labels = [torch.tensor([0, 4, 2]), torch.tensor([3])]
    photos, sizes = [photo(2), photo(3)], ((HEIGHT, WIDTH),) * 2
    monkeypatch.setattr(theirs.rpn, "fg_bg_sampler", FirstOnesOfTorchvision(256, 0.5))
    monkeypatch.setattr(theirs.roi_heads, "fg_bg_sampler", FirstOnesOfTorchvision(512, 0.25))
    monkeypatch.setattr(ours.rpn, "sampler", FirstOnes(256, 0.5))
    monkeypatch.setattr(ours.roi_head, "sampler", FirstOnes(512, 0.25))
    for module in (theirs, theirs.rpn, theirs.roi_heads, theirs.transform):
        monkeypatch.setattr(module, "training", True)  # the norms stay as they are
    wanted = theirs(
        [image / 255 for image in photos],
        [{"boxes": b, "labels": n + 1} for b, n in zip(boxes, labels, strict=True)],
    )
    targets = tuple(Target.of(b, n, i) for i, (b, n) in enumerate(zip(boxes, labels, strict=True)))
    found = ours(TrainBatch(ImageBatch(torch.stack(photos), sizes, sizes), targets))
    names = {
        "rpn_objectness": "loss_objectness",
        "rpn_box": "loss_rpn_box_reg",
        "head_class": "loss_classifier",
        "head_box": "loss_box_reg",
    }
    for own, peer in names.items():
        torch.testing.assert_close(
            found[own], wanted[peer], atol=1e-4, rtol=0, msg=lambda m, own=own: f"{own}: {m}"
        )
        assert wanted[peer] > 1e-3
