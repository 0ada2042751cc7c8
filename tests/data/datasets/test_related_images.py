from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detkit.annotations.detect import detect_format
from detkit.data.datasets.readers import read_set
from detkit.data.datasets.related_images import (
    CUT,
    NEIGHBOURS,
    Series,
    leaks_between,
    series_of,
    shared_films,
)
from detkit.data.datasets.split_leaks import Leaks
from detkit.data.datasets.splits import divide, hold_out
from detkit.data.near_duplicates import THUMBNAIL_PX, difference
from tests.workflows.layouts import STEMS, annots_and_images, image, voc

Thumbnail = NDArray[np.uint8]


def photograph(seed: int) -> Thumbnail:
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8))
    return coarse.repeat(THUMBNAIL_PX // 8, 0).repeat(THUMBNAIL_PX // 8, 1).astype(np.uint8)


def film(seed: int, length: int) -> list[Thumbnail]:
    """Return frames of which each is the last one with one more part changed."""
    frames, rng = [photograph(seed)], np.random.default_rng(seed)
    for _ in range(length - 1):
        frame = frames[-1].copy()
        top, left = rng.integers(0, 7, 2) * (THUMBNAIL_PX // 8)
        frame[top : top + 6, left : left + 6] = rng.integers(0, 255)
        frames.append(frame)
    return frames


def members(files: list[str], thumbnails: list[Thumbnail | None]) -> list[list[str]]:
    return sorted(
        [files[i] for i in one.images] for one in series_of(files, thumbnails) if len(one.images) > 1
    )


def test_numbered_photographs_of_different_things_are_no_series() -> None:
    files = [f"img_{number:04d}.jpg" for number in range(60)]
    assert members(files, [photograph(seed) for seed in range(60)]) == []


def test_frames_of_a_film_are_one_series_and_another_film_is_another() -> None:
    files = [f"{name}/frame_{number}.jpg" for name in ("a", "b") for number in range(8, 13)]
    found = members(files, [*film(1, 5), *film(2, 5)])
    assert found == [files[:5], files[5:]]  # by number: 8, 9, 10, not 10, 11, 12, 8


def on_the_floor(left: int) -> Thumbnail:
    """Return a dark thing on bright ground."""
    frame = np.full((THUMBNAIL_PX, THUMBNAIL_PX), 220, np.uint8)
    frame[4:20, left : left + 12] = 40
    return frame


def test_what_moves_quickly_in_a_film_is_no_other_film() -> None:
    places = [0, 2, 4, 6, 13, 15, 17, 19]  # one step is larger
    frames = [on_the_floor(left) for left in places]
    jump = difference(frames[3], frames[4])
    assert NEIGHBOURS < jump <= CUT
    files = [f"{12 * number:06d}.jpg" for number in range(len(places))]
    assert members(files, frames) == [files]
    # The same step between numbered photographs of different things links nothing.
    mixed = [*map(photograph, range(4)), *frames[3:5], *map(photograph, range(4, 8))]
    assert members([f"{number}.jpg" for number in range(10)], mixed) == []


def sides(train: int, val: int) -> list[set[str]]:
    return [{"train"}] * train + [{"val"}] * val


def test_a_film_that_was_cut_within_a_scene_is_shared_by_both_sides() -> None:
    files = [f"{'train' if number < 6 else 'val2'}/a/film_{number}.jpg" for number in range(9)]
    assert shared_films(files, film(1, 9), sides(6, 3)) == [[(5, 6)]]
    again = [*film(1, 7), *film(2, 2)]  # another scene begins one frame later
    assert shared_films(files, again, sides(7, 2)) == []
    assert shared_films(files, again, sides(6, 3)) == [[(5, 6)]]
    # Frames that are on no side, or on both, part nothing.
    assert shared_films(files, film(1, 9), [*sides(6, 0), set(), *sides(0, 2)]) == []
    assert shared_films(files, film(1, 9), [*sides(6, 0), {"train", "val"}, *sides(0, 2)]) == []


def test_only_films_are_shared_and_no_photographs() -> None:
    files = [f"img_{number}.jpg" for number in range(60)]
    photographs = [photograph(seed) for seed in range(60)]
    alike = on_the_floor(0), on_the_floor(2)  # neighbours that happen to be alike
    assert shared_films(files, [*photographs[:39], *alike, *photographs[41:]], sides(40, 20)) == []
    assert shared_films(files[:3], film(1, 3), sides(2, 1)) == []  # three images are no film
    assert shared_films(files[:4], film(1, 4), sides(2, 2)) == [[(1, 2)]]
    # Two films that are numbered from 0 each, one on each side.
    numbered = [f"{folder}/{number}.jpg" for folder in ("train", "val") for number in range(8)]
    assert shared_films(numbered, [*film(1, 8), *film(2, 8)], sides(8, 8)) == []


def test_one_folder_of_two_films_is_cut_where_the_scene_changes() -> None:
    files = [f"video_{number:04d}.png" for number in range(9)]
    assert members(files, [*film(3, 5), *film(4, 4)]) == [files[:5], files[5:]]


def test_versions_that_roboflow_made_of_an_image_stay_together_however_they_look() -> None:
    files = ["a_jpg.rf.0a1b.jpg", "b_jpg.rf.0a1b.jpg", "a_jpg.rf.9f9f.jpg"]
    assert members(files, [photograph(seed) for seed in range(3)]) == [[files[0], files[2]]]


def test_near_duplicates_of_any_name_are_a_series() -> None:
    again = np.clip(photograph(1).astype(int) + 2, 0, 255).astype(np.uint8)
    assert members(["x.jpg", "y.jpg", "z.jpg"], [photograph(1), photograph(2), again]) == [["x.jpg", "z.jpg"]]


def test_images_that_cannot_be_read_are_on_their_own() -> None:
    assert members(["f_1.jpg", "f_2.jpg"], [None, photograph(1)]) == []


def test_whole_series_are_held_out_up_to_a_fifth() -> None:
    files = [f"{film}_{number}" for film in "abcdefghij" for number in range(10)]
    series = [Series(list(range(at, at + 10)), [0.1] * 9) for at in range(0, 100, 10)]
    held, cut = hold_out(files, series)
    assert (len(held), cut) == (20, "")
    assert all(held.issuperset(one.images) or held.isdisjoint(one.images) for one in series)


def test_one_of_three_films_is_held_out_whole() -> None:
    files = [f"{film}_{number}" for film in "abc" for number in range(10)]
    held, cut = hold_out(files, [Series(list(range(at, at + 10)), [0.1] * 9) for at in (0, 10, 20)])
    assert (len(held), cut) == (10, "")


def test_a_single_film_is_cut_where_it_changes_most_near_the_last_fifth() -> None:
    steps = [0.1] * 49
    steps[41] = 0.7  # between images 41 and 42: the last 8
    steps[10] = 0.9
    files = [f"film_{number:02d}.jpg" for number in range(50)]
    held, cut = hold_out(files, [Series(list(range(50)), steps)])
    assert (held, cut) == (set(range(42, 50)), "film_42.jpg")


@pytest.mark.parametrize(("last", "held_out"), [(4, 10), (5, 5), (15, 15), (16, 10)])
def test_a_film_is_cut_at_half_of_what_there_is_room_for_at_least(last: int, held_out: int) -> None:
    steps = [0.1] * 49
    steps[-last] = 0.7
    held, _ = hold_out([f"film_{number:02d}.jpg" for number in range(50)], [Series(list(range(50)), steps)])
    assert held == set(range(50 - held_out, 50))


@pytest.mark.parametrize(
    ("lengths", "held_out"),
    [([1] * 2, 1), ([1] * 3, 1), ([1, 1, 18], 2), ([18, 12], 12), ([17, 13], 6), ([1, 24], 5)],
)
def test_how_many_images_are_held_out(lengths: list[int], held_out: int) -> None:
    """Half of a fifth is enough, a film of at most two fifths is taken whole, and a longer one is cut."""
    files = [f"{film}_{number:02d}" for film, length in enumerate(lengths) for number in range(length)]
    ends = np.cumsum(lengths).tolist()
    series = [
        Series(list(range(end - n, end)), [0.1] * (n - 1)) for end, n in zip(ends, lengths, strict=True)
    ]
    assert len(hold_out(files, series)[0]) == held_out


def test_of_a_film_that_is_cut_as_much_is_held_out_as_single_images_leave_room_for() -> None:
    files = [f"film_{number:02d}.jpg" for number in range(28)] + ["a.jpg", "b.jpg"]
    held, cut = hold_out(files, [Series(list(range(28)), [0.1] * 27), Series([28], []), Series([29], [])])
    assert (held, cut) == ({24, 25, 26, 27, 28, 29}, "film_24.jpg")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_something_is_left_on_both_sides_of_a_tiny_film(count: int) -> None:
    held, _ = hold_out([f"f_{n}" for n in range(count)], [Series(list(range(count)), [0.1] * (count - 1))])
    assert 0 < len(held) < count


def test_an_undivided_dataset_shares_no_near_duplicate_between_its_sides(tmp_path: Path) -> None:
    data = annots_and_images(tmp_path / "data")
    for stem in STEMS:
        for number in range(3):
            voc(data / "annots" / f"copy {number} of {stem}.xml", stem)
            image(data / "images" / f"copy {number} of {stem}.png")
    split = divide(detect_format(data), tmp_path / "c.yaml")
    train, val = read_set(split.train), read_set(split.val)
    assert (train.num_images, val.num_images) == (20, 4)
    assert leaks_between(train, val) == Leaks()
    assert "24 images are near duplicates or frames of films" in split.note
