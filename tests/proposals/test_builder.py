from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from detkit.errors import UserError
from detkit.proposals.builder import build_proposer, parameters_of
from detkit.proposals.config import ExternalProposalsConfig
from detkit.proposals.edge_boxes.edge_boxes import EdgeBoxes
from detkit.proposals.edge_boxes.edge_files import EdgeFiles
from detkit.proposals.edge_boxes.edge_map import GradientEdges
from detkit.proposals.proposals import Proposals
from detkit.proposals.sliding_window import PyramidWindows, RelativeWindows, SlidingWindow

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
    with pytest.raises(UserError) as told:
        build_proposer(SPEC.validate_python({"type": "custom", "target": "my_boxes:wrong"}))
    assert str(told.value) == (
        "target 'my_boxes:wrong': must return a callable that takes (H, W, 3) uint8 pixels and returns "
        "detkit.proposals.proposals.Proposals; it returned int"
    )


def test_a_file_cannot_look() -> None:
    with pytest.raises(UserError, match="and for no others"):
        build_proposer(SPEC.validate_python({"type": "file", "train": "a.safetensors"}))


def test_every_parameter_reaches_its_place() -> None:
    windows = {"type": "pyramid", "sizes_px": ((8, 9),), "stride_px": 3, "scale_step": 1.5}
    made = build_proposer(
        SPEC.validate_python({"type": "sliding_window", "windows": windows, "max_boxes": 4})
    )
    assert made == SlidingWindow(PyramidWindows(((8, 9),), 3, 1.5), 4)
    windows = {"type": "relative", "scales": (0.1,), "ratios": (2.0,), "stride": 0.3}
    made = build_proposer(SPEC.validate_python({"type": "sliding_window", "windows": windows}))
    assert made == SlidingWindow(RelativeWindows((0.1,), (2.0,), 0.3), None)
    keys = {"alpha": 0.4, "beta": 0.5, "eta": 0.95, "min_score": 0.2, "max_boxes": 3, "min_edge": 0.3}
    keys |= {
        "max_turn": 0.7,
        "min_group": 0.8,
        "max_ratio": 2.0,
        "min_area_px": 20.0,
        "gamma": 1.0,
        "kappa": 1.2,
    }
    edges = {"type": "gradient", "scales_px": (2.0,), "surround_px": 3.0, "surround": 0.5, "full_share": 0.9}
    boxes = build_proposer(SPEC.validate_python({"type": "edge_boxes", "edges": edges, **keys}))
    assert isinstance(boxes, EdgeBoxes)
    assert {name: getattr(boxes, name) for name in keys} == keys
    assert boxes.edges == GradientEdges((2.0,), 3.0, 0.5, 0.9)
    files = {"type": "files", "folder": "maps"}
    boxes = build_proposer(SPEC.validate_python({"type": "edge_boxes", "edges": files}))
    assert isinstance(boxes, EdgeBoxes)
    assert boxes.edges == EdgeFiles(Path("maps"))
