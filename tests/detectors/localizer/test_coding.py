from __future__ import annotations

import pytest
import torch

from detkit.detectors.localizer.coding import decode_boxes, decode_points, encode_boxes, encode_points


def test_codes_are_centre_and_sides_in_sides_of_the_image() -> None:
    for size, (x1, y1, x2, y2) in (((50, 80), (8.0, 10.0, 40.0, 20.0)), ((33, 7), (0.0, 3.0, 7.0, 30.0))):
        height, width = size
        wanted = [
            ((x1 + x2) / 2 - width / 2) / width,
            ((y1 + y2) / 2 - height / 2) / height,
            (x2 - x1) / width,
            (y2 - y1) / height,
        ]
        codes = encode_boxes(torch.tensor([[x1, y1, x2, y2]]), [size])
        assert codes[0].tolist() == pytest.approx(wanted)
        assert decode_boxes(codes, size)[0].tolist() == pytest.approx([x1, y1, x2, y2], abs=1e-4)


def test_each_box_is_coded_by_its_own_image() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    both = encode_boxes(boxes, [(10, 20), (40, 10)])
    assert both[:, 2:].tolist() == [[0.5, 1.0], [1.0, 0.25]]


def test_boxes_end_where_the_image_does_and_are_never_inside_out() -> None:
    codes = torch.tensor([[0.4, 0.0, 0.6, 0.5], [0.0, 0.0, -0.2, 0.5]])
    far, thin = decode_boxes(codes, (100, 200)).tolist()
    assert far == pytest.approx([120, 25, 200, 75])
    assert thin == pytest.approx([100, 25, 100, 75])


def test_no_boxes() -> None:
    assert encode_boxes(torch.zeros(0, 4), []).shape == (0, 4)
    assert decode_boxes(torch.zeros(0, 4), (5, 5)).shape == (0, 4)


def test_points_are_ways_from_the_middle_in_sides_of_their_image() -> None:
    points = torch.tensor([[[0.0, 0.0], [30.0, 5.0]], [[10.0, 10.0], [-5.0, 25.0]]])
    sizes = [(20, 40), (10, 20)]
    wanted = [
        [[(x - width / 2) / width, (y - height / 2) / height] for x, y in own.tolist()]
        for own, (height, width) in zip(points, sizes, strict=True)
    ]
    codes = encode_points(points, sizes)
    torch.testing.assert_close(codes, torch.tensor(wanted))
    torch.testing.assert_close(decode_points(codes, sizes), points)
