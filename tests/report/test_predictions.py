"""Predictions as text, drawings, notebook cells, files and other packages' tables."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detkit.errors import UserError
from detkit.inference.prediction import Prediction

CLASSES = ("cat", "<script>alert(1)</script>\x1b[31m", "../../escaped")


def pixels(height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def prediction(count: int = 3, size: tuple[int, int] = (60, 80), **changes: Any) -> Prediction:
    labels = np.arange(count) % 3
    found = Prediction(
        None,
        size,
        np.array([[10 + i, 20, 40 + i, 50] for i in range(count)], np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.6, count).astype(np.float32),
        labels,
        tuple(CLASSES[label] for label in labels),
        classes=CLASSES,
        category_ids=(7, 3, 90),
        pixels=pixels(*size),
    )
    return replace(found, **changes)


def test_a_short_table_is_printed() -> None:
    assert str(prediction(1)).splitlines() == [
        "pixels (80 x 60): 1 detection",
        "   name  score    x1    y1    x2    y2",
        "0  cat    0.90  10.0  20.0  40.0  50.0",
    ]
    assert str(prediction(0, source="a.jpg")) == "a.jpg (80 x 60): 0 detections"
    lines = str(prediction(25)).splitlines()
    assert len(lines) == 2 + 20 + 1
    assert lines[-1] == "... and 5 more"
    assert len(str(prediction(20)).splitlines()) == 2 + 20


def test_nothing_that_a_terminal_obeys_is_printed() -> None:
    found = prediction(3, source="a\x1b[31m\n.jpg", names=("x" * 100_000, CLASSES[1], "a\nb"))
    text = str(found)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 5
    assert len(text) < 1000


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.picture: Image.Image | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag == "img":
            kind, _, data = str(dict(attrs)["src"]).partition(",")
            assert kind == "data:image/jpeg;base64"
            self.picture = Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_notebook_shows_the_picture_and_the_table() -> None:
    tags = Tags(prediction()._repr_html_())
    assert tags.picture is not None
    assert tags.picture.size == (80, 60)
    assert np.asarray(tags.picture).std() > 5, "boxes are drawn"
    assert tags.names.count("tr") == 4
    assert set(tags.names) == {"div", "p", "img", "table", "tr", "th", "td"}, "no class name is a tag"


def test_a_notebook_gets_no_more_than_800_pixels_and_20_rows() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 3000, 3), np.uint8)
    found = prediction(200, (1500, 3000), pixels=noise)
    page = found._repr_html_()
    tags = Tags(page)
    assert tags.picture is not None
    assert tags.picture.size == (800, 400)
    assert tags.names.count("tr") == 21
    assert "... and 180 more" in page
    assert len(page) < 1 << 20


def test_boxes_of_a_smaller_picture_are_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[np.ndarray] = []

    def draw(image: np.ndarray, boxes: np.ndarray, *_: Any, parts: np.ndarray, **__: Any) -> np.ndarray:
        drawn.extend((boxes, parts))
        return image

    monkeypatch.setattr("detkit.report.predictions.draw_detections", draw)
    prediction(1, (800, 1600), parts=np.array([[[2, 4, 6, -8], [0, 2, 4, 6]]]))._repr_html_()
    np.testing.assert_allclose(drawn[0], [[5, 10, 20, 25]])
    np.testing.assert_allclose(drawn[1], [[[1, 2, 3, -4], [0, 1, 2, 3]]])


def test_a_notebook_does_without_an_image_that_is_gone() -> None:
    page = prediction(source="gone<b>.png")._repr_html_()
    assert "img" not in Tags(page).names
    assert "gone&lt;b&gt;.png: the image does not exist" in page
    assert Tags(page).names.count("tr") == 4


def test_the_drawing_is_a_picture_of_the_given_pixels() -> None:
    found = prediction(1)
    given = found.pixels
    assert given is not None
    drawn = np.asarray(found.draw())
    assert drawn.shape == (60, 80, 3)
    assert (drawn[50, 12:38] != 90).any(), "the lower edge of the box"
    assert (drawn[55:] == 90).all()
    assert (given == 90).all(), "what was given is as it was"


def test_a_file_is_drawn_as_it_is_seen_and_only_while_it_is_the_same(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels(80, 60)).save(file, exif=exif)
    found = prediction(1, source=str(file), pixels=None)
    assert found.draw().size == (80, 60)
    Image.fromarray(pixels(61, 80)).save(file)
    with pytest.raises(UserError, match=r"a\.png: is another image now, 80 x 61 .* of one of 80 x 60"):
        found.draw()
    with pytest.raises(UserError, match="neither the path of its image nor its pixels"):
        prediction(1, pixels=None).draw()


def test_of_classes_of_the_whole_image_the_first_is_drawn() -> None:
    whole = prediction(3, boxes=np.tile(np.float32([0, 0, 80, 60]), (3, 1)))
    np.testing.assert_array_equal(np.asarray(whole.draw()), np.asarray(whole[:1].draw()))
    several = prediction(3)
    assert (np.asarray(several.draw()) != np.asarray(several[:1].draw())).any()


@pytest.mark.parametrize("name", ["out/a.jpg", "out/a.PNG", "a.jpeg"])
def test_a_drawing_is_saved_by_the_ending_of_the_name(tmp_path: Path, name: str) -> None:
    path = prediction().save(str(tmp_path / name))
    assert path == tmp_path / name
    with Image.open(path) as image:
        assert image.size == (80, 60)
        assert image.format == ("PNG" if name.endswith("PNG") else "JPEG")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path], "no file is named by a class"


def test_plain_values_are_saved_as_json_without_the_image(tmp_path: Path) -> None:
    found = prediction(source="gone.jpg", pixels=None)
    assert json.loads(found.save(tmp_path / "a.json").read_text()) == json.loads(json.dumps(found.to_dict()))


def test_other_names_and_the_image_itself_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for name in ("a.gif", "a", "folder.jpg"):
        with pytest.raises(UserError, match=rf"{name}: a prediction is saved as \*\.jpg"):
            prediction().save(tmp_path / name)
    file = tmp_path / "a.png"
    Image.fromarray(pixels()).save(file)
    before = file.read_bytes()
    (tmp_path / "link.png").symlink_to(file)
    for name in ("a.png", "link.png"):
        with pytest.raises(UserError, match="is the image itself"):
            prediction(source=str(file)).save(tmp_path / name)
    assert file.read_bytes() == before


@pytest.mark.parametrize("package", ["pandas", "supervision"])
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package}: is not installed; pip install {package}"):
        getattr(prediction(), f"to_{package}")()


def test_a_package_that_lacks_one_of_its_own_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pandas.py").write_text("import absent_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    with pytest.raises(ModuleNotFoundError, match="absent_dependency"):
        prediction().to_pandas()


def test_a_data_frame_has_the_columns_of_detections_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = ModuleType("pandas")
    monkeypatch.setattr(pandas, "DataFrame", dict, raising=False)
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    table: Any = prediction(2, source="a.jpg").to_pandas()
    assert list(table) == ["image", "label", "category_id", "score", "x1", "y1", "x2", "y2"]
    assert table["image"] == ["a.jpg", "a.jpg"]
    assert table["label"] == list(CLASSES[:2])
    assert table["category_id"] == [7, 3]
    np.testing.assert_array_equal(table["x2"], [40, 41])
    np.testing.assert_array_equal(table["y1"], [20, 20])


def test_a_real_data_frame_has_a_row_for_each_detection() -> None:
    pytest.importorskip("pandas")
    table = prediction(2).to_pandas()
    assert table.shape == (2, 8)
    assert prediction(0).to_pandas().shape == (0, 8)


def test_supervision_gets_boxes_scores_labels_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    supervision = ModuleType("supervision")
    monkeypatch.setattr(supervision, "Detections", dict, raising=False)
    monkeypatch.setitem(sys.modules, "supervision", supervision)
    found = prediction(2)
    theirs: Any = found.to_supervision()
    assert theirs["xyxy"] is found.boxes
    assert theirs["confidence"] is found.scores
    assert theirs["class_id"] is found.labels
    assert theirs["data"]["class_name"].tolist() == list(CLASSES[:2])


def test_real_supervision_takes_them() -> None:
    supervision = pytest.importorskip("supervision")
    theirs = prediction(2).to_supervision()
    assert isinstance(theirs, supervision.Detections)
    assert len(theirs) == 2
    assert len(prediction(0).to_supervision()) == 0


def test_the_presentation_is_loaded_when_it_is_asked_for() -> None:
    import subprocess

    code = """
import sys, detkit.inference.prediction, detkit.inference.results
print(*sorted({"torch", "cv2", "PIL", "pandas", "detkit.report.predictions"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.sub(r"\s", "", done.stdout) == ""
