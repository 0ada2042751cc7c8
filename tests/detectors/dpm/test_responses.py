import numpy as np
import pytest
import torch

from detkit.detectors.dpm.responses import respond
from detkit.models.hog.feature_pyramid import Level
from tests.reference.star_models import padded


@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param([(1, 3, 4), (2, 5, 2), (1, 3, 4), (3, 1, 1)], id="few of many sizes"),
        pytest.param([(16, 2, 3), (5, 2, 3), (2, 4, 1)], id="many of one size"),
    ],
)
def test_responses_are_sums_of_products_wherever_a_filter_touches_the_image(shapes):
    chance = np.random.default_rng(0)
    features = chance.random((6, 7, 32)).astype(np.float32)
    features[..., -1] = 0
    filters = [chance.normal(size=(*shape, 32)).astype(np.float32) for shape in shapes]
    with torch.inference_mode():
        found = respond(filters, Level(0, 0, 8.0, features))
    for stack, own in zip(filters, found, strict=True):
        _, rows, columns, _ = stack.shape
        around = padded(features, rows - 2, columns - 2)
        windows = np.lib.stride_tricks.sliding_window_view(around, (rows, columns), axis=(0, 1))
        expected = np.einsum("yxcij,fijc->fyx", windows.astype(float), stack)
        assert own.size == (rows, columns)
        np.testing.assert_allclose(own.values, expected, atol=1e-5)
        np.testing.assert_allclose(own.outside, stack[..., -1].sum((1, 2)), atol=1e-5)
