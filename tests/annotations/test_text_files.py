from __future__ import annotations

from pathlib import Path

import pytest

from detkit.annotations.text_files import read_lines, read_text, write_lines
from detkit.errors import UserError


def test_lines_without_blank_ones(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("cat \n\n  dog\n", encoding="utf-8")
    assert read_lines(file) == ["cat", "dog"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Bär".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt: not a text file in UTF-8 \(byte 1\)"):
        read_text(tmp_path / "latin.txt")
    with pytest.raises(UserError, match=r"absent\.txt: the file does not exist"):
        read_lines(tmp_path / "absent.txt")
    with pytest.raises(UserError, match="cannot be read"):
        read_text(tmp_path)


def test_written_lines_come_back(tmp_path: Path) -> None:
    lines = ["a b", "é", "x/y"]
    write_lines(tmp_path / "new" / "list.txt", lines)
    assert read_lines(tmp_path / "new" / "list.txt") == lines


@pytest.mark.parametrize("line", ["a\nb", "a\u2028b", " a", "a\t", "", "\udcff"])
def test_what_a_line_cannot_hold_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(UserError, match=r"list\.txt: a list with one name a line cannot hold"):
        write_lines(tmp_path / "list.txt", ["a", line])
    assert list(tmp_path.iterdir()) == []
