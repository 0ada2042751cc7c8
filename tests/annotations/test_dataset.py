from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.annotations.assembly import Assembly
from detkit.annotations.dataset import AnnotationSet, join_sets


def part(root: str, **images: int) -> AnnotationSet:
    """Images with so many objects each, whose boxes tell where they belong."""
    assembly = Assembly("coco")
    for name, count in images.items():
        assembly.add_image(f"{name}.jpg", (10, 20), f"{root}.json")
        for i in range(count):
            assembly.add_object("thing", (i, ord(name), 1, 1))
    return assembly.build(root, ("thing",), [0] * len(assembly.names()), [1])


def test_parts_become_one() -> None:
    joined = join_sets([part("/data/train", a=2, b=0), part("/data/val", a=1, c=3)], Path("/data"))
    assert joined.root == "/data"
    assert joined.image_files.tolist() == ["train/a.jpg", "train/b.jpg", "val/a.jpg", "val/c.jpg"]
    assert joined.offsets.tolist() == [0, 2, 2, 3, 6]
    assert joined.boxes[:, 1].tolist() == [ord(c) for c in "aaaccc"]
    assert joined.sources.tolist() == ["/data/train.json"] * 2 + ["/data/val.json"] * 2
    assert joined.num_objects == len(joined.areas) == len(joined.ids) == 6


def test_an_image_of_several_parts_is_there_once() -> None:
    joined = join_sets([part("/data/all", a=2, b=1), part("/data/all", b=5, c=1)], Path("/data/all"))
    assert joined.image_files.tolist() == ["a.jpg", "b.jpg", "c.jpg"]
    assert np.diff(joined.offsets).tolist() == [2, 1, 1]


@pytest.mark.parametrize("counts", [{}, {"a": 0}])
def test_nothing_to_join(counts: dict[str, int]) -> None:
    joined = join_sets([part("/data", **counts)], Path("/data"))
    assert (joined.num_images, joined.num_objects) == (len(counts), 0)
