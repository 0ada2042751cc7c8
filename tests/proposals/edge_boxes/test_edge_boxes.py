from __future__ import annotations

import io
import itertools
import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from detkit.errors import UserError
from detkit.proposals.builder import build_proposer
from detkit.proposals.config import EdgeBoxesConfig, GradientEdgesConfig
from detkit.proposals.edge_boxes.edge_boxes import EdgeBoxes, suppress
from detkit.proposals.edge_boxes.edge_files import EdgeFiles
from detkit.proposals.edge_boxes.edge_groups import (
    WEAKEST,
    Affinities,
    EdgeGroups,
    affinities,
    group_edges,
)
from detkit.proposals.edge_boxes.edge_map import EdgeMap, GradientEdges, orientation_of
from detkit.proposals.edge_boxes.edge_score import ScoreTables, box_score, score_tables, scratch_for
from detkit.proposals.edge_boxes.edge_search import BoxGrid, _place, search
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


def grouped(edges: EdgeMap) -> EdgeGroups:
    return group_edges(edges, min_edge=0.1, max_turn=0.5, min_mass=0.5)


def tabled(edges: EdgeMap, kappa: float = 1.5) -> ScoreTables:
    groups = grouped(edges)
    near = affinities(groups, gamma=2.0)
    return score_tables(edges.magnitude, groups, near, min_edge=0.1, kappa=kappa)


def scorer_of(edges: EdgeMap, kappa: float = 1.5) -> Callable[[reference.Box], np.float32]:
    tables = tabled(edges, kappa)
    scratch = scratch_for(len(tables.masses))
    return lambda box: box_score(tables, scratch, box, np.float32(0.01))


@pytest.mark.parametrize("seed", range(6))
def test_groups_against_the_reference(seed: int) -> None:
    edges = random_edges(seed)
    found = grouped(edges)
    pieces: list[list[reference.Pixel]] = [[] for _ in found.masses]
    for column, row in np.argwhere(found.members.T >= 0).tolist():
        pieces[found.members[row, column]].append((row, column))
    assert pieces == reference.groups(edges.magnitude, edges.orientation, 0.1, 0.5, 0.5)
    for g, pixels in enumerate(pieces):
        expected = reference.piece(pixels, edges.magnitude, edges.orientation)
        assert tuple(found.places[g].tolist()) == expected.place
        assert found.centres[g].tolist() == [expected.x, expected.y]
        assert (found.masses[g], found.orientations[g]) == (expected.mass, expected.direction)
        means = np.average(pixels, axis=0, weights=[edges.magnitude[p] for p in pixels])
        assert found.centres[g] == pytest.approx(means[::-1], rel=1e-5)


@pytest.mark.parametrize(("seed", "gamma"), [(0, 2.0), (1, 2.0), (2, 1.3)])
def test_affinities_against_the_reference(seed: int, gamma: float) -> None:
    edges = random_edges(seed)
    near = affinities(grouped(edges), gamma=gamma)
    expected = reference.Scorer(edges.magnitude, edges.orientation, gamma=gamma).near
    for g, neighbours in enumerate(expected):
        here = slice(near.starts[g], near.starts[g + 1])
        found = list(zip(near.others[here].tolist(), near.values[here].tolist(), strict=True))
        assert found == [pair for pair in neighbours.items() if pair[1] >= np.float32(0.05)]
    assert len(near.starts) == len(expected) + 1
    assert 0 < len(near.values) < sum(map(len, expected))


@pytest.mark.parametrize(("seed", "kappa"), [(0, 1.5), (1, 1.5), (2, 1.7), (3, 1.3)])
def test_scores_of_boxes_against_the_reference(seed: int, kappa: float) -> None:
    edges = random_edges(seed)
    score = scorer_of(edges, kappa)
    expected = reference.Scorer(edges.magnitude, edges.orientation, kappa=kappa)
    random = np.random.default_rng(seed)
    positive = 0
    for _ in range(100):
        top, bottom = np.sort(random.integers(22, size=2)).tolist()
        left, right = np.sort(random.integers(26, size=2)).tolist()
        box = top, left, bottom, right
        assert score(box) == expected.score(box)
        positive += expected.score(box) > 0
    assert positive >= 3


@pytest.mark.parametrize(("seed", "changes"), [(0, {}), (1, {"alpha": 0.7, "beta": 0.9, "eta": 0.99})])
def test_proposals_against_the_reference(seed: int, changes: dict[str, float]) -> None:
    edges = random_edges(seed, 40, 46)
    found = default(min_area_px=300.0, max_boxes=60, **changes).from_edges(edges)
    boxes, scores = reference.edge_boxes(
        edges.magnitude, edges.orientation, min_area=300.0, max_boxes=60, **changes
    )
    assert found.boxes[:, [1, 0, 3, 2]].tolist() == boxes.tolist()
    assert found.scores.tolist() == scores.tolist()
    assert len(found) > 20


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


def test_a_pixel_turns_from_the_one_that_saw_it_first() -> None:
    """From the seed, in units of pi: 0.2 to the pixel below, 0.3 to the one beside, which stays out.

    From the pixel below it would be only 0.1, and the sum 0.3.
    """
    magnitude, orientation = np.zeros((2, 4, 4), np.float32)
    magnitude[[1, 2, 1], [1, 1, 2]] = 1
    orientation[2, 1], orientation[1, 2] = 0.2 * math.pi, 0.3 * math.pi
    groups = group_edges(EdgeMap(magnitude, orientation), min_edge=0.1, max_turn=0.4, min_mass=0.5)
    assert groups.members[1:3, 1:3].tolist() == [[0, 1], [0, -1]]


def test_masses_are_summed_in_single_precision() -> None:
    """Five times 0.1 is 0.5 in float32, too weak, and more than 0.5 in float64."""
    magnitude = np.zeros((3, 7), np.float32)
    magnitude[1, 1:6] = 0.1
    edges = EdgeMap(magnitude, np.zeros_like(magnitude))
    assert magnitude.sum(dtype=np.float64) > 0.5
    assert len(group_edges(edges, min_edge=0.05, max_turn=0.5, min_mass=0.5).masses) == 0


def test_groups_meet_where_the_lower_one_is_two_pixels_from_the_border() -> None:
    """Two level strokes, end to end: in row 1 they are no neighbours, in row 2 they are."""
    for row, count in ((1, 0), (2, 2)):
        magnitude, orientation = np.zeros((2, 7, 12), np.float32)
        magnitude[row, 1:9] = 1
        orientation[row, 1:5], orientation[row, 5:9] = 0.3 * math.pi, 0.7 * math.pi
        edges = EdgeMap(magnitude, orientation)
        groups = group_edges(edges, min_edge=0.1, max_turn=0.3, min_mass=0.5)
        assert len(groups.masses) == 2
        assert len(affinities(groups, gamma=2.0).values) == count


def stroke(row: int) -> EdgeMap:
    magnitude = np.zeros((40, 40), np.float32)
    magnitude[row, 10:25] = 1
    return EdgeMap(magnitude, np.full_like(magnitude, math.pi / 2))


def test_the_largest_box_of_an_image_of_odd_sides_has_a_score() -> None:
    magnitude = np.zeros((41, 43), np.float32)
    magnitude[5, 10:25] = 1
    score = scorer_of(EdgeMap(magnitude, np.full_like(magnitude, math.pi / 2)))
    assert score((0, 0, 40, 42)) == pytest.approx(15 / (20 + 21) ** 1.5)


def test_groups_are_followed_down_to_the_weakest_affinity_and_no_circle_is_endless() -> None:
    """The first of three groups crosses the top of the box and continues in the second, and back."""
    members = np.full((40, 40), -1, np.int32)
    members[10, 15:20], members[12, 15:20], members[14, 15:20] = 0, 1, 2
    magnitude, masses = (members >= 0).astype(np.float32), np.full(3, 5, np.float32)
    places = np.array([[10, 19], [12, 19], [14, 19]], np.int32)
    groups = EdgeGroups(members, masses, np.zeros((3, 2), np.float32), np.zeros(3, np.float32), places)
    near = Affinities(
        np.array([0, 1, 3, 4]),
        np.array([1, 0, 2, 1], np.int32),
        np.array([1, 1, WEAKEST, WEAKEST], np.float32),
    )
    tables = score_tables(magnitude, groups, near, min_edge=0.1, kappa=1.5)
    found = box_score(tables, scratch_for(3), (10, 2, 38, 36), np.float32(0.01))
    assert found == pytest.approx(5 * (1 - 0.05) / (14 + 17) ** 1.5)


def test_the_last_row_and_column_of_a_box_are_its_border() -> None:
    """A stroke of 15 counts inside and not on the border, which is where the sides are, at both ends."""
    norm = 1 / (10 + 10) ** 1.5
    score = scorer_of(stroke(20))
    assert score((19, 8, 39, 28)) == pytest.approx(15 * norm)
    assert score((20, 8, 39, 28)) == 0
    assert score((1, 8, 21, 28)) == pytest.approx(15 * norm)
    assert score((1, 8, 20, 28)) == 0
    assert score((0, 8, 19, 28)) == 0
    beside = scorer_of(EdgeMap(stroke(20).magnitude.T.copy(), np.zeros((40, 40), np.float32)))
    assert beside((8, 1, 28, 21)) == pytest.approx(15 * norm)
    assert beside((8, 1, 28, 20)) == 0


def test_the_middle_of_a_box_is_taken_off_to_its_last_row() -> None:
    """The middle of rows 10 to 30 is 15 to 25, and of columns 6 to 26 it is 11 to 21: 11 pixels."""
    norm = 1 / (10 + 10) ** 1.5
    for row, taken in ((14, 0), (15, 11), (25, 11), (26, 0)):
        assert scorer_of(stroke(row))((10, 6, 30, 26)) == pytest.approx((15 - taken) * norm)


def test_boxes_end_at_the_last_row_and_column() -> None:
    boxes, _ = search(tabled(random_edges(5, 70, 80)), BoxGrid(0.65, 3.0, 400.0), min_score=1e-3)
    assert (boxes >= 0).all()
    assert boxes[:, 2:].max(axis=0).tolist() == [69, 79]


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


def test_what_is_below_the_least_score_is_left_out() -> None:
    tables = tabled(random_edges(5, 70, 80))
    boxes, scores = search(tables, BoxGrid(0.65, 3.0, 400.0), min_score=0.02)
    assert len(boxes)
    assert (scores >= 0.02).all()
    scratch = scratch_for(len(tables.masses))
    again = [box_score(tables, scratch, tuple(box.tolist()), np.float32(0.02)) for box in boxes]
    assert again == scores.tolist()


@pytest.mark.parametrize(
    ("seed", "alpha", "size", "ratio"),
    [(0, 0.65, (44, 50), 3.0), (1, 0.7, (44, 50), 3.0), (2, 0.65, (19, 80), 6.0)],
)
def test_every_box_of_the_grid_is_refined_as_the_reference_does(
    seed: int, alpha: float, size: tuple[int, int], ratio: float
) -> None:
    edges = random_edges(seed, *size)
    score = scorer_of(edges)
    boxes, scores = search(tabled(edges), BoxGrid(alpha, ratio, 500.0), min_score=0.01)
    looked_at = reference.grid(*size, alpha, ratio, 500.0)
    refined = [reference.refine(box, score, *size, alpha) for box in looked_at if score(box) > 0]
    assert len(looked_at) > len(refined) > 20
    assert [tuple(box) for box in boxes.tolist()] == [box for box, _ in refined]
    assert scores.tolist() == [value for _, value in refined]
    assert any(box not in looked_at for box, _ in refined)


def test_refinement_ends_when_whole_steps_are_at_most_two() -> None:
    """Steps of int(28 * 0.35 / 1.65) = 5 are 2 in the first round already: the boxes stay as they were.

    With sides of 29 they are 6, and 3 in the first round.
    """
    for side, moves in ((28, False), (29, True)):
        grid = BoxGrid(0.65, 1.0, side**2)
        assert int(side * grid.step) // 2 == (3 if moves else 2)
        edges = random_edges(3, side + 5, side + 5)
        boxes, _ = search(tabled(edges), grid, min_score=1e-3)
        looked_at = reference.grid(side + 5, side + 5, 0.65, 1.0, side**2)
        assert len(boxes)
        assert any(tuple(box) not in looked_at for box in boxes.tolist()) == moves


def test_no_box_begins_where_it_would_leave_the_image_by_a_whole_step() -> None:
    """A box of 32 in 26 rows: the step is int(32 * 0.35 / 1.65) = 6, and 26 - 32 + 6 leaves no row."""
    assert len(reference.starts(26, 32, 0.65)) == 0
    assert len(reference.starts(27, 32, 0.65)) == 1
    step = BoxGrid(0.65, 3.0, 1000.0).step
    shape = np.array([[32, 32]])
    assert len(_place(shape, step, 26, 40)) == 0
    assert len(_place(shape, step, 27, 40)) == len(reference.starts(40, 32, 0.65))


def test_steps_are_cut_in_single_precision() -> None:
    """0.4 / 1.6 is less than a quarter in float32: steps of 20 pixels are 4, not 5."""
    boxes = _place(np.array([[20, 20]]), BoxGrid(0.6, 3.0, 400.0).step, 40, 20)
    assert boxes[:, 0].tolist() == [0, 4, 8, 12, 16, 20]


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.65, 0.75, 0.85, 0.95])
@pytest.mark.parametrize("min_area", [16.0, 400.0, 1000.0, 1e6])
def test_shapes_against_the_reference(alpha: float, min_area: float) -> None:
    for ratio in (1.0, 3.0, 4.0):
        found = BoxGrid(alpha, ratio, min_area).shapes(300, 500).tolist()
        assert found == [list(s) for s in reference.shapes(300, 500, alpha, ratio, min_area)]


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


@pytest.mark.parametrize("tenths", [6, 7, 8, 9])
def test_a_box_that_overlaps_by_just_the_limit_stays(tenths: int) -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, tenths]])
    assert suppress(boxes, iou=tenths / 10, eta=1.0, at_most=None).tolist() == [0, 1]
    assert suppress(boxes, iou=tenths / 10 - 1e-6, eta=1.0, at_most=None).tolist() == [0]


def test_boxes_of_all_areas_that_overlap_too_much_are_compared() -> None:
    for limit in (0.5, 0.6, 0.75, 0.9):
        for one, other in itertools.combinations(range(20, 75), 2):
            kept = suppress(np.array([[0, 0, 10, one], [0, 0, 10, other]]), iou=limit, eta=1.0, at_most=None)
            assert len(kept) == (2 if np.float32(one) / np.float32(other) <= np.float32(limit) else 1)


def test_above_99_hundredths_nothing_is_suppressed() -> None:
    twins = np.array([[0, 0, 9, 9]] * 2)
    kept = [suppress(twins, iou=iou, eta=1.0, at_most=None).tolist() for iou in (0.99, 0.991)]
    assert kept == [[0], [0, 1]]


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
    Image.new("L", (3, 3)).save(tmp_path / "w.png", "PCX")  # Pillow reads it, and OpenCV does not
    for name, said in (("w", "cannot"), ("x", "NumPy archive"), ("y", "3 channels"), ("z", "cannot be read")):
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
