from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.proposals.edge_boxes.edge_map import EdgeMap

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
