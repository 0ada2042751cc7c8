"""A config of MMDetection is read as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from detkit.detectors.toolkits.config_text import LARGEST, looked_up, mappings, read_config_text


def test_literals_of_a_program() -> None:
    text = """
_base_ = './x.py'
# a comment
model = dict(
    type='FasterRCNN',
    backbone=dict(depth=50, strides=(1, 2, 2, 2), init_cfg=None),
    bbox_head=[dict(stds=[0.1, 0.2]), {'stds': [0.05, -1e-1], 'keep': True}],
    made=f(3), joined=model['a'] + [1])
scale: tuple = (1, 2)
a = b = 4
if True:
    hidden = 5
"""
    assert read_config_text(text) == {
        "_base_": "./x.py",
        "model": {
            "type": "FasterRCNN",
            "backbone": {"depth": 50, "strides": (1, 2, 2, 2), "init_cfg": None},
            "bbox_head": [{"stds": [0.1, 0.2]}, {"stds": [0.05, -0.1], "keep": True}],
        },
        "a": 4,
        "b": 4,
    }


@pytest.mark.parametrize(
    "text",
    [
        "x = __import__('os').system('touch ran')",
        "x = dict(a=open('ran', 'w'))",
        "x = [dict(**open('ran', 'w'))]",
        "import os; os.system('touch ran')",
        "x = dict('", "x = " + "(" * 50_000, "x = 1" + " " * LARGEST, "\x00",
    ],
)  # fmt: skip
def test_nothing_runs(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert all(not value or value == [{}] for value in read_config_text(text).values())
    assert not list(tmp_path.iterdir())


def test_places_in_it() -> None:
    config = {"a": [{"b": {"c": 0}}, {"b": 1}], "d": "text"}
    assert looked_up(config, "a", "b", "c") == 0
    assert looked_up(config, "d", "e") is None
    assert looked_up(config, "a", "b", "x") is None
    assert list(mappings(config)) == [config, {"b": {"c": 0}}, {"c": 0}, {"b": 1}]
