"""SPP-net as a whole: one reading of the image, and pyramids of its map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.detectors.builder import build_detector
from detkit.detectors.sppnet.config import SPPNetConfig
from detkit.detectors.sppnet.model import RegionSampling, SPPNet
from detkit.errors import UserError
from detkit.models.image_input import resized
from detkit.ops.boxes import pairwise_iou
from detkit.ops.sampling import Sampler
from detkit.ops.spatial_pyramid import spatial_pyramid_pool
from detkit.structures import ImageBatch, Target, TrainBatch

SMALL: dict[str, Any] = {
    "type": "sppnet",
    "backbone": {"type": "alexnet", "width": 0.125},
    "proposals": {"type": "sliding_window"},
    "regions": {"type": "spp"},
    "head": {"type": "softmax", "dropout": 0.0},
}
OBJECTS = ([(10, 12, 90, 84, 0), (150, 40, 240, 150, 1)], [(30, 20, 130, 120, 1), (170, 10, 230, 84, 0)])


def build(num_classes: int = 2, **changes: Any) -> SPPNet:
    parts = {**SMALL, **changes}
    model = build_detector(SPPNetConfig.model_validate(parts), num_classes, seed=0)
    assert isinstance(model, SPPNet)
    return model


def scenes() -> TrainBatch:
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(90, 150, (2, 3, 160, 256), generator=noise, dtype=torch.uint8)
    targets, proposals = [], []
    for image, own in enumerate(OBJECTS):
        for x1, y1, x2, y2, label in own:
            pixels[image, :, y1:y2, x1:x2] = 40 if label else 220
        boxes = torch.tensor([box[:4] for box in own], dtype=torch.float32)
        targets.append(Target.of(boxes, torch.tensor([box[4] for box in own]), image))
        near = boxes.repeat(30, 1) + 12 * torch.randn(60, 4, generator=noise)
        corner = torch.rand(60, 2, generator=noise) * torch.tensor([180.0, 90.0])
        anywhere = torch.cat([corner, corner + 20 + 50 * torch.rand(60, 2, generator=noise)], 1)
        found = torch.cat([boxes, near, anywhere])
        proposals.append(torch.minimum(found.clamp_min(0), torch.tensor([256.0, 160, 256, 160])))
    sizes = ((160, 256), (160, 256))
    return TrainBatch(ImageBatch(pixels, sizes, sizes, tuple(proposals)), tuple(targets), seed=3)


def test_overfits_two_images() -> None:
    model, batch = build(), scenes()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for step in range(40):
        losses: dict[str, Tensor] = model(TrainBatch(batch.images, batch.targets, step))
        optimizer.zero_grad()
        losses["head_class"].backward()
        optimizer.step()
    for found, target in zip(model.eval().detect(batch.images), batch.targets, strict=True):
        sure = found.scores > 0.5
        right = found.labels[sure] == target.labels[:, None]
        assert ((pairwise_iou(target.boxes, found.boxes[sure]) > 0.5) & right).any(1).all(), f"{found}"


def test_features_are_pyramids_of_the_copy_where_a_region_fits_best() -> None:
    model = build(scales_px=(60, 120)).eval()
    images = scenes().images.part(0, 1)
    boxes = torch.tensor([[0.0, 0, 100, 100], [0, 0, 256, 160], [5, 5, 240, 239]])
    # The first three are nearest to 224 x 224 as they are, the last in the copy of half the size.
    boxes = torch.cat([boxes, torch.tensor([[0.0, 0, 448, 448]])])
    with torch.inference_mode():
        pixels = model.prepare(images)
        large, small = (model.network.backbone(copy)[-1] for copy in (pixels, resized(pixels, 0.5)))
        ((pool5, vectors),) = model.read(images, boxes)
        image = torch.zeros(1, dtype=torch.int64)
        for row, (box, maps, scale) in enumerate(
            zip(boxes, (large, large, large, small), (1 / 16, 1 / 16, 1 / 16, 1 / 32), strict=True)
        ):
            edges = box[None] - torch.tensor([0, 0, 1, 1])
            expected = spatial_pyramid_pool(maps, edges, image, scale, (6, 3, 2, 1)).flatten()
            torch.testing.assert_close(pool5[row], expected)
        fc = model.network.fc
        assert fc is not None
        torch.testing.assert_close(vectors, F.relu(fc.fc7(F.relu(fc.fc6(pool5)))))
        assert pool5.shape == (4, 32 * 50)


def levels_in_training(seed: int, **changes: Any) -> tuple[int, Tensor | None]:
    """Return how many maps a step reads, and from which of them each region is taken."""
    model, batch = build(scales_px=(60, 80, 120), **changes), scenes()
    seen: list[tuple[int, Tensor | None]] = []
    features = model.network.features

    def note(maps: Sequence[Tensor], boxes: Any, pixel_px: Any, levels: Tensor | None) -> Tensor:
        seen.append((len(maps), levels))
        return features(maps, boxes, pixel_px, levels)

    model.network.features = note  # type: ignore[assignment]
    model(replace(batch, seed=seed))
    (one,) = seen
    return one


def test_training_takes_each_region_from_any_copy_or_reads_the_image_alone() -> None:
    num_maps, first = levels_in_training(1)
    assert num_maps == 3
    assert first is not None
    assert set(first.tolist()) == {0, 1, 2}
    shares = torch.bincount(first) / len(first)
    assert 0.15 < float(shares.min()) <= float(shares.max()) < 0.55
    again, other = levels_in_training(1)[1], levels_in_training(2)[1]
    assert first.tolist() == again.tolist() != other.tolist()  # type: ignore[union-attr]
    assert levels_in_training(1, copy_for_each="image") == (1, None)


@pytest.mark.parametrize(
    ("backbone", "first_centre"),
    # The pixel, counted from 0, that the first cell is centred on: poolings of two pixels without padding
    # move VGG's by 0.5 + 1 + 2 + 4.
    [({"type": "alexnet"}, 0.0), ({"type": "zfnet"}, 0.0), ({"type": "vgg", "depth": 11}, 7.5)],
)
def test_windows_go_to_the_cells_that_are_centred_nearest(
    backbone: dict[str, Any], first_centre: float
) -> None:
    model = build(backbone={**backbone, "width": 0.0625}).eval()
    row, column = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    cells = torch.stack([column, row, -column, -row])[None]
    chance = np.random.default_rng(1)
    first = chance.integers(0, 260, (200, 2))
    last = first + chance.integers(20, 60, (200, 2))
    boxes = torch.from_numpy(np.concatenate([first, last + 1], 1)).float()
    # The pyramid's last level is one bin: the maxima of the whole window.
    found = model.network.features([cells], [boxes], (1.0,)).flatten(1)[:, -4:] * torch.tensor([1, 1, -1, -1])
    away_from_first = np.abs(first[..., None] - first_centre - 16 * np.arange(20))
    away_from_last = np.abs(last[..., None] - first_centre - 16 * np.arange(20))
    # Halfway between two cells it is the inner one: the second at the beginning, the first at the end.
    begins, ends = 19 - away_from_first[..., ::-1].argmin(-1), away_from_last.argmin(-1)
    wide = (begins <= ends).all(1)
    assert wide.sum() > 100
    expected = np.concatenate([ends, begins], 1)
    assert found.numpy()[wide].tolist() == expected[wide].tolist()


def weights_file(tmp_path: Path, **backbone: Any) -> tuple[Path, dict[str, Tensor]]:
    from detkit.models.backbones.alexnet.network import AlexNet

    torch.manual_seed(1)
    state = dict(AlexNet(width=0.125, freeze_at=0).state_dict())
    for name, shape in {"1": (512, 32 * 36), "4": (512, 512)}.items():
        state[f"classifier.{name}.weight"], state[f"classifier.{name}.bias"] = (
            torch.randn(shape),
            torch.ones(512),
        )
    torch.save(state, tmp_path / "alexnet.pth")
    return tmp_path / "alexnet.pth", state


def test_pretrained_convolutions_are_frozen_and_fc6_keeps_what_it_knows_of_its_grid(tmp_path: Path) -> None:
    file, state = weights_file(tmp_path)
    model = build(
        backbone={"type": "alexnet", "width": 0.125, "weights": str(file)},
        regions={"type": "spp", "levels": (2, 6)},
    )
    assert not any(parameter.requires_grad for parameter in model.network.backbone.parameters())
    assert model.network.fc is not None
    pool5 = torch.rand(3, 32 * 40)
    grid = pool5[:, 32 * 4 :]  # behind the level of 2 x 2
    expected = F.linear(grid, state["classifier.1.weight"], state["classifier.1.bias"])
    torch.testing.assert_close(model.network.fc.fc6(pool5), expected)
    assert torch.equal(model.network.fc.fc7.weight, state["classifier.4.weight"])
    model(scenes())["head_class"].backward()
    assert model.network.fc.fc6.weight.grad is not None
    assert model.network.fc.fc6.weight.grad[:, : 32 * 4].abs().sum() > 0  # and learns of the other one


def test_without_its_grid_fc6_starts_at_random(tmp_path: Path) -> None:
    file, state = weights_file(tmp_path)
    model = build(
        backbone={"type": "alexnet", "width": 0.125, "weights": str(file)},
        regions={"type": "spp", "levels": (3, 1)},
    )
    assert model.network.fc is not None
    assert model.network.fc.fc6.weight.abs().min() > 0
    assert not torch.equal(model.network.fc.fc7.weight, state["classifier.4.weight"])


@pytest.mark.parametrize(
    "backbone",
    [{"type": "resnet", "depth": 18, "width": 0.125}, {"type": "vgg", "depth": 11, "width": 0.125}],
)
@pytest.mark.parametrize("head", ["svm", "softmax"])
def test_every_backbone_and_head_is_built_trained_and_asked(backbone: dict[str, Any], head: str) -> None:
    model = build(backbone=backbone, head={"type": head}).train()
    batch = scenes()
    losses = model(batch)
    assert losses["head_class"].isfinite()
    found = model.eval().detect(batch.images)
    assert len(found) == 2
    if head == "svm":  # no SVM was learned
        assert [len(one) for one in found] == [0, 0]


def test_it_looks_only_where_it_is_told() -> None:
    model, images = build().eval(), scenes().images
    nowhere = ImageBatch(images.pixels, images.sizes, images.originals, (torch.zeros(0, 4),) * 2)
    assert [len(found) for found in model.detect(nowhere)] == [0, 0]
    untold = ImageBatch(images.pixels, images.sizes, images.originals)
    with pytest.raises(UserError, match=r"sppnet needs proposals"):
        model.detect(untold)


def test_an_image_without_regions_to_draw_has_a_finite_loss() -> None:
    model, batch = build(), scenes()
    nothing = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    losses = model(TrainBatch(batch.images, (nothing, nothing), 0))  # best IoU 0 everywhere: all left out
    assert losses["head_class"].item() == 0


def test_draw_is_a_quarter_objects_and_the_rest_overlaps_a_little() -> None:
    batch = scenes()
    assert batch.images.proposals is not None
    sampling = RegionSampling(Sampler(32, 0.25), 0.5, (0.1, 0.5))
    boxes, labels = sampling(batch.images.proposals[0], batch.targets[0], 2, seed=5)
    best, own = pairwise_iou(boxes, batch.targets[0].boxes).max(dim=1)
    with_object = labels < 2
    assert with_object.tolist() == [True] * 8 + [False] * (len(labels) - 8)
    assert torch.equal(labels[with_object], batch.targets[0].labels[own[with_object]])
    assert (best[with_object] >= 0.5).all()
    assert ((best[~with_object] >= 0.1) & (best[~with_object] < 0.5)).all()
    shown = build().training_boxes(batch)
    assert all(len(anchors) == 0 and 0 < len(regions) <= 16 for anchors, regions in shown)
    again, _ = sampling(batch.images.proposals[0], batch.targets[0], 2, seed=5)
    assert torch.equal(boxes, again)
