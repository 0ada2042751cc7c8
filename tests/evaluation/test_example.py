from __future__ import annotations

import numpy as np

from detkit.evaluation.example import two_images
from tests.reference.golden import golden_text


def test_the_example_is_the_golden_one() -> None:
    found = "".join(
        f"{name} = {value.dtype} {value.tolist()}\n"
        if isinstance(value, np.ndarray)
        else f"{name} = {value}\n"
        for part in two_images()
        for name, value in vars(part).items()
    )
    assert found == golden_text("evaluation_example.txt", found)
