"""Features on the disk are those that the network gives, whatever of them is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detkit.data.regions.training_regions import TrainingRegions
from detkit.errors import UserError
from detkit.ops.boxes import pairwise_iou
from detkit.training.staged import feature_store
from detkit.training.staged.feature_store import CachedVectors, lengths
from tests.training.staged.some_regions import NUM_IMAGES, made_regions

WIDTHS = {"pool5": 4, "fc6": 3, "fc7": 2}
AT_ONCE = 20


@dataclass
class Reader:
    """A network whose features are random numbers of the image; it notes which images it reads."""

    regions: TrainingRegions
    layer: str
    read: list[int] = field(default_factory=list)

    @property
    def model(self) -> Any:
        return SimpleNamespace(layer=self.layer, widths=WIDTHS)

    def of(self, image: int, layer: str) -> NDArray[np.float32]:
        chance = np.random.default_rng([image, WIDTHS[layer]])
        return chance.random((len(self.regions.boxes(image)), WIDTHS[layer])).astype(np.float32)

    def __call__(self, image: int, rows: Any = None) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        self.read.append(image)
        chosen = np.arange(len(self.regions.boxes(image))) if rows is None else rows
        pool5, vectors = self.of(image, "pool5")[chosen], self.of(image, self.layer)[chosen]
        for start in range(0, len(chosen), AT_ONCE):
            yield pool5[start : start + AT_ONCE], vectors[start : start + AT_ONCE]

    def pool5_norms(self, image: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return lengths(self.of(image, "pool5")[rows])


def examples_of(regions: TrainingRegions, image: int, min_iou: float) -> NDArray[np.int64]:
    best = pairwise_iou(regions.boxes(image), regions.objects(image).boxes).amax(dim=1).numpy()
    return np.flatnonzero(best > min_iou)


def filled(folder: Path, layer: str, **how: Any) -> tuple[CachedVectors, Reader]:
    reader = Reader(made_regions(), layer)
    made = CachedVectors(folder, reader, "fp32", **how)  # type: ignore[arg-type]
    made.fill()
    return made, reader


@pytest.mark.parametrize("layer", ["fc7", "pool5"])
@pytest.mark.parametrize("for_svms", [True, False])
def test_what_is_kept_is_what_the_network_gives(tmp_path: Path, layer: str, for_svms: bool) -> None:
    made, reader = filled(tmp_path, layer, min_iou=0.6, for_svms=for_svms)
    assert reader.read == list(range(NUM_IMAGES))
    for image in range(NUM_IMAGES):
        examples = examples_of(reader.regions, image, 0.6)
        assert 3 < len(examples) < len(reader.regions.boxes(image))
        np.testing.assert_array_equal(made.examples[image], examples)
        some = examples[[2, 0]]
        np.testing.assert_array_equal(made.pool5(image, some), reader.of(image, "pool5")[some])
        any_rows = np.array([40, 0, 7])
        np.testing.assert_allclose(
            made.pool5_norms(image, any_rows), reader.pool5_norms(image, any_rows), rtol=1e-6
        )
        if for_svms:
            np.testing.assert_array_equal(made.decision(image), reader.of(image, layer))
            np.testing.assert_array_equal(made.decision(image, any_rows), reader.of(image, layer)[any_rows])
    files = {"done.npy"}
    if for_svms:
        files |= (
            {"pool5.npy"} if layer == "pool5" else {"fc7.npy", "pool5_of_examples.npy", "pool5_norms.npy"}
        )
    else:
        files |= {"pool5_of_examples.npy"}
    assert {file.name for file in tmp_path.iterdir()} == files


def test_without_box_regression_only_what_svms_see_is_kept(tmp_path: Path) -> None:
    made, reader = filled(tmp_path, "fc7", min_iou=None, for_svms=True)
    assert {file.name for file in tmp_path.iterdir()} == {"done.npy", "fc7.npy"}
    np.testing.assert_array_equal(made.decision(4), reader.of(4, "fc7"))
    assert made.examples == []


def test_images_that_are_done_are_not_read_again(tmp_path: Path) -> None:
    filled(tmp_path, "fc7", min_iou=0.6, for_svms=True)
    _, reader = filled(tmp_path, "fc7", min_iou=0.6, for_svms=True)
    assert reader.read == []
    done = np.load(tmp_path / "done.npy")
    done[[1, 3]] = 0
    np.save(tmp_path / "done.npy", done)
    _, reader = filled(tmp_path, "fc7", min_iou=0.6, for_svms=True)
    assert reader.read == [1, 3]
    assert np.load(tmp_path / "done.npy").all()


def test_an_image_is_done_only_when_its_features_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_store, "_IMAGES_A_FLUSH", 2)
    reader = Reader(made_regions(), "fc7")
    made = CachedVectors(tmp_path, reader, "fp32", min_iou=None, for_svms=True)  # type: ignore[arg-type]
    fill = made._fill_image

    def stopped(image: int) -> None:
        if image == 3:
            raise KeyboardInterrupt
        fill(image)

    monkeypatch.setattr(made, "_fill_image", stopped)
    with pytest.raises(KeyboardInterrupt):
        made.fill()
    assert np.load(tmp_path / "done.npy").tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize(("free", "fits"), [(0, True), (-1, False)])
def test_their_size_is_said_and_must_fit_on_the_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    free: int,
    fits: bool,
) -> None:
    reader = Reader(made_regions(), "fc7")
    made = CachedVectors(tmp_path, reader, "fp16", min_iou=0.6, for_svms=True)  # type: ignore[arg-type]
    num_regions = sum(len(reader.regions.boxes(image)) for image in range(NUM_IMAGES))
    num_examples = sum(len(examples_of(reader.regions, image, 0.6)) for image in range(NUM_IMAGES))
    size = num_regions * 2 * 2 + num_examples * 4 * 2 + num_regions * 4
    assert made.num_bytes == size
    usage = SimpleNamespace(free=size + free)
    monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(feature_store, "shown_bytes", lambda count: f"{count} B")
    if fits:
        made.fill()
    else:
        with pytest.raises(UserError) as told:
            made.fill()
        assert str(told.value) == (
            f"train.cache: the features of all regions take {size} B and {tmp_path} has {size - 1} B; "
            "train.cache=none computes them when needed, fp16 takes half of fp32, and --out names "
            "another disk"
        )
        assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == (
        f"features take {size} B (fc7 {num_regions} x 2 fp16: {num_regions * 4} B, "
        f"pool5_of_examples {num_examples} x 4 fp16: {num_examples * 8} B, "
        f"pool5_norms {num_regions} x 1 fp32: {num_regions * 4} B); {size + free} B are free\n"
    )
