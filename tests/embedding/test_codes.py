from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from detkit.data.datasets.named_images import labelled_images
from detkit.data.near_duplicates import THUMBNAIL_PX
from detkit.data.transforms.resize import Resize
from detkit.embedding.codes import codes_of, cut_out
from detkit.embedding.items import images_of, objects_of
from detkit.inference.predictor import Predictor
from detkit.runtime.session import Session
from detkit.runtime.threads import Threads
from tests.gpu.small_detectors import small


def test_a_crop_is_the_square_around_a_box() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[40:60, 50:90] = 255
    crop = cut_out(pixels, np.array([50.0, 40, 90, 60]), 48)
    assert crop.shape == (48, 48, 3)
    assert (crop[24, 4:44] == 255).all()
    assert (crop[[4, 43], 24] == 0).all()
    assert (crop[24, [0, 47]] == 0).all()


@pytest.mark.parametrize(
    "box", [(-5, -5, 3, 300), (199.5, 99.5, 200, 100), (0, 50, 200, 50.2), (0, 0, 200, 100)]
)
def test_a_crop_at_an_edge_is_filled_up(box: tuple[float, ...]) -> None:
    pixels = np.full((100, 200, 3), 255, np.uint8)
    crop = cut_out(pixels, np.array(box, np.float64), 40)
    assert crop.shape == (40, 40, 3)
    assert set(np.unique(crop)) <= {128, 255}
    assert 255 in crop


def predictor(name: str) -> Predictor:
    return Predictor(
        small(name).eval(),
        ("a", "b", "c"),
        (1, 2, 3),
        Resize((96,)),
        Session(torch.device("cpu"), threads=Threads((1,))),
    )


@pytest.mark.parametrize("name", ["faster_rcnn_resnet18_synthetic", "classifier_resnet18_synthetic"])
def test_rows_are_those_of_the_objects(name: str) -> None:
    source = labelled_images("synthetic", ["val"])
    items = objects_of(source.annotations).sample(12, 0)
    seen: list[tuple[int, int]] = []
    of = predictor(name)
    codes = codes_of(of, source.pixels, items, "decision", 32, lambda done, total: seen.append((done, total)))
    assert len(codes.vectors) == len(codes.crops) == len(codes.thumbnails) == 12
    assert codes.vectors.dtype == np.float32
    assert codes.thumbnails.shape[1:] == (THUMBNAIL_PX, THUMBNAIL_PX)
    assert seen[-1] == (12, 12)
    last = items.of(np.array([11]))
    again = codes_of(of, source.pixels, last, "decision", 32)
    np.testing.assert_allclose(codes.vectors[11], again.vectors[0], rtol=1e-3, atol=1e-5)
    pixels = source.pixels(int(last.images[0]))
    np.testing.assert_array_equal(codes.crops[11], cut_out(pixels, last.boxes[0], 32))


def test_whole_images_are_regions() -> None:
    source = labelled_images("synthetic", ["val"])
    items = images_of(source.annotations).sample(3, 0)
    codes = codes_of(predictor("faster_rcnn_resnet18_synthetic"), source.pixels, items, "backbone", 24)
    assert len(codes.vectors) == 3
    assert np.isfinite(codes.vectors).all()


def test_no_items_have_no_codes() -> None:
    source = labelled_images("synthetic", ["val"])
    items = objects_of(source.annotations).sample(0, 0)
    codes: Any = codes_of(predictor("faster_rcnn_resnet18_synthetic"), source.pixels, items, "decision", 24)
    assert (codes.vectors.shape, len(codes.crops)) == ((0, 0), 0)
