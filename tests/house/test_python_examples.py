"""The examples of docs/python-api.md that put detectors together run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"
SECTION = PAGE.read_text().split("## Put a detector together")[1].split("\n## ")[0]
SHARED, *EXAMPLES = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["faster_rcnn", "fast_rcnn", "sppnet", "rcnn"])
def test_a_detector_on_a_users_own_backbone_is_trained_and_run(example: str) -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(SHARED, names)
    exec(example, names)
    code = [line for line in example.splitlines() if line and "import" not in line]
    assert len(code) <= 10
    model, found = names["model"], names["found"]
    backbone = next(part for part in model.modules() if type(part).__name__ == "Backbone")
    assert backbone.channels == (32,)
    assert len(found) == 1
    assert len(found[0].boxes) == len(found[0].scores) == len(found[0].labels)
    assert len(found[0].boxes), "two steps from random weights report boxes above the threshold"
    assert all(parameter.isfinite().all() for parameter in model.parameters())
