from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape

import numpy as np

from detkit.report.content import Picture
from detkit.report.embedding_page import EmbeddingMap, crop_side, embedding_page, suspect_card
from tests.report.test_html import EVIL, parse

HOSTILE = f"</script>{EVIL}<!--\u2028\udcff"


def content(count: int = 5, side: int = 24, name: str = "a.jpg", class_name: str = "cat") -> EmbeddingMap:
    chance = np.random.default_rng(0)
    return EmbeddingMap(
        places=chance.random((count, 2)),
        labels=np.arange(count) % 3 - 1,
        suggested=np.where(np.arange(count) == 1, 1, -1),
        names=[f"{name}{i // 2}" for i in range(count)],
        neighbours=(np.arange(count)[:, None] + np.arange(1, 4)) % max(count, 1),
        crops=chance.integers(0, 256, (count, side, side, 3), dtype=np.uint8),
        classes=(class_name, "dog"),
    )


def page(of: EmbeddingMap, text: str = "t") -> str:
    picture = Picture(np.zeros((20, 20, 3), np.uint8), text, text, text)
    return embedding_page(text, text, (), (text,), of, (picture,), (picture,), np.ones((2, 2), np.int64))


def test_hostile_names_stay_text() -> None:
    text = page(content(name=HOSTILE, class_name=HOSTILE), HOSTILE)
    found = parse(text)
    assert found.tags.count("script") == 2
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert "<" not in data
    values = json.loads(data)
    assert values["classes"][0][0].startswith("</script>")
    assert values["images"][0].startswith("</script>")
    text.encode("utf-8")


def test_the_page_runs_its_own_script_alone_and_loads_nothing() -> None:
    text = page(content())
    assert not re.search(r"https?://|url\(|@import|<link|fetch\(|XMLHttp|innerHTML|eval\(", text)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert unescape(policy).split("; ")[0] == "default-src 'none'"
    assert f"script-src 'sha256-{digest}'" in unescape(policy)
    sources = {value for _, name, value in parse(text).attributes if name == "src" and value}
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)


def test_data_are_those_of_the_objects() -> None:
    of = content(7)
    text = page(of)
    (data,) = re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)
    values = json.loads(data)
    assert values["labels"] == of.labels.tolist()
    assert values["suggested"] == of.suggested.tolist()
    assert [values["images"][place] for place in values["image"]] == list(of.names)
    assert values["near"] == of.neighbours.tolist()
    np.testing.assert_allclose(values["places"], of.places, atol=1e-4)
    assert text.count('type="checkbox"') == 3
    assert "none or several" in text


def test_all_crops_are_on_sheets_in_their_order() -> None:
    import cv2

    of = content(150, side=8)
    crops = np.zeros_like(of.crops)
    crops[:] = (np.arange(150) + 50)[:, None, None, None]
    text = page(EmbeddingMap(**{**vars(of), "crops": crops}))
    sheets = re.findall(r'class="sheet" src="data:image/jpeg;base64,([^"]*)"', text)
    (data,) = re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)
    per_row = json.loads(data)["perRow"]
    for crop in range(150):
        encoded = np.frombuffer(base64.b64decode(sheets[crop // per_row**2]), np.uint8)
        row, column = divmod(crop % per_row**2, per_row)
        pixel = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[row * 8 + 4, column * 8 + 4]
        assert abs(int(pixel[0]) - crop - 50) <= 3


def test_many_objects_have_small_crops() -> None:
    assert [crop_side(count) for count in (0, 1, 600, 5000, 10**6)] == [112, 112, 100, 34, 24]
    noise = content(600, side=crop_side(600))
    assert len(page(noise)) < 9e6  # noise takes four times as much as photographs


def test_nothing_leaves_sections_out() -> None:
    of = content(0)
    text = embedding_page("t", "", (), (), of, (), (), np.zeros((2, 2), np.int64))
    assert "<section" not in text
    parse(text)


def test_a_card_says_both_labels() -> None:
    card = suspect_card(np.zeros((30, 30, 3), np.uint8), 1, content())
    assert (card.caption, card.tag, card.note) == ("labelled cat", "dog?", "a.jpg0")
    assert card.image.shape == (300, 240, 3)
