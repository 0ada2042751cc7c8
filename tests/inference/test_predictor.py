from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detkit.data.transforms.resize import keep_size
from detkit.errors import UserError
from detkit.inference.predictor import Predictor, _in_turn
from detkit.inference.rpn_proposer import RPNProposer
from detkit.runtime.session import Session
from detkit.structures import Detections, ImageBatch
from tests.inference.bright import BrightDetector, picture, predictor


def test_boxes_come_back_in_the_pixels_of_the_image_whatever_its_size() -> None:
    pixels = picture(80, 120, (20, 10, 60, 40, 0, 200), (4, 40, 16, 80, 2, 255))
    found = predictor().predict(pixels)
    assert found.source is None
    assert found.size == (80, 120)
    assert found.names == ("blue", "red")
    np.testing.assert_allclose(found.boxes, [[4, 40, 16, 80], [20, 10, 60, 40]], atol=1)
    np.testing.assert_allclose(found.scores, [1.0, 200 / 255], atol=1e-6)


def test_the_threshold_is_the_lowest_score_that_is_kept() -> None:
    pixels = picture(40, 40, (0, 0, 9, 9, 0, 200), (10, 10, 30, 30, 1, 150))
    assert predictor().predict(pixels, threshold=0.6).names == ("red",)
    assert predictor().predict(pixels).names == ("red", "green")
    nothing = predictor().predict(pixels, threshold=0.9)
    assert nothing.boxes.shape == (0, 4)
    assert len(nothing) == 0


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("tile_px", [None, 32])
def test_a_stream_keeps_order_and_results_whatever_the_batch_and_threads(
    threads: int, batch_size: int, tile_px: int | None
) -> None:
    pixels = [picture(40 + i, 60, (i, 5, i + 12, 20, i % 3, 200)) for i in range(7)]
    alone = [predictor().predict(one, tile_px=tile_px) for one in pixels]
    together = list(
        predictor().stream(
            iter(pixels), threshold=0.5, tile_px=tile_px, batch_size=batch_size, threads=threads
        )
    )
    assert [found.size for found in together] == [one.shape[:2] for one in pixels]
    for found, expected in zip(together, alone, strict=True):
        assert found.names == expected.names
        np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_batches_are_full_and_padded() -> None:
    own = predictor()
    model = own.model
    assert isinstance(model, BrightDetector)
    pixels = [picture(40, 60), picture(60, 40), picture(40, 40)]
    list(own.stream(pixels, threshold=0.5, tile_px=None, batch_size=2, threads=0))
    assert model.batches == [(2, 3, 60, 60), (1, 3, 40, 40)]


@pytest.mark.parametrize("threads", [0, 2])
def test_a_stream_reads_only_a_little_ahead(threads: int) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield picture(40, 40)

    stream = predictor().stream(endless(), threshold=0.5, tile_px=None, batch_size=2, threads=threads)
    for _ in range(10):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert taken <= 10 + 2 * 2 + threads + 1


def test_a_stream_needs_nothing_but_images(tmp_path: Path) -> None:
    Image.fromarray(picture(40, 40, (0, 0, 20, 10, 1, 255))).save(tmp_path / "a.png")
    assert [found.names for found in predictor().stream([str(tmp_path / "a.png")])] == [("green",)]
    assert [found.names for found in predictor().stream(tmp_path, threshold=1.0)] == [("green",)]


def test_a_stream_reads_ahead_unless_it_is_told_not_to() -> None:
    for threads, ahead in ((None, True), (0, False)):
        images = iter([picture(40, 40)] * 3)
        next(predictor().stream(images, threads=threads))
        assert (len(list(images)) < 2) == ahead


@pytest.mark.parametrize(("device", "batch"), [("cpu", 1), ("cuda", 8)])
def test_a_gpu_gets_images_in_batches(device: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    own = replace(predictor(), session=Session(torch.device(device)))
    monkeypatch.setattr(ImageBatch, "to", lambda images, device: images)
    own.predict([picture(40, 40)] * 8)
    assert isinstance(own.model, BrightDetector)
    assert own.model.batches[0][0] == batch


def test_a_detector_says_in_five_lines_what_it_is() -> None:
    assert str(predictor()).splitlines() == [
        "classes     3: red, green, blue",
        "input       short side 40 px, the long one at most 400",
        "measured    not yet: no metric is in its file",
        "thresholds  0.50 for every class",
        "licence     unknown",
    ]
    scores = (0.25, 0.75, None)
    own = replace(
        predictor(),
        classes=("\x1b[31mred", "a\nb", "x" * 10_000),
        resize=keep_size,
        thresholds={"f1": scores, "precision": scores, "recall": scores},
        measured=("voc07", 0.71249),
        licence="Apache-2.0",
    )
    first, *others = str(own).splitlines()
    assert first.startswith("classes     3: \\u001b[31mred, a\\u000ab, xxx")
    assert len(first) < 100
    assert others == [
        "input       images as large as they are",
        "measured    voc07 0.712 on its validation images",
        "thresholds  of best F1 for each class, 0.25 to 0.75",
        "licence     Apache-2.0",
    ]
    assert own.describe_floors("recall") == "of recall 0.9 for each class, 0.25 to 0.75"
    assert own.describe_floors(0.125) == "0.12 for every class"


def test_files_are_turned_as_their_exif_orientation_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    Image.fromarray(picture(40, 80, (0, 0, 20, 10, 1, 255))).save(tmp_path / "a.png", exif=exif)
    found = predictor().predict(tmp_path / "a.png")
    assert found.size == (80, 40)
    assert found.source == str(tmp_path / "a.png")
    np.testing.assert_allclose(found.boxes, [[30, 0, 40, 20]])


def test_no_images_give_no_predictions() -> None:
    assert predictor().predict([]) == []


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"broken\.jpg"):
        predictor().predict([str(tmp_path / "broken.jpg")])
    with pytest.raises(UserError, match=r"\(4, 4\) float64"):
        predictor().predict(np.zeros((4, 4)))
    with pytest.raises(UserError, match="at least 16 pixels"):
        predictor().predict(picture(40, 40), tile_px=8)


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("tile_px", [None, 32])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_file_that_cannot_be_read_comes_with_its_error_in_its_place(
    tmp_path: Path, batch_size: int, tile_px: int | None, threads: int
) -> None:
    pixels = [picture(40, 60, (4, 5, 16 + i, 20, i % 3, 200)) for i in range(4)]
    broken = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    pictures = [broken[0], pixels[0], broken[1], broken[1], pixels[1], pixels[2], pixels[3], broken[0]]
    stream = predictor().stream(
        iter(pictures), threshold=0.5, tile_px=tile_px, batch_size=batch_size, threads=threads, strict=False
    )
    found = list(stream)
    assert [one.source for one in found if one.error is not None] == [broken[0], *broken[1:] * 2, broken[0]]
    assert [one.error is None for one in found] == [isinstance(one, np.ndarray) for one in pictures]
    assert found[0].error == f"{broken[0]}: the image does not exist"
    assert (found[0].size, found[0].boxes.shape, len(found[0])) == ((0, 0), (0, 4), 0)
    whole = predictor().predict(pixels, tile_px=tile_px)
    for one, expected in zip((one for one in found if one.error is None), whole, strict=True):
        np.testing.assert_array_equal(one.boxes, expected.boxes)
    with pytest.raises(UserError, match="uint8 RGB"):  # a mistake of the program that calls
        predictor().predict([np.zeros((4, 4))], strict=False)  # type: ignore[list-item]


def test_bad_files_alone_are_heard_of_at_once() -> None:
    stream = predictor().stream(
        (f"none-{i}.jpg" for i in itertools.count()),
        threshold=0.5,
        tile_px=None,
        batch_size=8,
        threads=0,
        strict=False,
    )
    assert [next(stream).source for _ in range(3)] == ["none-0.jpg", "none-1.jpg", "none-2.jpg"]


def test_tiles_find_what_the_whole_image_at_network_size_is_too_small_for() -> None:
    pixels = picture(400, 400, (203, 301, 206, 304, 0, 200))
    assert len(predictor(short_px=40).predict(pixels)) == 0
    found = predictor(short_px=40).predict(pixels, tile_px=50)
    np.testing.assert_allclose(found.boxes, [[203, 301, 206, 304]], atol=1.3)


def test_an_object_larger_than_a_tile_is_found_once_and_whole() -> None:
    pixels = picture(200, 300, (30, 40, 260, 170, 1, 255))
    own: Predictor = predictor(short_px=200)
    found = own.predict(pixels, tile_px=64)
    np.testing.assert_allclose(found.boxes, [[30, 40, 260, 170]])


class Multiplier(BrightDetector):
    """Notes in which type a product is computed while it detects or proposes."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[torch.dtype] = []

    def detect(self, images: ImageBatch) -> list[Detections]:
        self.types.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return super().detect(images)

    def feature_maps(self, images: ImageBatch) -> list[torch.Tensor]:
        self.types.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return []

    def propose(self, maps: object, sizes: object, limits: object) -> list[torch.Tensor]:
        self.types.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return [torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.bfloat16)]


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_images_are_computed_in_the_precision_of_the_session(precision: torch.dtype | None) -> None:
    model = Multiplier()
    session = Session(torch.device("cpu"), precision)
    own = replace(predictor(), model=model, session=session)
    own.predict(picture(40, 40, (0, 0, 9, 9, 0, 200)))
    proposals = RPNProposer(model, own.resize, session)(picture(40, 40))
    assert model.types == [precision or torch.float32] * 3
    assert proposals.boxes.tolist() == [[1, 2, 3, 4]]
    assert not torch.is_autocast_enabled("cpu")


def test_predictions_of_several_processes_come_in_the_images_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 0 of 3 has images 0, 3, 6, ...; of 70 images the first process has one more than the others."""
    theirs = [iter(range(1, 70, 3)), iter(range(2, 70, 3))]

    def gather(own: list[int], parts: list[list[int]] | None, dst: int) -> None:
        assert parts is not None
        assert dst == 0
        parts[:] = [own, *(list(itertools.islice(other, len(own))) for other in theirs)]

    monkeypatch.setattr("detkit.inference.predictor.dist.gather_object", gather)
    monkeypatch.setattr("detkit.inference.predictor.rank", lambda: 0)
    monkeypatch.setattr("detkit.inference.predictor.world_size", lambda: 3)
    own = (image for image in range(0, 70, 3))
    assert list(_in_turn(own, 24)) == list(range(70))  # type: ignore[comparison-overlap, arg-type]
