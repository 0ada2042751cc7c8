import numpy as np
import pytest
import torch
from scipy.io import savemat

from detkit.detectors.dpm.cascade import NEVER, read_statistics, stages_of
from detkit.detectors.dpm.placements import ClassModel
from detkit.detectors.dpm.search import search
from detkit.errors import UserError
from detkit.models.hog.feature_pyramid import FeaturePyramid
from tests.detectors.dpm.small_models import picture, random_mixture
from tests.reference.star_models import REACH, padded

PYRAMID = FeaturePyramid(interval=2)
LOW = -1e9


def _mixture(limits, order=(0, 2, 1), roots=((3, 4), (4, 3)), **flags):
    mixture = random_mixture(1, list(roots), 2, cascades=True, **flags)
    for star in mixture.stars:
        star.order.copy_(torch.tensor(2 * list(order)))
        star.limits.copy_(torch.tensor(limits))
    return mixture


def _search(mixture, threshold, projection=None, size=(52, 66)):
    model = ClassModel(mixture.components(), threshold, projection)
    return search(picture(*size), PYRAMID, [model], 1)[0]


def _few_channels():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(31, 31)))[0]
    projection = np.zeros((32, 6))
    projection[:-1, :-1], projection[-1, -1] = basis[:, :5], 1
    return projection


def test_without_limits_it_finds_what_the_whole_search_finds():
    mixture = _mixture([LOW] * 11 + [1.0], roots=[(3, 4)])
    staged = _search(mixture, 1.0, _few_channels())
    for number, component in enumerate(mixture.components()):
        [whole] = search(picture(52, 66), PYRAMID, [ClassModel([component], 1.0)], 1)
        own = staged.part(staged.components == number)
        inside = [root in own.roots.tolist() for root in whole.roots.tolist()]
        # It does not look at roots more than half outside.
        assert set(np.flatnonzero(~np.array(inside))) <= set(np.flatnonzero(~_well_inside(whole, own)))
        # The anchor of a part may lie beyond its last place here, which the whole search does not allow.
        known = np.array([root in whole.roots.tolist() for root in own.roots.tolist()])
        assert known.sum() > 10
        assert (own.roots[~known, 1:].max(1) >= 6).all()
        found, own = whole.part(np.array(inside)), own.part(known)
        np.testing.assert_array_equal(found.roots, own.roots)
        np.testing.assert_allclose(found.scores, own.scores, atol=1e-9)
        np.testing.assert_array_equal(found.filters, own.filters)


def _well_inside(found, looked_at):
    """Whether each root lies between the outermost ones that the cascade found at its level."""
    inside = np.zeros(len(found), bool)
    for level in set(looked_at.roots[:, 0]):
        own = looked_at.roots[looked_at.roots[:, 0] == level, 1:]
        here = found.roots[:, 0] == level
        inside |= here & ((found.roots[:, 1:] >= own.min(0)) & (found.roots[:, 1:] <= own.max(0))).all(1)
    return inside


def test_a_root_below_a_limit_of_a_stage_is_given_up():
    few = _few_channels()
    everything = _search(_mixture([LOW] * 11 + [1.0], mirrored=False, roots=[(3, 4)]), 1.0, few)
    sums = _partial_sums(
        everything, _mixture([LOW] * 12, mirrored=False, roots=[(3, 4)]).components()[0], few
    )
    assert len(everything) > 20
    for stage in range(5):
        limit = float(np.median(sums[:, stage]))
        limits = [LOW] * 11 + [1.0]
        limits[2 * stage + 1] = limit
        found = _search(_mixture(limits, mirrored=False, roots=[(3, 4)]), 1.0, few)
        kept = np.abs(sums[:, stage] - limit) > 1e-4  # too near to tell
        wanted = everything.roots[(sums[:, stage] >= limit) & kept].tolist()
        got = [root for root in found.roots.tolist() if root not in everything.roots[~kept].tolist()]
        assert got == wanted, stage


def _partial_sums(found, component, projection):
    """Return the score of each placement before each stage but the first, as the slow sum of its filters."""
    levels = {
        level.number: level.features for phase in range(2) for level in PYRAMID.levels(picture(52, 66), phase)
    }
    sums = []
    for level, y, x in found.roots.tolist():
        scores = {}
        for name, basis in (("few", projection), ("all", np.eye(32))):
            coarse = padded(levels[level], 3, 4) @ basis
            fine = padded(levels[level - 2], 3, 4) @ basis
            root = component.root @ basis
            parts = [(coarse[y : y + 3, x : x + 4] * root).sum()]
            for weights, (ax, ay), (a, b, c, d) in zip(
                component.parts @ basis, component.anchors, component.deformations, strict=True
            ):
                row, column = 2 * y + ay - 3, 2 * x + ax - 4
                options = [
                    (fine[v : v + 3, u : u + 3] * weights).sum()
                    - a * (column - u) ** 2
                    - b * (column - u)
                    - c * (row - v) ** 2
                    - d * (row - v)
                    for v in range(max(row - REACH, 0), min(row + REACH, fine.shape[0] - 3) + 1)
                    for u in range(max(column - REACH, 0), min(column + REACH, fine.shape[1] - 3) + 1)
                ]
                parts.append(max(options))
            scores[name] = parts
        (root, one, two), (full, _, second) = scores["few"], scores["all"]
        bias = component.offset + component.location_at(level // 2)
        sums.append(bias + np.cumsum([root, two, one, full - root, second - two]))
    return np.array(sums)


def test_a_part_is_not_looked_for_where_moving_costs_more_than_is_left():
    few = _few_channels()
    mixture = _mixture([LOW] * 11 + [-3.0], mirrored=False, roots=[(3, 4)])
    free = _search(mixture, -3.0, few)
    sums = _partial_sums(free, mixture.components()[0], few)
    counts = [len(free)]
    for share in (0.5, 1.0):
        limits = [LOW] * 11 + [-3.0]
        limits[2] = (
            float(np.quantile(sums[:, 0], share)) + share
        )  # what a root and a part need, less its cost
        counts.append(len(_search(_mixture(limits, mirrored=False, roots=[(3, 4)]), -3.0, few)))
    assert counts[0] > counts[1] > counts[2]


def test_parts_score_the_same_whether_computed_at_once_or_where_they_are_looked_for(monkeypatch):
    few, counts = _few_channels(), []
    everything = _search(_mixture([LOW] * 11 + [1.0]), 1.0, few)
    for limits in ([LOW] * 11 + [1.0], [LOW, 0.0, 2.5, 0.0, 1.5, 0.0] + [LOW] * 5 + [1.0]):
        found = []
        for many in (0.0, 1.0):
            monkeypatch.setattr("detkit.detectors.dpm.stage_search._MANY", many)
            found.append(_search(_mixture(limits), 1.0, few))
        at_once, one_by_one = found
        np.testing.assert_array_equal(at_once.roots, one_by_one.roots)
        np.testing.assert_array_equal(at_once.filters, one_by_one.filters)
        counts.append(len(at_once))
    assert counts[0] == len(everything) > counts[1] > 10


def test_stages_lose_no_positive_and_take_the_part_that_says_most_first():
    generator = np.random.default_rng(0)
    full = generator.normal(size=(50, 4, 2)) * np.array([1, 0.1, 3, 1])[None, :, None]
    full[:, 0, 0] = 0
    coarse = full + 0.1 * generator.normal(size=full.shape)
    bias = generator.normal(size=50)
    stages = stages_of(coarse, full, bias + 0.1, bias, -0.5)
    assert stages.order.tolist() == [0, 2, 3, 1] * 2
    sums = []
    for row in range(50):
        few, every = (values[row, [0, 2, 3, 1]].ravel() for values in (coarse, full))
        first = [few[:end].sum() + bias[row] + 0.1 for end in range(1, 9)]
        second = [few[at:].sum() + every[:at].sum() + bias[row] for at in range(1, 8)]
        sums.append(first + second)
    np.testing.assert_allclose(stages.limits, [*np.min(sums, axis=0), -0.5])


def test_a_component_without_positives_is_never_looked_for():
    stages = stages_of(np.zeros((0, 3, 2)), np.zeros((0, 3, 2)), np.zeros(0), np.zeros(0), -0.5)
    assert stages.order.tolist() == [0, 1, 2] * 2
    assert set(stages.limits.tolist()) == {NEVER}


def _write(folder, scores, few, coeff=None):
    (folder / "data").mkdir(exist_ok=True)
    savemat(folder / "pca.mat", {"coeff": np.eye(31) if coeff is None else coeff})
    savemat(folder / "data" / "cat_2007_cascade_data_no_pca_2007.mat", {"scores": scores})
    savemat(folder / "data" / "cat_2007_cascade_data_pca_5_2007.mat", {"pca_scores": few})


def test_statistics_of_a_component_are_those_of_its_blocks(tmp_path):
    # Columns: the score, then blocks 0 to 4: offset, location, root, cost, part; two positives are another's.
    scores = np.array([[1, 2, 0.5, 1, -1, 3], [-1, 2, 0, 0, 0, 0], [0, 0, 9, 9, 9, 9], [2, 1, 0, 4, -2, 1.0]])
    _write(tmp_path, scores, scores + np.array([0, 0, 0, 0.25, 0, 0]) * (scores[:, 1:2] != 0))
    statistics = read_statistics(tmp_path, "cat", "2007", 5)
    stages = statistics.stages((0, 1, 2, 3, 4), -0.5)
    assert stages.order.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(stages.limits, [1, 3.75, 2.75, 4.25, 4.25, 4, 4, -0.5])
    assert statistics.projection.shape == (32, 6)
    assert statistics.projection.sum() == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "pca.mat").unlink(), "must hold pca.mat, cat_2007_cascade_data_no_pca_2007.mat"),
        (lambda f: (f / "data/cat_2007_cascade_data_pca_5_2007.mat").unlink(), "must hold pca.mat, cat_2007"),
        (lambda f: savemat(f / "pca.mat", {"coeff": np.eye(7)}), "coeff must be 31 x 31, and is 7 x 7"),
        (lambda f: savemat(f / "pca.mat", {"other": np.eye(31)}), "must hold a matrix coeff"),
        (lambda f: _write(f, np.zeros((3, 5)), np.zeros((3, 5))), "scores must be any x 6, and is 3 x 5"),
        (lambda f: _write(f, np.zeros((3, 6)), np.zeros((2, 6))), "pca_scores must be 3 x 6, and is 2 x 6"),
        (lambda f: _write(f, np.full((3, 6), np.inf), np.zeros((3, 6))), "values that are not finite"),
    ],
)
def test_other_statistics_are_refused(tmp_path, change, message):
    _write(tmp_path, np.zeros((3, 6)), np.zeros((3, 6)))
    change(tmp_path)
    with pytest.raises(UserError, match=message):
        read_statistics(tmp_path, "cat", "2007", 5)
