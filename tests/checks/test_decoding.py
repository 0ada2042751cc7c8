"""What is seen of an image file, and what is said about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.checks import decoding
from detkit.checks.decoding import DecodedImage, check_images, digest_of, look, look_at
from detkit.checks.sizes import check_sizes, same_shape
from detkit.checks.split_overlap import check_films, check_near_duplicates, check_splits
from detkit.checks.survey import Survey
from tests.checks.small_datasets import draw
from tests.checks.small_surveys import survey_of, told

PIXELS = draw(np.random.default_rng(0), 20, 30)


def saved(file: Path, mode: str = "RGB", **options: object) -> DecodedImage:
    Image.fromarray(PIXELS).convert(mode).save(file, **options)  # type: ignore[arg-type]
    return look(file)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("RGB", ""),
        ("P", ""),
        ("RGBA", "an alpha channel, which is dropped"),
        ("1", "grey, which becomes three equal channels"),
        ("L", "grey, which becomes three equal channels"),
        ("LA", "grey, which becomes three equal channels; an alpha channel, which is dropped"),
        ("I;16", "more than 8 bits a value, which are divided to 8"),
    ],
)
def test_pixels_that_are_not_8_bit_colours_are_told(mode: str, said: str, tmp_path: Path) -> None:
    if mode == "I;16":
        deep = np.asarray(Image.fromarray(PIXELS).convert("L"), dtype=np.uint16) * 257
        Image.fromarray(deep).save(tmp_path / "a.png")
        seen = look(tmp_path / "a.png")
    else:
        seen = saved(tmp_path / "a.png", mode)
    assert (seen.odd_mode, seen.fault, seen.size, seen.orientation) == (said, "", (20, 30), 1)
    assert seen.digest == digest_of((tmp_path / "a.png").read_bytes())
    assert not seen.blank


def test_a_palette_with_transparency_has_an_alpha_channel(tmp_path: Path) -> None:
    assert saved(tmp_path / "a.png", "P", transparency=3).odd_mode == "an alpha channel, which is dropped"


def test_pages_after_the_first_are_told(tmp_path: Path) -> None:
    pages = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1].copy())]
    seen = saved(tmp_path / "a.tiff", save_all=True, append_images=pages)
    assert seen.odd_mode == "3 frames or pages, of which the first is taken"


@pytest.mark.parametrize(
    ("name", "kind", "told_as"),
    [
        ("a.JPG", "JPEG", ""),
        ("a.jfif", "JPEG", ""),
        ("a.png", "JPEG", "JPEG"),
        ("a.jpg", "WEBP", "WEBP"),
        ("a.tif", "TIFF", ""),
        ("a.anything", "PPM", ""),  # no list says what its name should end in
    ],
)
def test_a_name_that_says_another_format_is_told(name: str, kind: str, told_as: str, tmp_path: Path) -> None:
    assert saved(tmp_path / name, format=kind).wrong_suffix == told_as


def test_what_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    assert look(tmp_path / "a.jpg") == DecodedImage("missing_image", "the image does not exist")
    (tmp_path / "b.jpg").write_bytes(b"")
    assert look(tmp_path / "b.jpg") == DecodedImage("empty_file", "the file is empty")
    (tmp_path / "c.jpg").mkdir()
    seen = look(tmp_path / "c.jpg")
    assert seen.fault == "unreadable_image"
    assert str(tmp_path) not in seen.message
    (tmp_path / "d.jpg").write_bytes(b"nothing")
    said = "not an image that can be read (it begins with b'noth')"
    assert look(tmp_path / "d.jpg") == DecodedImage("unreadable_image", said)


def test_a_decoder_may_fail_in_any_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes) -> None:
        raise ZeroDivisionError("by 0")

    monkeypatch.setattr(decoding, "decode_bytes", fail)
    (tmp_path / "a.jpg").write_bytes(b"some")
    said = "the image is damaged (ZeroDivisionError: by 0)"
    assert look(tmp_path / "a.jpg") == DecodedImage("unreadable_image", said)


def test_each_file_is_looked_at_once_and_counted(tmp_path: Path) -> None:
    survey, _ = survey_of([], {"train": [0, 1, 2]})
    survey.groups[0] = replace(survey.groups[0], root=tmp_path)
    (tmp_path / "a").mkdir()
    files = [tmp_path / "a" / "1.png", tmp_path / "a" / "2.png", tmp_path / "a" / "1.png"]
    for file in files:
        Image.fromarray(PIXELS).save(file)
    survey.files[:] = files
    counted: list[int] = []
    seen = look_at(survey, 2, counted.append)
    assert list(seen) == files[:2]
    assert counted == [1, 2]


GOOD = DecodedImage(size=(100, 200), digest=b"1", thumbnail=np.full((32, 32), 7, np.uint8))
GREY = replace(GOOD, odd_mode="grey, which becomes three equal channels")


def images_told(*seen: DecodedImage) -> list[tuple[str, str | None, str]]:
    survey, _ = survey_of([], {"train": list(range(len(seen)))})
    return told(check_images(survey, dict(zip(survey.files, seen, strict=True))))


def test_grey_is_told_where_it_is_not_what_most_are() -> None:
    said = ("image_mode", None, "it has grey, which becomes three equal channels")
    assert images_told(GREY, GOOD) == [said]
    assert images_told(GREY, GOOD, GREY) == []
    deep = replace(GOOD, odd_mode="more than 8 bits a value, which are divided to 8")
    assert images_told(GREY, deep, GREY) == [
        ("image_mode", None, "it has more than 8 bits a value, which are divided to 8")
    ]


def test_what_is_unusual_about_an_image_is_told() -> None:
    assert images_told(
        replace(GOOD, size=(500, 100)),
        replace(GOOD, size=(501, 100)),
        replace(GOOD, size=(100, 501)),
        replace(GOOD, wrong_suffix="PNG", blank=True),
        DecodedImage("missing_image", "the image does not exist"),
        DecodedImage("empty_file", "the file is empty"),
    ) == [
        ("extreme_aspect", None, "the image is 100x501 pixels: cut it, or its objects become tiny"),
        ("extreme_aspect", None, "the image is 501x100 pixels: cut it, or its objects become tiny"),
        ("wrong_extension", None, "the content is PNG, which is read; other tools go by the name"),
        ("blank_image", None, "all pixels have the same colour"),
        ("missing_image", None, "the image does not exist; wanted by 4.txt"),
        ("empty_file", None, "the file is empty"),
    ]


def test_a_file_of_several_entries_is_told_once_and_is_about_all() -> None:
    survey, _ = survey_of([], {"train": [0, 1, 2]})
    survey.files[2] = survey.files[0]
    blank = replace(GOOD, blank=True)
    [finding] = check_images(survey, {survey.files[0]: blank, survey.files[1]: GOOD})
    assert (finding.file, finding.images) == (str(survey.files[0]), (0, 2))


def sizes_told(seen: DecodedImage, *boxes: tuple[float, ...]) -> list[tuple[str, str | None, str]]:
    survey, objects = survey_of([(0, "cat", box) for box in boxes], {"train": [0]})
    return told(check_sizes(survey, {survey.files[0]: seen}, objects))


def test_swapped_sizes_say_whether_the_boxes_fit() -> None:
    said = "the annotation says 200x100 (width x height), the image is 100x200 (width x height)"
    turned = replace(GOOD, size=(200, 100))
    assert sizes_told(turned, (10, 10, 91, 191)) == [
        ("size_swapped", "0.jpg", f"{said}; its boxes fit the image")
    ]
    assert sizes_told(turned, (10, 10, 92, 191)) == [
        ("size_swapped", "0.jpg", f"{said}; its boxes do not fit the image")
    ]
    assert sizes_told(turned, (10, 10, 20, 192), (np.nan, 1, 1, 1)) == [
        ("size_swapped", "0.jpg", f"{said}; its boxes do not fit the image")
    ]
    for orientation, kind in ((4, "size_swapped"), (5, "exif_ignored")):
        assert [found[0] for found in sizes_told(replace(turned, orientation=orientation))] == [kind]


def test_another_size_says_whether_the_shape_is_the_same() -> None:
    said = "the annotation says 200x100 (width x height), the image is"
    assert sizes_told(replace(GOOD, size=(50, 100))) == [
        (
            "size_mismatch",
            "0.jpg",
            f"{said} 100x50 (width x height): the same shape, so the image was resized after it was "
            "labelled, by 0.5",
        )
    ]
    assert sizes_told(replace(GOOD, size=(50, 102))) == [
        ("size_mismatch", "0.jpg", f"{said} 102x50 (width x height): another image, or a wrong size")
    ]
    assert same_shape((100, 200), (1000, 2019))
    assert not same_shape((100, 200), (1000, 2021))
    assert same_shape((100, 200), (1000, 1981))


def duplicates(parts: dict[str, list[int]], *seen: DecodedImage) -> list[tuple[str, str | None, str]]:
    survey, _ = survey_of([], parts)
    decoded = dict(zip(survey.files, seen, strict=True))
    return [
        (f"{finding.kind} {finding.file} {list(finding.images)}", finding.object, finding.message)
        for finding in check_near_duplicates(survey, decoded)
    ]


def shades(level: float) -> np.ndarray:
    """Return a thumbnail that differs from `shades(0)` by so large a part of its contrast."""
    ramp = np.tile(np.arange(0, 256, 8.0), (32, 1))
    signs = np.where(np.indices((32, 32)).sum(axis=0) % 2, 1, -1)
    return np.clip(ramp + signs * level * ramp.std(), 0, 255).astype(np.uint8)


def test_what_two_splits_share_is_told_by_how_alike_it_is() -> None:
    one = replace(GOOD, thumbnail=shades(0), digest=b"1")
    copy = replace(one, thumbnail=shades(0))
    again = replace(one, thumbnail=shades(0.04), digest=b"2")
    alike = replace(one, thumbnail=shades(0.12), digest=b"3")
    where = "is images/0.jpg; one is in train, the other in val"
    parts = {"val": [0], "train": [1]}
    assert duplicates(parts, one, copy) == [
        ("leaked_image images/1.jpg [1]", "train", f"the very same file {where}")
    ]
    [(kind, thing, said)] = duplicates(parts, one, again)
    assert (kind, thing) == ("leaked_image images/1.jpg [1]", "train")
    assert said.startswith("the same image but for ")
    assert said.endswith(f"% of its contrast {where}")
    [(kind, _, said)] = duplicates(parts, one, alike)
    assert kind == "similar_across_splits images/1.jpg [1]"
    assert said.startswith("nearly the same image (a difference of 1")
    [(kind, _, _)] = duplicates(parts, one, replace(again, blank=True))
    assert kind == "similar_across_splits images/1.jpg [1]"  # blank images are alike by chance
    [(kind, _, _)] = duplicates(parts, one, replace(copy, blank=True))
    assert kind == "leaked_image images/1.jpg [1]"


def test_a_film_in_two_splits_is_told_once_and_with_an_example() -> None:
    survey, _ = survey_of([], {"train": [0, 1, 2], "val": [3, 4], "test": [5]})
    seen = [replace(GOOD, thumbnail=shades(0.3 * image)) for image in range(6)]
    [finding] = check_films(survey, dict(zip(survey.files, seen, strict=True)))
    assert (finding.kind, finding.file, finding.object) == ("shared_film", "images/2.jpg", "train")
    assert finding.images == (2,)
    assert finding.message == (
        "it is in train, and the frame next to it, images/3.jpg, in val; they look alike, as in 2 places of "
        "this film, so results will look too good"
    )
    seen[3] = replace(GOOD, thumbnail=None)  # it cannot be read
    [finding] = check_films(survey, dict(zip(survey.files, seen, strict=True)))
    assert (finding.file, finding.object) == ("images/4.jpg", "val")


def test_of_two_in_one_split_the_second_is_a_duplicate() -> None:
    one = replace(GOOD, thumbnail=shades(0), digest=b"1")
    alike = replace(one, thumbnail=shades(0.12), digest=b"3")
    said = [("duplicate_image images/1.jpg [1]", None, "the very same file is images/0.jpg")]
    assert duplicates({"train": [0, 1]}, one, one) == said
    assert duplicates({"trainval": [0], "val": [1]}, one, one) == [
        ("duplicate_image images/0.jpg [0]", None, "the very same file is images/1.jpg")
    ]
    assert duplicates({"train": [0, 1]}, one, alike) == []
    assert duplicates({"train": [0, 1], "test": [0], "val": [1]}, one, one) == said  # both are in train


def test_images_of_no_part_and_of_two_are_told() -> None:
    survey, _ = survey_of([], {"train": [0, 1, 4]})
    survey.parts = {"val": [1, 4], "train": [1, 2], "test": [2], "2007_train": [4]}
    survey.annotated[0] = False

    def said(everything: bool) -> list[tuple[str, str | None, str]]:
        return told(check_splits(survey, everything=everything))

    shared = [
        ("split_overlap", "train, val", "it is in train and in val"),
        ("split_overlap", "train, test", "it is in train and in test"),
        ("split_overlap", "2007_train, val", "it is in 2007_train and in val"),
    ]
    assert said(everything=False) == shared
    assert said(everything=True) == [
        *shared,
        ("not_in_split", "3.jpg", "no part names 3.jpg; it is not used"),
    ]
    assert list(check_splits(Survey(), everything=True)) == []


@pytest.mark.parametrize("at", [(0, 0, 0), (3, 2, 1), (4, 5, 2), None], ids=str)
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_an_image_is_blank_when_every_pixel_has_one_colour(
    at: tuple[int, int, int] | None, block: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("detkit.checks.decoding._BLOCK", block)
    pixels = np.full((5, 6, 3), (10, 20, 30), np.uint8)
    if at is not None:
        pixels[at] += 1
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert look(tmp_path / "a.png").blank == (at is None)
