from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from detkit.detectors.hog_svm.model import HOGSVM
from detkit.detectors.hog_svm.pictures import template_picture
from detkit.models.hog.descriptor import HOG, hog_blocks


@pytest.mark.parametrize("hog", [HOG(), HOG(stride_px=4), HOG(signed=True, bins=18), HOG(signed=True)])
@pytest.mark.parametrize("degrees", [0, 30, 75, 110, 160])
def test_a_template_of_an_edge_is_drawn_along_it_where_it_is(hog: HOG, degrees: int) -> None:
    """The HOG of a line is its own template: the brightest stroke lies on the line."""
    pixels, middle = np.zeros((66, 66, 3), np.uint8), (28.0, 36.0)
    along = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    ends = [(np.array(middle) + 1 + sign * 60 * along).round().astype(int).tolist() for sign in (-1, 1)]
    cv2.line(pixels, ends[0], ends[1], (255, 255, 255), 2)
    picture = template_picture(hog_blocks(pixels, hog, -1).transpose(2, 0, 1), hog)
    assert picture.shape == (128, 128, 3)
    y, x = np.nonzero(picture[..., 0] > 150)
    across = (x / 2 - middle[0]) * -along[1] + (y / 2 - middle[1]) * along[0]
    assert np.abs(across).mean() < 5
    spread = np.cov(np.stack([x, y]), aweights=np.ones(len(x)))
    main = np.linalg.eigh(spread)[1][:, -1]
    assert abs(float(main @ along)) > 0.97


def test_each_class_has_a_picture_and_an_unfitted_one_is_black() -> None:
    model = HOGSVM(2, windows=[(64, 32), (32, 48)])
    template = model.template(1)
    template.fill(-torch.ones_like(template.weight), template.bias)
    pictures = model.filter_pictures()
    assert [picture.shape for picture in pictures] == [(128, 64, 3), (64, 96, 3)]
    assert not pictures[0].any()
    assert not pictures[1].any(), "what speaks against an object is not shown"
