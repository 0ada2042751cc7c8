from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.data.datasets.source import file_source
from detkit.errors import UserError
from tests.reference.small_set import small_set


def test_pixels_come_from_the_annotated_files(tmp_path: Path) -> None:
    source = file_source(replace(small_set(((4, 6), (5, 5))), root=str(tmp_path)))
    Image.new("RGB", (6, 4), (1, 2, 3)).save(tmp_path / "image0.jpg", format="PNG")
    assert source.pixels(0).shape == (4, 6, 3)
    assert source.pixels(0)[0, 0].tolist() == [1, 2, 3]
    assert source.pixels(0).dtype == np.uint8
    with pytest.raises(UserError, match=r"image1\.jpg: the image does not exist"):
        source.pixels(1)
