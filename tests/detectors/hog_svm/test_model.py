from __future__ import annotations

import numpy as np
import pytest
import torch

from detkit.data.loading.batching import collate
from detkit.data.transforms.builder import resizing
from detkit.detectors.builder import build_detector
from detkit.detectors.hog_svm.config import HOGConfig, HOGSVMConfig, ImagePyramidConfig, WindowSVMConfig
from detkit.detectors.hog_svm.model import HOGSVM, Template
from detkit.errors import UserError
from detkit.inference.predictor import samples_of
from detkit.models.hog.descriptor import HOG, hog_blocks
from detkit.ops.boxes import pairwise_iou
from detkit.structures import Detections, ImageBatch, Target
from tests.models.hog.test_descriptor import picture

WIDTH, HEIGHT = 24, 40  # of the window
AT = (16, 24)  # x, y of the object


def batch_of(*images: np.ndarray) -> ImageBatch:
    samples = [samples_of(pixels, [resizing(None)])[0] for pixels in images]
    return collate(samples, seed=0).images


def scene() -> np.ndarray:
    """Noise, in which each window differs from all others."""
    return picture(96, 80, seed=4)


def template_of(pixels: np.ndarray, x: int, y: int, width: int, height: int) -> torch.Tensor:
    """What answers most to one window: its own blocks, of which each has length 1."""
    window = hog_blocks(pixels, HOG())[y // 8 :, x // 8 :][
        : HOG().num_blocks(height), : HOG().num_blocks(width)
    ]
    return torch.from_numpy(window).permute(2, 0, 1)


def detector(*, context_px: int = 0, bias: float = -7.5, **head: object) -> HOGSVM:
    config = HOGSVMConfig(
        proposals=ImagePyramidConfig(scale_step=1.2, padding_px=0),
        regions=HOGConfig(windows=((WIDTH, HEIGHT),), context_px=context_px),
        head=WindowSVMConfig(**head),  # type: ignore[arg-type]
    )
    model = build_detector(config, 1)
    assert isinstance(model, HOGSVM)
    model.template(0).fill(template_of(scene(), *AT, WIDTH, HEIGHT), torch.tensor([bias]))
    return model


def found_in(model: HOGSVM, *images: np.ndarray) -> list[Detections]:
    return model.detect(batch_of(*images))


def test_finds_the_window_it_was_made_of_by_the_logistic_function_of_its_margin() -> None:
    [found] = found_in(detector(), scene())
    # 2 x 4 blocks of length 1 (but for the small constants of the norm), less the bias.
    assert found.boxes[0].tolist() == [16, 24, 40, 64]
    assert found.margins is not None
    assert found.margins[0] == pytest.approx(8 - 7.5, abs=0.1)
    torch.testing.assert_close(found.scores, 1 / (1 + torch.exp(-found.margins)))
    assert found.margins.tolist() == sorted(found.margins.tolist(), reverse=True)
    assert found.labels.tolist() == [0] * len(found)


def test_finds_it_larger_in_a_larger_image() -> None:
    import cv2

    larger = cv2.resize(scene(), (96, 115), interpolation=cv2.INTER_CUBIC)  # by 1.2
    [found] = found_in(detector(), larger)
    np.testing.assert_allclose(found.boxes[0], np.array([16, 24, 40, 64]) * 1.2, atol=0.8)


def test_the_object_is_the_window_without_its_context() -> None:
    [found] = found_in(detector(context_px=4), scene())
    assert found.boxes[0].tolist() == [20, 28, 36, 60]


def test_images_of_a_batch_are_alone_and_padding_is_no_part_of_them() -> None:
    small, large = scene(), picture(120, 130, seed=9)
    together = found_in(detector(margin_threshold=-4.0), small, large)
    for one, image in zip(together, (small, large), strict=True):
        [alone] = found_in(detector(margin_threshold=-4.0), image)
        torch.testing.assert_close(one.boxes, alone.boxes)
        torch.testing.assert_close(one.margins, alone.margins)


def test_threshold_suppression_and_limit() -> None:
    every = found_in(detector(margin_threshold=-4.0, nms_iou=1.0, detections_per_image=9999), scene())[0]
    assert every.margins is not None
    assert -4 <= every.margins.min() < -0.5
    some = found_in(detector(margin_threshold=-0.5, nms_iou=1.0, detections_per_image=9999), scene())[0]
    assert len(some) == int((every.margins >= -0.5).sum()) < len(every)
    apart = found_in(detector(margin_threshold=-4.0, nms_iou=0.1), scene())[0]
    assert len(apart) < len(every)
    assert len(found_in(detector(margin_threshold=-4.0, detections_per_image=2), scene())[0]) == 2


def test_rectangles_are_grouped_before_they_are_cut_at_the_image() -> None:
    alone = found_in(detector(margin_threshold=-4.0, grouping="rectangles", more_than=0), scene())[0]
    groups = found_in(detector(margin_threshold=-4.0, grouping="rectangles", more_than=2), scene())[0]
    assert 0 < len(groups) < len(alone)
    assert groups.margins is not None
    assert groups.margins.tolist() == sorted(groups.margins.tolist(), reverse=True)


def test_mean_shift_joins_windows_that_lie_together() -> None:
    few = {"bias": -6.0, "margin_threshold": 0.0}
    [every] = found_in(detector(nms_iou=1.0, **few), scene())
    [shifted] = found_in(detector(grouping="mean_shift", **few), scene())
    assert 0 < len(shifted) < len(every)
    np.testing.assert_allclose(shifted.boxes[0], [16, 24, 40, 64], atol=8)
    assert shifted.margins.tolist() == sorted(shifted.margins.tolist(), reverse=True)
    highest = 1.001 * float(shifted.margins.max())
    assert not len(found_in(detector(grouping="mean_shift", density_above=highest, **few), scene())[0])


def test_each_class_has_a_window_of_its_own() -> None:
    model = HOGSVM(2, windows=[(HEIGHT, WIDTH), (24, 48)], context_px=0)
    model.template(0).fill(template_of(scene(), *AT, WIDTH, HEIGHT), torch.tensor([-7.5]))
    model.template(1).fill(template_of(scene(), 24, 8, 48, 24), torch.tensor([-9.5]))
    [found] = found_in(model, scene())
    first = {label: found.boxes[found.labels == label][0].tolist() for label in (0, 1)}
    assert first == {0: [16, 24, 40, 64], 1: [24, 8, 72, 32]}
    assert model.window(1) == (24, 48)


def test_weights_of_a_file_bring_the_window_with_them() -> None:
    model, other = HOGSVM(1), detector()
    assert model.window(0) == (16, 16)
    model.load_state_dict(other.state_dict())
    assert model.window(0) == (HEIGHT, WIDTH)
    with pytest.raises(RuntimeError, match="size mismatch"):
        HOGSVM(1, hog=HOG(bins=4)).load_state_dict(other.state_dict())


def test_a_class_without_a_plane_is_never_found() -> None:
    assert len(found_in(HOGSVM(1), scene())[0]) == 0
    assert Template((36, 1, 1)).bias.item() == -20


def test_a_window_larger_than_the_image_finds_nothing() -> None:
    [found] = found_in(detector(), picture(20, 20))
    assert len(found) == 0
    assert found.margins is not None


def test_refuses_normalised_pixels_and_training_by_gradient() -> None:
    batch = batch_of(scene())
    with pytest.raises(UserError, match="uint8"):
        detector().detect(ImageBatch(batch.pixels.float(), batch.sizes, batch.originals))


def test_margins_of_objects_and_of_all_other_windows() -> None:
    model = detector()
    x, y = AT
    boxes = torch.tensor([[x, y, x + WIDTH, y + HEIGHT], [0, 0, WIDTH, HEIGHT], [8, 8, 32, 48]]).float()
    no = torch.zeros(3, dtype=torch.bool)
    target = Target(boxes, torch.zeros(3, dtype=torch.int64), torch.tensor([False, False, True]), no)
    nothing = Target(boxes[:0], torch.zeros(0, dtype=torch.int64), no[:0], no[:0])
    margins, labels = model.object_margins(scene(), target)
    assert labels.tolist() == [0, 0]  # without the difficult one
    [found] = found_in(model, scene())
    assert margins[0] == pytest.approx(float(found.margins[0]), abs=1e-4)

    [every] = model.background_margins(scene(), nothing)
    boxes, all_margins, _ = model.windows(model.levels(scene()), scene().shape[:2], 0, -np.inf)
    assert sorted(every.tolist()) == sorted(all_margins.tolist())
    [background] = model.background_margins(scene(), target)
    far = (pairwise_iou(torch.from_numpy(boxes).float(), target.boxes) < 0.3).all(dim=1).numpy()
    assert 0 < len(background) < len(every)
    assert sorted(background.tolist()) == sorted(all_margins[far].tolist())
