from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from detkit.errors import UserError
from detkit.proposals.builder import build_proposer, parameters_of
from detkit.proposals.config import ExternalProposalsConfig
from detkit.proposals.proposals import Proposals

SPEC: TypeAdapter[ExternalProposalsConfig] = TypeAdapter(ExternalProposalsConfig)


@pytest.mark.parametrize("method", ["selective_search", "sliding_window"])
def test_every_method_looks_at_an_image(method: str) -> None:
    spec = SPEC.validate_python({"type": method, "max_boxes": 7})
    assert parameters_of(spec)["max_boxes"] == 7
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    found = build_proposer(spec)(picture)
    assert isinstance(found, Proposals)
    assert len(found) <= 7


def test_windows_of_fixed_size() -> None:
    spec = SPEC.validate_python(
        {"type": "sliding_window", "windows": {"type": "pyramid", "sizes_px": ((8, 8),)}}
    )
    boxes = build_proposer(spec)(np.zeros((30, 30, 3), np.uint8)).boxes
    assert [8, 8] in (boxes[:, 2:] - boxes[:, :2]).tolist()


def test_a_method_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_boxes.py").write_text(
        "from detkit.proposals.proposals import Proposals\n"
        "def nothing(say):\n    return lambda image: Proposals.empty()\n"
        "def wrong():\n    return 3\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = SPEC.validate_python({"type": "custom", "target": "my_boxes:nothing", "args": {"say": 1}})
    assert len(build_proposer(own)(np.zeros((4, 4, 3), np.uint8))) == 0
    with pytest.raises(UserError, match="must return a callable"):
        build_proposer(SPEC.validate_python({"type": "custom", "target": "my_boxes:wrong"}))


def test_a_file_cannot_look() -> None:
    with pytest.raises(UserError, match="and for no others"):
        build_proposer(SPEC.validate_python({"type": "file", "train": "a.safetensors"}))
