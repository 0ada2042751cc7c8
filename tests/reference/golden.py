"""Golden files: what a piece of the product gave when somebody looked at it and found it right.

They hold down what has no formula to be computed again by: chosen constants, texts, layouts. A change is seen
in `git diff` after

    DETKIT_WRITE_GOLDEN=1 python -m pytest tests -k golden
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent.parent / "golden"
REWRITES = bool(os.environ.get("DETKIT_WRITE_GOLDEN"))


def golden_text(name: str, found: str) -> str:
    """Return the text of a golden file, to be compared with the one that was found."""
    file = FOLDER / name
    if REWRITES:
        file.write_text(found, encoding="utf-8")
    return file.read_text(encoding="utf-8")


def golden_array(name: str, found: NDArray[Any]) -> NDArray[Any]:
    """Return the array of a golden .npy file, to be compared with the one that was found."""
    if REWRITES:
        np.save(FOLDER / name, found)
    array: NDArray[Any] = np.load(FOLDER / name)
    return array


def golden_picture(name: str, found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the (H, W, 3) RGB picture of a golden .png file, to be compared with the one that was found."""
    file = FOLDER / name
    if REWRITES:
        cv2.imwrite(str(file), cv2.cvtColor(found, cv2.COLOR_RGB2BGR))
    picture: Any = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    return picture  # type: ignore[no-any-return]
