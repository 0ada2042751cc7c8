from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from detkit.data.datasets.index import Index
from detkit.data.loading.samples import DetectionDataset, Key
from detkit.data.transforms.colour import Noise
from detkit.data.transforms.geometric import Flip
from detkit.data.transforms.resize import Resize
from detkit.errors import UserError
from tests.reference.small_set import FlatPixels, small_set

INDEX = Index.of(small_set())


def test_a_sample_is_the_image_and_its_objects_after_the_transforms() -> None:
    dataset = DetectionDataset(INDEX, FlatPixels(INDEX), [Flip(1.0, "horizontal"), Resize((32,), 99)], 0)
    sample = dataset[Key(3, 1)]
    assert len(dataset) == 7
    assert sample.image.shape == (3, 48, 32)
    assert sample.image.unique().tolist() == [10]
    assert sample.original == (24, 16)
    assert sample.epoch == 3
    assert sample.target.boxes.tolist() == [[16, 2, 32, 18]]
    assert sample.target.image == 1


def test_chance_depends_on_seed_epoch_image_and_copy_only() -> None:
    index = Index.of(small_set(((20, 20),) * 3))

    def noisy(seed: int, key: Key) -> torch.Tensor:
        dataset = DetectionDataset(
            index, lambda _: np.full((20, 20, 3), 99, np.uint8), [Noise(1.0, 50.0)], seed
        )
        return dataset[key].image

    pixels = noisy(0, Key(0, 2))
    assert torch.equal(noisy(0, Key(0, 2)), pixels)
    for seed, key in ((1, Key(0, 2)), (0, Key(1, 2)), (0, Key(0, 1)), (0, Key(0, 2, 1))):
        assert not torch.equal(noisy(seed, key), pixels)


@pytest.mark.parametrize(
    ("annotated", "hint"),
    [((16, 24), "EXIF"), ((99, 16), "correct the annotation or put the right image there")],
)
def test_a_size_that_contradicts_the_annotation_is_refused(annotated: tuple[int, int], hint: str) -> None:
    annotations = small_set()
    sizes = annotations.sizes.copy()
    sizes[1] = annotated
    dataset = DetectionDataset(Index.of(replace(annotations, sizes=sizes)), FlatPixels(INDEX), [], 0)
    with pytest.raises(UserError) as caught:
        dataset[Key(0, 1)]
    message = str(caught.value)
    assert message.startswith("/photos/image1.jpg: ")
    assert "16x24" in message
    assert f"{annotated[1]}x{annotated[0]}" in message
    assert hint in message
    assert len(dataset[Key(0, 2)].target) == 2


def test_an_unknown_size_is_not_checked() -> None:
    annotations = small_set()
    index = Index.of(replace(annotations, sizes=np.zeros_like(annotations.sizes)))
    assert DetectionDataset(index, FlatPixels(INDEX), [], 0)[Key(0, 1)].original == (24, 16)
