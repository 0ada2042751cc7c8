"""Image files to training batches on one core: detkit's loader and torchvision's reference pipeline.

Both decode the same JPEG files to the same pixels (libjpeg-turbo, through OpenCV and through Pillow),
mirror every image, resize by the same rule (short side 600, long side at most 1000) and pad batches of
two. torchvision's way is that of its detection references: `v2` transforms on Pillow images, then
`GeneralizedRCNNTransform`, which normalises and interpolates floats. detkit hands uint8 batches to the
device, which normalises them; the second claim adds that step on the CPU, so that both sides end with
the same floats.

    python benchmarks/input_pipeline.py [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from measuring.turns import Claim, claim_of, deliver, in_turns
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import v2

from detkit.annotations.assembly import Assembly
from detkit.annotations.dataset import AnnotationSet
from detkit.data.config import DataConfig
from detkit.data.datasets.config import SyntheticDatasetConfig
from detkit.data.datasets.index import Index
from detkit.data.datasets.source import file_source
from detkit.data.loading.loaders import TrainLoader
from detkit.data.loading.samples import DetectionDataset
from detkit.data.transforms.geometric import Flip
from detkit.data.transforms.resize import Resize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NUM_IMAGES, ROUNDS = 16, 11
DATA = DataConfig(classes=("thing",), train=SyntheticDatasetConfig())  # only for the order of images


def write_photos(folder: Path) -> AnnotationSet:
    """Write 500x375 cut-outs of two photographs, with three boxes each."""
    rng = np.random.default_rng(0)
    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    assembly = Assembly("voc")
    for number in range(NUM_IMAGES):
        y, x = rng.integers(0, 50), rng.integers(0, 140)
        cut = photos[number % 2][y : y + 375, x : x + 500]
        Image.fromarray(cut).save(folder / f"{number:02d}.jpg", quality=90)
        assembly.add_image(f"{number:02d}.jpg", (375, 500), "drawn")
        for left, top in rng.integers(1, 200, (3, 2)).tolist():
            assembly.add_object("thing", (left, top, left + 99, top + 59))
    return assembly.build(str(folder), ("thing",), [0] * (3 * NUM_IMAGES), (1,))


def ours(annotations: AnnotationSet) -> Callable[[], Iterator[tuple[Tensor, list[Tensor]]]]:
    source = file_source(annotations)
    dataset = DetectionDataset(
        Index.of(annotations), source.pixels, [Flip(1.0, "horizontal"), Resize((600,), 1000)], seed=0
    )
    loader = TrainLoader(DATA, dataset, batch_size=2, seed=0, workers=0, pin_memory=False)

    def run() -> Iterator[tuple[Tensor, list[Tensor]]]:
        for batch in loader.epoch(0):
            yield batch.images.pixels, [target.boxes for target in batch.targets]

    return run


def normalised(pixels: Tensor) -> Tensor:
    """Return (B, 3, H, W) floats; whole rows at once, since a loop over 3 channels cannot be vectorised."""
    batch, _, height, width = pixels.shape
    rows = pixels.permute(0, 2, 3, 1).reshape(batch, height, width * 3).float()
    scale = 1 / (255 * torch.tensor(STD))
    offset = -torch.tensor(MEAN) / torch.tensor(STD)
    rows.mul_(scale.repeat(width)).add_(offset.repeat(width))
    return rows.reshape(batch, height, width, 3).permute(0, 3, 1, 2)


class ReferenceDataset(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """What torchvision's detection references do for each image before the model."""

    def __init__(self, annotations: AnnotationSet) -> None:
        self.index = Index.of(annotations)
        self.transforms = v2.Compose(
            [
                v2.RandomHorizontalFlip(p=1.0),
                v2.PILToTensor(),
                v2.ToDtype(torch.float, scale=True),
                v2.SanitizeBoundingBoxes(),
                v2.ToPureTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, image: int) -> tuple[Tensor, dict[str, Tensor]]:
        picture = Image.open(self.index.path(image)).convert("RGB")
        target = self.index.target(image)
        boxes = tv_tensors.BoundingBoxes(target.boxes, format="XYXY", canvas_size=picture.size[::-1])
        result: tuple[Tensor, dict[str, Tensor]] = self.transforms(
            picture, {"boxes": boxes, "labels": target.labels}
        )
        return result


def reference(
    annotations: AnnotationSet, batches: list[list[int]]
) -> Callable[[], Iterator[tuple[Tensor, list[Tensor]]]]:
    loader = DataLoader(
        ReferenceDataset(annotations),
        batch_sampler=batches,
        collate_fn=lambda items: tuple(zip(*items, strict=True)),
    )
    prepare = GeneralizedRCNNTransform(600, 1000, list(MEAN), list(STD), size_divisible=1)

    def run() -> Iterator[tuple[Tensor, list[Tensor]]]:
        for images, targets in loader:
            packed, moved = prepare(list(images), list(targets))
            yield packed.tensors, [target["boxes"] for target in moved]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(write_photos(Path(folder)))
    deliver(rows, arguments.json)


def measure(annotations: AnnotationSet) -> list[Claim]:
    load = ours(annotations)
    order = load_order(annotations)
    peer = reference(annotations, order)
    same = all(
        mine.shape == theirs.shape
        and float((normalised(mine) - theirs).abs().mean()) < 0.5 / 255 / min(STD)
        and all(torch.allclose(a, b, atol=1e-2) for a, b in zip(boxes, other, strict=True))
        for (mine, boxes), (theirs, other) in zip(load(), peer(), strict=True)
    )
    # Processor seconds: everything runs in this one thread, and the machine may be shared.
    taken = in_turns(
        {
            "uint8": lambda: [pixels.shape for pixels, _ in load()],
            "peer": lambda: [pixels.shape for pixels, _ in peer()],
            "float": lambda: [normalised(pixels).shape for pixels, _ in load()],
        },
        ROUNDS,
        time.process_time,
    )
    each = {name: [value / NUM_IMAGES for value in values] for name, values in taken.items()}
    claims = {
        "uint8": "input pipeline, one core: file to uint8 batch (normalised on the device), an image",
        "float": "input pipeline, one core: file to normalised float batch, an image",
    }
    their_name = "torchvision detection reference + GeneralizedRCNNTransform"
    return [
        claim_of(claim, each[name], their_name, each["peer"], same_answer=same)
        for name, claim in claims.items()
    ]


def load_order(annotations: AnnotationSet) -> list[list[int]]:
    """Return the images of our batches, so that the peer reads the same ones together."""
    dataset = DetectionDataset(Index.of(annotations), file_source(annotations).pixels, [], seed=0)
    loader = TrainLoader(DATA, dataset, batch_size=2, seed=0, workers=0, pin_memory=False)
    return [[target.image for target in batch.targets] for batch in loader.epoch(0)]


if __name__ == "__main__":
    main()
