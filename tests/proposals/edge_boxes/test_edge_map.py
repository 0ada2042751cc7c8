from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from detkit.errors import UserError
from detkit.proposals.edge_boxes.edge_map import EdgeMap, GradientEdges, orientation_of
from tests.reference.golden import golden_array

ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("magnitude", "orientation", "message"),
    [
        (
            np.ones((2, 3, 1), np.float32), None,
            "an edge map's magnitude must be (H, W), floating in [0, 1] or unsigned integers; this is "
            "(2, 3, 1) float32",
        ),
        (
            np.ones((2, 3), np.int32), None,
            "an edge map's magnitude must be (H, W), floating in [0, 1] or unsigned integers; this is (2, 3) "
            "int32",
        ),
        *(
            (
                ONES * value, None,
                "an edge map's magnitude must be finite and in [0, 1]; divide it by its maximum",
            )
            for value in (np.nan, -0.5, 1.5)
        ),
        (
            ONES, np.ones((3, 2), np.float32),
            "an edge map's orientation must be floating and (2, 3) like its magnitude; this is (3, 2) "
            "float32",
        ),
        (
            ONES, np.ones((2, 3), np.int64),
            "an edge map's orientation must be floating and (2, 3) like its magnitude; this is (2, 3) int64",
        ),
        (ONES, ONES * np.inf, "an edge map's orientation must be finite, in radians"),
    ],
)  # fmt: skip
def test_what_is_no_edge_map_is_told(
    magnitude: NDArray[np.generic], orientation: NDArray[np.generic] | None, message: str
) -> None:
    with pytest.raises(UserError) as told:
        EdgeMap.checked(magnitude, orientation)
    assert str(told.value) == message


@pytest.mark.parametrize(("kind", "greatest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_the_greatest_of_unsigned_integers_is_one(kind: type[np.generic], greatest: int) -> None:
    plane = np.array([[0, greatest], [greatest // 5, 0]]).astype(kind)
    np.testing.assert_allclose(EdgeMap.checked(plane).magnitude, [[0, 1], [0.2, 0]], rtol=1e-6)


def test_an_orientation_is_taken_as_a_half_turn() -> None:
    turns = np.array([[0.5, 0.5 + np.pi, 0.5 - np.pi]] * 2)
    np.testing.assert_allclose(EdgeMap.checked(ONES, turns).orientation, 0.5, rtol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_thinning_against_interpolation_up_to_the_border(seed: int) -> None:
    random = np.random.default_rng(seed)
    plane = cv2.GaussianBlur(random.random((15, 19)), (0, 0), 1.0).astype(np.float32)
    turns = random.uniform(0, np.pi, plane.shape).astype(np.float32)
    y, x = np.mgrid[:15, :19].astype(float)
    beside = [
        ndimage.map_coordinates(
            plane.astype(float), (y + by * np.sin(turns), x + by * np.cos(turns)), order=1, mode="nearest"
        )
        for by in (-2, -1, 1, 2)
    ]
    expected = np.where(plane >= np.max(beside, axis=0), plane, 0)
    assert any((side > 0).any() for side in (expected[0], expected[-1], expected[:, 0], expected[:, -1]))
    np.testing.assert_array_equal(EdgeMap(plane, turns).thinned().magnitude, expected)


def test_contours_of_a_drawn_scene_are_the_golden_ones() -> None:
    scene = np.full((24, 30, 3), (90, 120, 60), np.uint8)
    cv2.circle(scene, (11, 12), 7, (200, 60, 40), -1)
    cv2.rectangle(scene, (20, 4), (29, 15), (30, 60, 180), -1)
    edges = GradientEdges((1.0, 2.0), 4.0, 0.7, 0.9)(scene)
    found = np.stack(
        [edges.magnitude, edges.orientation * (edges.magnitude > 0), orientation_of(edges.magnitude)]
    )
    np.testing.assert_allclose(found, golden_array("edge_map.npy", found), atol=1e-3)
