from __future__ import annotations

import io
import itertools
import math
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from detkit.errors import UserError
from detkit.proposals.builder import build_proposer
from detkit.proposals.config import EdgeBoxesConfig, GradientEdgesConfig
from detkit.proposals.edge_boxes.edge_boxes import EdgeBoxes, suppress
from detkit.proposals.edge_boxes.edge_files import EdgeFiles
from detkit.proposals.edge_boxes.edge_groups import EdgeGroups, affinities, group_edges
from detkit.proposals.edge_boxes.edge_map import EdgeMap, GradientEdges, orientation_of
from detkit.proposals.edge_boxes.edge_score import box_score, score_tables, scratch_for
from detkit.proposals.edge_boxes.edge_search import BoxGrid, search
from detkit.proposals.proposals import NamedProposer
from tests.reference import edge_boxes as reference


def default(**changes: object) -> EdgeBoxes:
    proposer = build_proposer(EdgeBoxesConfig(type="edge_boxes", **changes))
    assert isinstance(proposer, EdgeBoxes)
    return proposer


def random_edges(seed: int, height: int = 22, width: int = 26) -> EdgeMap:
    random = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(random.random((height, width)), (0, 0), 2)
    orientation = np.mod((smooth - smooth.mean()) / smooth.std(), np.pi)
    magnitude = random.random((height, width)) * (random.random((height, width)) < 0.35)
    return EdgeMap(magnitude.astype(np.float32), orientation.astype(np.float32))


def pixel_sets(groups: EdgeGroups) -> list[set[tuple[int, int]]]:
    return [
        set(zip(*map(np.ndarray.tolist, np.nonzero(groups.members == g)), strict=True))
        for g in range(len(groups.masses))
    ]


def grouped(edges: EdgeMap) -> EdgeGroups:
    return group_edges(edges, min_edge=0.1, max_turn=0.5, min_mass=0.5)


@pytest.mark.parametrize("seed", range(6))
def test_groups_against_the_reference(seed: int) -> None:
    edges = random_edges(seed)
    found = grouped(edges)
    pieces = pixel_sets(found)
    assert pieces == reference.groups(edges.magnitude, edges.orientation, 0.1, 0.5, 0.5)
    for g, piece in enumerate(pieces):
        row, column = reference.mean_place(piece, edges.magnitude)
        assert found.centres[g] == pytest.approx([column, row])
        direction = reference.mean_direction(piece, edges.magnitude, edges.orientation)
        assert math.sin(found.orientations[g] - direction) == pytest.approx(0, abs=1e-6)
        assert tuple(found.places[g]) == max(piece, key=lambda p: (p[1], p[0]))
        assert found.masses[g] == pytest.approx(sum(float(edges.magnitude[p]) for p in piece))


@pytest.mark.parametrize("seed", range(3))
def test_affinities_against_all_pairs(seed: int) -> None:
    edges = random_edges(seed)
    groups = grouped(edges)
    pieces = pixel_sets(groups)
    near = affinities(groups, gamma=2.0)
    table = {}
    for g in range(len(pieces)):
        for position in range(near.starts[g], near.starts[g + 1]):
            table[g, int(near.others[position])] = near.values[position]
    for i, j in itertools.permutations(range(len(pieces)), 2):
        expected = reference.affinity(pieces[i], pieces[j], edges.magnitude, edges.orientation, 2.0)
        assert table.get((i, j), 0.0) == pytest.approx(expected if expected >= 0.05 else 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_boxes_against_the_reference(seed: int) -> None:
    edges = random_edges(seed)
    groups = grouped(edges)
    pieces = pixel_sets(groups)
    near = affinities(groups, gamma=2.0)
    table = np.zeros((len(pieces), len(pieces)))
    for g in range(len(pieces)):
        here = slice(near.starts[g], near.starts[g + 1])
        table[g, near.others[here]] = near.values[here]
    tables = score_tables(edges.magnitude, groups, near, min_edge=0.1)
    scratch = scratch_for(len(pieces))
    random = np.random.default_rng(seed)
    positive = 0
    for _ in range(60):
        top, bottom = sorted(random.choice(23, 2, replace=False).tolist())
        left, right = sorted(random.choice(27, 2, replace=False).tolist())
        box = top, left, bottom, right
        if (bottom - top) // 2 + (right - left) // 2 == 0:
            assert box_score(tables, scratch, box, 1.5, 0.01) == 0
            continue
        expected = reference.score(pieces, table, edges.magnitude, box, 0.1, 1.5)
        assert box_score(tables, scratch, box, 1.5, -1e9) == pytest.approx(expected, abs=1e-9)
        least = 0.01
        if abs(expected - least) > 1e-6:
            shown = expected if expected >= least else 0.0
            assert box_score(tables, scratch, box, 1.5, least) == pytest.approx(shown, abs=1e-9)
        positive += expected > 0
    assert positive >= 3


def test_edges_at_the_image_border_and_faint_ones_are_in_no_group() -> None:
    flat = EdgeMap(np.ones((5, 6), np.float32), np.zeros((5, 6), np.float32))
    members = grouped(flat).members
    assert (members[1:-1, 1:-1] == 0).all()
    assert (members[[0, -1]] == -1).all()
    assert (members[:, [0, -1]] == -1).all()
    assert (grouped(EdgeMap(np.float32(0.1) * flat.magnitude, flat.orientation)).members == -1).all()


def test_a_group_turns_by_less_than_a_quarter_in_all() -> None:
    """Turns of 0.2 add up: the third pixel that turns would make 0.6 and stays out."""
    magnitude = np.zeros((3, 6), np.float32)
    magnitude[1, 1:5] = 1
    orientation = np.zeros((3, 6), np.float32)
    orientation[1, 1:5] = np.array([0, 0.2, 0.4, 0.6]) * math.pi
    assert grouped(EdgeMap(magnitude, orientation)).members[1].tolist() == [-1, 0, 0, 0, 1, -1]


def drawn_box() -> EdgeMap:
    magnitude = np.zeros((120, 160), np.float32)
    orientation = np.zeros((120, 160), np.float32)
    magnitude[30:90, [40, 119]] = 1
    magnitude[[30, 89], 40:120] = 1
    orientation[[30, 89], 40:120] = math.pi / 2
    return EdgeMap(magnitude, orientation)


def test_the_best_box_is_the_one_that_encloses_the_contour() -> None:
    best = default().from_edges(drawn_box()).boxes[0]
    x1, y1 = np.maximum(best[:2], [40, 30])
    x2, y2 = np.minimum(best[2:], [120, 90])
    shared = (x2 - x1) * (y2 - y1)
    union = 80 * 60 + np.prod(best[2:] - best[:2]) - shared
    assert shared / union > 0.85


def test_refinement_never_lowers_a_score_and_what_is_below_the_least_is_left_out() -> None:
    edges = random_edges(5, 70, 80)
    groups = grouped(edges)
    tables = score_tables(edges.magnitude, groups, affinities(groups, gamma=2.0), min_edge=0.1)
    boxes, scores = search(tables, BoxGrid(0.65, 3.0, 400.0), kappa=1.5, min_score=0.02)
    assert len(boxes)
    assert (scores >= 0.02).all()
    scratch = scratch_for(len(groups.masses))
    again = [box_score(tables, scratch, tuple(box.tolist()), 1.5, 0.02) for box in boxes]
    assert again == pytest.approx(scores.tolist())
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (70, 80)).all()


@pytest.mark.parametrize(("seed", "alpha"), [(0, 0.65), (1, 0.8)])
def test_every_box_of_the_grid_is_refined_as_the_reference_does(seed: int, alpha: float) -> None:
    edges = random_edges(seed, 60, 70)
    groups = grouped(edges)
    tables = score_tables(edges.magnitude, groups, affinities(groups, gamma=2.0), min_edge=0.1)
    scratch = scratch_for(len(groups.masses))

    def score(box: tuple[int, int, int, int]) -> float:
        return float(box_score(tables, scratch, box, 1.5, 0.01))

    boxes, scores = search(tables, BoxGrid(alpha, 3.0, 200.0), kappa=1.5, min_score=0.01)
    looked_at = reference.grid(60, 70, alpha, 3.0, 200.0)
    expected = [reference.refine(box, score, 60, 70, alpha) for box in looked_at if score(box) > 0]
    assert len(looked_at) > len(expected) > 20
    assert [tuple(box) for box in boxes.tolist()] == [box for box, _ in expected]
    assert scores.tolist() == [value for _, value in expected]
    assert any(box not in looked_at for box, _ in expected)


def test_defaults_are_those_of_the_authors() -> None:
    message = vars(default()) | {"edges": None}
    assert message == {
        "edges": None, "alpha": 0.65, "beta": 0.75, "eta": 1.0, "min_score": 0.01, "max_boxes": 1000,
        "min_edge": 0.1, "max_turn": 0.5, "min_group": 0.5, "max_ratio": 3.0, "min_area_px": 1000.0,
        "gamma": 2.0, "kappa": 1.5,
    }  # fmt: skip


def test_shapes_step_by_the_iou_that_is_asked_for() -> None:
    grid = BoxGrid(alpha=0.65, max_ratio=3.0, min_area_px=1e6)
    shapes = grid.shapes(2000, 3000).astype(float)
    first = shapes[: 2 * 2 + 1]
    assert len(shapes) == 5 * math.ceil(math.log(3) / math.log(math.sqrt(1 / 0.65)))
    for one, other in itertools.pairwise(first):
        shared = np.minimum(one, other).prod()
        assert shared / (one.prod() + other.prod() - shared) == pytest.approx(0.65, abs=2e-3)
    assert (first[:, 0] / first[:, 1]).max() <= 3
    assert first.prod(axis=1) == pytest.approx(1e6, rel=3e-3)
    bigger = shapes[5 + 2]
    assert first[2].prod() / bigger.prod() == pytest.approx(0.65, abs=2e-3)
    side = 1000.0
    shared = side - side * grid.step
    assert shared / (2 * side - shared) == pytest.approx(0.65)


@pytest.mark.parametrize(
    ("iou", "eta", "at_most"), [(0.5, 1.0, None), (0.75, 1.0, 20), (0.9, 0.97, None), (1.0, 1.0, 5)]
)
def test_suppression_against_all_pairs(iou: float, eta: float, at_most: int | None) -> None:
    random = np.random.default_rng(1)
    corner, side = random.integers(0, 30, (400, 2)), random.integers(1, 40, (400, 2))
    boxes = np.concatenate([corner, corner + side], axis=1)
    kept: list[int] = []
    limit = iou
    for i, (r1, c1, r2, c2) in enumerate(boxes.tolist()):
        stays = True
        for r3, c3, r4, c4 in boxes[kept].tolist():
            shared = max(0, min(r2, r4) - max(r1, r3)) * max(0, min(c2, c4) - max(c1, c3))
            union = (r2 - r1) * (c2 - c1) + (r4 - r3) * (c4 - c3) - shared
            stays = stays and (iou > 0.99 or shared / union <= limit)
        if stays:
            kept.append(i)
            limit *= eta if limit > 0.5 else 1
    assert suppress(boxes, iou=iou, eta=eta, at_most=at_most).tolist() == kept[:at_most]


def test_suppression_of_nothing() -> None:
    assert len(suppress(np.zeros((0, 4), np.int64), iou=0.5, eta=1.0, at_most=None)) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1), (2, 2), (3, 5), (70, 90)])
@pytest.mark.parametrize("kind", ["flat", "noise"])
def test_any_image_gives_boxes_inside_it_or_none(size: tuple[int, int], kind: str) -> None:
    image = np.full((*size, 3), 77, np.uint8)
    if kind == "noise":
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = default(min_area_px=16.0, min_score=1e-3)(image)
    assert found.boxes.shape == (len(found), 4)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= (size[1], size[0])).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (np.diff(found.scores) <= 0).all()
    if kind == "flat":
        assert len(found) == 0


def test_a_drawn_object_is_found_in_pixels() -> None:
    image = np.full((120, 160, 3), 200, np.uint8)
    cv2.ellipse(image, (80, 60), (40, 30), 0, 0, 360, (30, 60, 160), -1)
    best = default(max_boxes=5)(image).boxes
    assert len(best) <= 5
    assert np.abs(best - [40, 30, 121, 91]).max(axis=1).min() < 8


def test_thinning_keeps_the_ridge() -> None:
    profile = np.array([0, 0.2, 0.6, 1, 0.5, 0.1, 0], np.float32)
    plane = np.tile(profile, (5, 1))
    thin = EdgeMap(plane, np.zeros_like(plane)).thinned().magnitude
    assert thin.tolist() == np.tile(profile * (profile == 1), (5, 1)).tolist()


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2, 2.0, 2.9])
def test_orientation_is_derived_from_a_stroke(angle: float) -> None:
    y, x = np.mgrid[-20:21, -20:21]
    stroke = np.exp(-((x * math.cos(angle) + y * math.sin(angle)) ** 2) / 2).astype(np.float32)
    assert math.sin(orientation_of(stroke)[20, 20] - angle) == pytest.approx(0, abs=0.05)


def test_edges_from_files_are_found_by_name(tmp_path: Path) -> None:
    edges = drawn_box()
    (tmp_path / "a").mkdir()
    np.savez(tmp_path / "a" / "one.npz", magnitude=edges.magnitude, orientation=edges.orientation)
    cv2.imwrite(str(tmp_path / "two.png"), (edges.magnitude * 65535).astype(np.uint16))
    proposer = default(edges={"type": "files", "folder": str(tmp_path)})
    assert isinstance(proposer, NamedProposer)
    image = np.zeros((120, 160, 3), np.uint8)
    expected = default().from_edges(edges.thinned())
    assert proposer.propose_named(image, "a/one.jpg").boxes.tolist() == expected.boxes.tolist()
    assert len(proposer.propose_named(image, "elsewhere/two.jpg"))
    with pytest.raises(UserError, match=r"no edge map for the image three\.jpg"):
        proposer.propose_named(image, "three.jpg")
    with pytest.raises(UserError, match="120 rows and 160 columns"):
        proposer.propose_named(image[:100], "a/one.jpg")
    with pytest.raises(UserError, match="looked up by the image's name"):
        proposer(image)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"edges": np.zeros((3, 3))}, "needs an array `magnitude`; it holds edges"),
        ({"magnitude": np.zeros(3)}, r"shape \(3,\) of magnitude, the image x.jpg has 3 rows"),
        ({"magnitude": np.full((3, 3), 1.5)}, "in \\[0, 1\\]"),
        ({"magnitude": np.full((3, 3), np.nan)}, "finite"),
        (
            {"magnitude": np.zeros((3, 3)), "orientation": np.zeros((2, 3))},
            "2 rows and 3 columns of orientation",
        ),
        ({"magnitude": np.zeros((3, 3)), "orientation": np.full((3, 3), np.inf)}, "must be finite"),
        ({"magnitude": np.array([[{}] * 3] * 3)}, "plain arrays"),
        ({"magnitude": np.array([["x" * 99] * 3] * 3)}, "not numbers"),
    ],
)
def test_wrong_edge_files_are_named(tmp_path: Path, content: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(UserError, match=said):
        EdgeFiles(tmp_path).named("x.jpg", 3, 3)


def test_files_that_are_no_edge_maps_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"no archive")
    cv2.imwrite(str(tmp_path / "y.png"), np.zeros((3, 3, 3), np.uint8))
    (tmp_path / "z.png").write_bytes(b"no picture")
    for name, said in (("x", "NumPy archive"), ("y", "3 channels"), ("z", "cannot be read")):
        with pytest.raises(UserError, match=said):
            EdgeFiles(tmp_path).named(f"{name}.jpg", 3, 3)


@pytest.mark.parametrize("name", ["magnitude", "orientation"])
def test_an_archive_that_asks_for_all_memory_is_not_read(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "x.npz", magnitude=np.zeros((3, 3)), orientation=np.zeros((3, 3)))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 20, 1 << 20)}
    )
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive, zipfile.ZipFile(tmp_path / "x.npz") as good:
        for each in good.namelist():
            bad = each == f"{name}.npy"
            archive.writestr(each, header.getvalue() if bad else good.read(each))
    with pytest.raises(UserError, match=f"1048576 rows and 1048576 columns of {name}"):
        EdgeFiles(tmp_path).named("y.jpg", 3, 3)


def test_a_picture_of_another_size_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((30, 20), np.uint8))
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(UserError, match=r"30 rows and 20 columns, the image x\.jpg has 3 rows"):
        EdgeFiles(tmp_path).named("x.jpg", 3, 3)


@pytest.mark.parametrize("share", [0.99, 0.75])
def test_the_strongest_contours_have_the_full_magnitude(share: float) -> None:
    """By default a hundredth of the contour pixels, in another unit than the colours'."""
    noise = np.random.default_rng(0).integers(0, 256, (160, 200, 3), dtype=np.uint8)
    keys = GradientEdgesConfig()
    assert keys.full_share == 0.99
    edges = GradientEdges(keys.scales_px, keys.surround_px, keys.surround, share)(noise)
    contours = edges.magnitude[edges.magnitude > 0]
    assert len(contours) > 1000
    assert (contours == 1).mean() == pytest.approx(1 - share, abs=2 / len(contours))
    assert contours.max() == 1
