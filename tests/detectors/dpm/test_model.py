import numpy as np
import pytest
import torch

from detkit.detectors.builder import build_detector
from detkit.detectors.dpm.config import DPMConfig
from detkit.detectors.dpm.model import DPM
from detkit.errors import UserError
from detkit.models.hog.feature_pyramid import FeaturePyramid
from detkit.structures import ImageBatch
from tests.detectors.dpm.small_models import picture, random_mixture


def _model(*seeds, **flags):
    mixtures = [random_mixture(seed, [(3, 4), (4, 3)], 2, **flags) for seed in seeds]
    for mixture in mixtures:
        mixture.threshold.fill_(2.0)
    return DPM(mixtures, pyramid=FeaturePyramid(interval=2))


def _objects(found, predictions, size, share):
    """Clip, predict from inclusive pixels, clip, and drop what a better one covers: row by row."""
    rows = []
    for component in sorted(set(found.components.tolist())):
        for place in np.flatnonzero(found.components == component):
            x1, y1, x2, y2 = found.filters[place, 0]
            x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, size[1]), min(y2, size[0])
            if x2 <= x1 or y2 <= y1:
                continue
            width, height = x2 - x1 - 1, y2 - y1 - 1
            inputs = []
            for a, b, c, d in found.filters[place]:
                inputs += [((a + c) / 2 - (x1 + x2) / 2) / width, ((b + d) / 2 - (y1 + y2) / 2) / height]
            moved = predictions[component] @ [*inputs, 1]
            box = np.array([x1, y1, x2, y2]) + moved * [width, height, width, height]
            box[:2], box[2:] = np.maximum(box[:2], 0), np.minimum(box[2:], size[::-1])
            if (box[2:] > box[:2]).all():
                rows.append((found.scores[place], place, box))
    rows.sort(key=lambda row: -row[0])
    kept = []
    for row in rows:
        (x1, y1, x2, y2), covered = row[2], False
        for _, _, (a, b, c, d) in kept:
            shared = max(min(x2, c) - max(x1, a), 0) * max(min(y2, d) - max(y1, b), 0)
            covered |= shared / ((x2 - x1) * (y2 - y1)) > share
        if not covered:
            kept.append(row)
    return kept


def test_objects_are_predicted_clipped_and_dropped_as_release_5_does():
    model, image = _model(1), picture(52, 70)
    [found] = model.placements(image)
    predictions = [component.box for component in model.mixtures[0].components()]
    boxes, kept = model.objects(0, found, (52, 70))
    expected = _objects(found, predictions, (52, 70), 0.5)
    assert 3 < len(expected) < len(found)
    assert kept.tolist() == [place for _, place, _ in expected]
    np.testing.assert_allclose(boxes, [box for _, _, box in expected], atol=1e-9)


def test_detections_of_all_classes_are_in_pixels_of_the_file_best_first():
    model, image = _model(1, 2, predicts_box=False), picture(52, 70)
    pixels = torch.zeros((1, 3, 60, 80), dtype=torch.uint8)
    pixels[0, :, :52, :70] = torch.from_numpy(image).permute(2, 0, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        [found] = model.detect(ImageBatch(pixels, ((52, 70),), ((104, 140),)))
    assert (found.scores.diff() <= 0).all()
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    for label, own in enumerate(model.placements(image)):
        boxes, kept = model.objects(label, own, (52, 70))
        mine = found.labels == label
        assert 0 < mine.sum() == len(kept)
        np.testing.assert_allclose(found.boxes[mine], 2 * boxes, rtol=1e-6)
        np.testing.assert_allclose(found.parts[mine], 2 * own.filters[kept, 1:], rtol=1e-6)
        np.testing.assert_allclose(found.margins[mine], own.scores[kept], rtol=1e-6)
        np.testing.assert_allclose(found.scores[mine], 1 / (1 + np.exp(-own.scores[kept])), rtol=1e-6)


def test_nothing_is_found_in_an_image_without_anything():
    model = _model(1)
    model.mixtures[0].threshold.fill_(1e9)
    [found] = model.detect(
        ImageBatch(torch.zeros((1, 3, 30, 30), dtype=torch.uint8), ((30, 30),), ((30, 30),))
    )
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_the_model_of_a_config_has_its_shapes_and_keeps_its_weights():
    config = DPMConfig(
        roots=(((3, 4), (4, 3)), ((5, 2),)), parts=2, part_size=(3, 3), interval=3, extra_octave=True
    )
    built = build_detector(config, 2)
    assert built.pyramid == FeaturePyramid(8, 3, True)
    source = DPM(
        [random_mixture(0, [(3, 4), (4, 3)], 2), random_mixture(1, [(5, 2)], 2)], pyramid=built.pyramid
    )
    built.load_state_dict(source.state_dict())
    for one, other in zip(source.placements(picture(40, 50)), built.placements(picture(40, 50)), strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


def test_a_config_for_other_classes_is_refused():
    with pytest.raises(UserError, match=r"detector.roots must have a list for each of 3 classes, and has 1"):
        build_detector(DPMConfig(roots=(((3, 4),),)), 3)
