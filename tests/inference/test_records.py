from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detkit.inference.records import JOURNAL, Records

STAMPS = ("1 10", "2 20", "3 30")


def record(name: str, error: str | None = None, frame: int | None = None) -> dict[str, Any]:
    found = {"image": name, "width": 4, "height": 3, "detections": [{"score": 0.1}], "error": error}
    return found | {"frame": frame, "time_s": None if frame is None else frame / 10}


def test_records_come_back_from_their_file(tmp_path: Path) -> None:
    records = Records(tmp_path, "work", STAMPS)
    assert not records
    made = [record(name) for name in ("a", "\ud800", "é\n")]
    for place, one in enumerate(made):
        records.add(place, one)
        assert records[place] == one
    records.discard()
    assert list(records) == made == list(records)
    assert (len(records), records[0], records[-1], records[1:]) == (3, made[0], made[2], made[1:])
    with pytest.raises(IndexError):
        records[3]
    assert list(tmp_path.iterdir()) == []


def test_the_next_of_the_same_work_has_the_records_that_a_killed_process_left(tmp_path: Path) -> None:
    left = Records(tmp_path, "work", STAMPS)
    left.add(2, record("c"))
    left.add(0, record("a"))
    del left
    records = Records(tmp_path, "work", STAMPS)
    assert list(records) == [record("a"), record("c")]
    assert records.missing() == [1]
    records.add(1, record("b"))
    assert [one["image"] for one in records] == ["a", "b", "c"]
    assert list(records.places) == [0, 1, 2]


def test_a_line_that_was_cut_off_and_what_is_no_record_are_passed_over(tmp_path: Path) -> None:
    left = Records(tmp_path, "work", STAMPS)
    left.add(0, record("a"))
    journal = tmp_path / JOURNAL
    with journal.open("ab") as lines:
        lines.write(
            b'[-1, "3 30", {}]\n[7, "", {}]\n[]\nnothing\n[1, "2 20", {"image": "b"}]\n[1, "2 20", {"ima'
        )
    records = Records(tmp_path, "work", STAMPS)
    assert records.missing() == [1, 2]
    records.add(1, record("b"))
    assert list(Records(tmp_path, "work", STAMPS)) == [record("a"), record("b")]


def test_images_that_changed_or_could_not_be_read_and_other_work_are_done_again(tmp_path: Path) -> None:
    left = Records(tmp_path, "work", STAMPS)
    for place, error in enumerate((None, None, "c: the file is empty")):
        left.add(place, record("abc"[place], error))
    assert left.skipped == [{"image": "c", "error": "c: the file is empty"}]
    again = Records(tmp_path, "work", ("1 10", "2 21", "3 30"))
    assert again.missing() == [1, 2]
    assert again.skipped == []
    assert Records(tmp_path, "other", STAMPS).missing() == [0, 1, 2]
    assert Records(tmp_path, "work", STAMPS).missing() == [0, 1, 2]


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / JOURNAL).symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        Records(tmp_path / "out", "work", STAMPS)
    assert (tmp_path / "precious").read_text() == "kept"


def test_of_two_records_of_an_image_the_later_counts_and_it_is_there_once(tmp_path: Path) -> None:
    records = Records(tmp_path, "work", STAMPS)
    records.add(1, record("b"))
    records.add(1, record("b again"))
    assert list(records) == [record("b again")]
    assert list(records.places) == [1]
    again = Records(tmp_path, "work", STAMPS)
    assert list(again) == [record("b again")]
    assert again.missing() == [0, 2]


def test_no_folder_holds_no_records() -> None:
    records = Records(None)
    assert (len(records), list(records), records.skipped, records.missing()) == (0, [], [], [])


def test_what_could_not_be_read_is_listed_as_it_came(tmp_path: Path) -> None:
    records = Records(tmp_path, "work", STAMPS)
    records.add(2, record("c", "cut short"))
    records.add(0, record("a", "empty"))
    assert records.skipped == [{"image": "c", "error": "cut short"}, {"image": "a", "error": "empty"}]
    assert [one["image"] for one in records] == ["a", "c"]


def test_frames_are_records_of_their_own_and_a_video_is_missing_until_it_ended(tmp_path: Path) -> None:
    records = Records(tmp_path, "work", STAMPS)
    records.add(2, record("c"))
    for frame in (0, 5, 10):
        records.add(1, record("film", frame=frame))
    records.add(1, record("film", "film: truncated"))
    assert [(one["image"], one["frame"], one["error"]) for one in records] == [
        ("film", 0, None),
        ("film", 5, None),
        ("film", 10, None),
        ("film", None, "film: truncated"),
        ("c", None, None),
    ]
    assert list(records.places) == [1, 1, 1, 1, 2]
    again = Records(tmp_path, "work", STAMPS)
    assert (again.missing(), again.skipped) == ([0, 1], [])
    assert (again.of_frame(1, 5), again.of_frame(1, 6)) == (record("film", frame=5), None)
    again.add(1, record("film", frame=15))
    again.end(1)
    assert again.missing() == [0]
    last = Records(tmp_path, "work", STAMPS)
    assert last.missing() == [0]
    assert [one["frame"] for one in last] == [0, 5, 10, 15, None]
    assert Records(tmp_path, "work", ("1 10", "2 21", "3 30")).missing() == [0, 1]
