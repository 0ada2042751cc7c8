"""Files as voc-release5 writes them, made by SciPy from random models."""

import numpy as np
import pytest
from scipy.io import savemat

from detkit.detectors.dpm.release5 import read_release5
from detkit.errors import UserError
from detkit.models.hog.dpm_features import MIRRORED
from detkit.models.hog.feature_pyramid import FeaturePyramid
from tests.detectors.dpm.small_models import random_mixture


def _cell(values):
    cells = np.empty((1, len(values)), object)
    for place, value in enumerate(values):
        cells[0, place] = value
    return cells


def _structs(records):
    names = list(records[0])
    rows = np.empty((1, len(records)), dtype=[(name, object) for name in names])
    for place, record in enumerate(records):
        for name in names:
            rows[0, place][name] = record[name]
    return rows


class Writer:
    """Writes mixtures as release 5 does: blocks of weights, filters and symbols, rules of a grammar."""

    def __init__(self, mixture, **fields):
        self.blocks = [
            {"w": np.zeros(3), "shape": [1, 3], "type": "O"},
            {"w": 0.0, "shape": [1, 1], "type": "O"},
        ]
        self.filters, self.symbols, self.rules = [], [{"type": "N", "filter": np.zeros((1, 0))}], [None]
        self.stars, self.fields, predictions = [], fields, []
        for star in mixture.stars:
            location = self.block(star.location.numpy(), [1, 3])
            offset = self.block(float(star.offset) / 10, [1, 1])
            root = self.block(star.root.double().numpy(), star.root.shape)
            rigid = self.block(np.array([1000.0, 0, 1000, 0]), [1, 4])
            parts = [self.block(part.double().numpy(), part.shape) for part in star.parts]
            moves = [self.block(values, [1, 4]) for values in star.deformations.numpy()]
            for flip in range(1 + star.is_mirrored):
                anchors = [[0, 0, 0]]
                for x, y in star.anchors.tolist():
                    anchors.append([2 * star.root.shape[1] - star.parts.shape[2] - x if flip else x, y, 1])
                rhs = [self.moving(root, rigid, flip, star.root.shape)]
                rhs += [
                    self.moving(part, move, flip, star.parts.shape[1:])
                    for part, move in zip(parts, moves, strict=True)
                ]
                rule = {"type": "S", "rhs": rhs, "detwindow": star.root.shape[:2], "shiftwindow": [0, 0]}
                rule |= {
                    "anchor": _cell(anchors),
                    "offset": {"blocklabel": offset},
                    "loc": {"blocklabel": location},
                }
                self.stars.append(rule)
                if star.box is not None:
                    box = star.box[flip].numpy()[:, :, None]
                    predictions.append(dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)))
        sizes = [star.root.shape[:2] for star in mixture.stars]
        self.model = {
            "type": "M",
            "sbin": 8,
            "interval": 10,
            "start": 1,
            "thresh": -0.5,
            "maxsize": np.max(sizes, axis=0).astype(float),
        }
        self.model |= {"class": "cat", "year": "2007", "bboxpred": _cell(predictions).T}
        self.model["features"] = {"dim": 32, "truncation_dim": 32, "extra_octave": 0, "bias": 10}
        self.model |= fields

    def block(self, weights, shape):
        weights = np.asarray(weights).reshape(shape).ravel(order="F")
        self.blocks.append({"w": weights[:, None], "shape": list(shape), "type": "F"})
        return len(self.blocks)

    def moving(self, weights, move, flip, shape):
        self.filters.append({"blocklabel": weights, "size": list(shape[:2]), "flip": flip})
        self.symbols += [
            {"type": "T", "filter": len(self.filters)},
            {"type": "N", "filter": np.zeros((1, 0))},
        ]
        part = {
            "type": "D",
            "rhs": [len(self.symbols) - 1],
            "offset": {"blocklabel": 2},
            "loc": {"blocklabel": 1},
        }
        self.rules += [None, _structs([part | {"def": {"blocklabel": move, "flip": flip}}])]
        return len(self.symbols)

    def write(self, file):
        self.rules[0] = _structs(self.stars)
        rules = _cell([np.zeros((1, 0)) if rule is None else rule for rule in self.rules])
        lists = {name: _structs(getattr(self, name)) for name in ("blocks", "filters", "symbols")}
        savemat(file, {"model": self.model | lists | {"rules": rules}}, do_compression=True)
        return file


@pytest.mark.parametrize("mirrored", [True, False])
def test_a_file_gives_the_mixture_it_was_written_from(tmp_path, mirrored):
    mixture = random_mixture(0, [(3, 4), (4, 3)], 2, mirrored=mirrored)
    read = read_release5(Writer(mixture).write(tmp_path / "cat_final.mat"))
    assert (read.name, read.pyramid) == ("cat", FeaturePyramid())
    assert float(read.mixture.threshold) == -1
    found, wanted = read.mixture.components(), mixture.components()
    assert len(found) == len(wanted) == 2 + 2 * mirrored
    for one, other in zip(found, wanted, strict=True):
        for name in ("root", "parts", "anchors", "deformations", "location", "box"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert one.offset == pytest.approx(other.offset)
    for name, value in mixture.state_dict().items():
        if not name.endswith("threshold"):
            np.testing.assert_allclose(read.mixture.state_dict()[name], value, rtol=1e-12, err_msg=name)


def test_blocks_are_told_for_statistics(tmp_path):
    read = read_release5(Writer(random_mixture(0, [(3, 4)], 2)).write(tmp_path / "x.mat"))
    assert read.num_blocks == 10
    assert read.labels == ((3, 2, 4, 8, 6, 9, 7),) * 2  # offset, location, root; each part's move and filter


def test_weights_that_are_no_mirror_images_are_components_of_their_own(tmp_path):
    writer = Writer(random_mixture(0, [(3, 4)], 2))
    writer.stars[1]["anchor"][0, 1][0] += 1
    read = read_release5(writer.write(tmp_path / "x.mat"))
    assert [star.is_mirrored for star in read.mixture.stars] == [False, False]
    np.testing.assert_array_equal(
        read.mixture.stars[1].root, read.mixture.stars[0].root.numpy()[:, ::-1, MIRRORED]
    )


def test_a_low_threshold_stays_and_boxes_may_be_missing(tmp_path):
    mixture = random_mixture(0, [(3, 4)], 1, predicts_box=False)
    writer = Writer(mixture, thresh=-1.25)
    del writer.model["bboxpred"]
    read = read_release5(writer.write(tmp_path / "x.mat"))
    assert float(read.mixture.threshold) == -1.25
    assert read.mixture.stars[0].box is None


def _change(path, value):
    def apply(writer):
        *way, last = path
        at = {"model": writer.model, "blocks": writer.blocks, "filters": writer.filters}[way[0]]
        for step in way[1:]:
            at = at[step]
        at[last] = value

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change(["model", "type"], "G"), "its model is of type 'G', a grammar such as the person grammar"),
        (_change(["model", "interval"], 0), "interval 0 and sbin 8 make no pyramid"),
        (_change(["model", "sbin"], 7), "interval 10 and sbin 7 make no pyramid"),
        (_change(["model", "features", "dim"], 31), "features of 31 channels; they must have 32"),
        (_change(["model", "maxsize"], [9.0, 9.0]), "its largest window"),
        (_change(["model", "start"], 99), "not a model of voc-release5"),
        (_change(["model", "thresh"], np.nan), "a number is not finite"),
        (_change(["model", "sbin"], "text"), "not a model of voc-release5"),
        (_change(["blocks", 4, "w"], np.full((384, 1), np.nan)), "weights that are not finite numbers"),
        (_change(["blocks", 4, "w"], np.zeros((7, 1))), "not a model of voc-release5"),
        (_change(["blocks", 4, "shape"], [2**31 - 1, 2**31 - 1, 32]), "not a model of voc-release5"),
        (_change(["blocks", 5, "w"], np.zeros((4, 1))), "its components are no stars"),
        (_change(["blocks", 1, "w"], 1.0), "scores of their own, which stars have not"),
        (_change(["filters", 0, "blocklabel"], 0), "0 is no number of a symbol, a filter or a block"),
        (_change(["filters", 0, "blocklabel"], -3), "-3 is no number"),
        (lambda w: w.stars[0]["anchor"][0, 1].__setitem__(2, 2), "its components are no stars"),
        (lambda w: w.stars[0].__setitem__("detwindow", [9, 9]), "windows that are not those of their root"),
        (lambda w: w.stars[0]["rhs"].pop(), "the start has no structural rules"),
    ],
)
def test_what_is_no_mixture_of_stars_is_refused(tmp_path, change, message):
    writer = Writer(random_mixture(0, [(3, 4)], 2))
    change(writer)
    with pytest.raises(UserError, match=message):
        read_release5(writer.write(tmp_path / "x.mat"))


def test_other_files_are_refused(tmp_path):
    savemat(tmp_path / "x.mat", {"boxes": 1, "other": 2})
    with pytest.raises(UserError, match=r"must hold `model`.* it holds 'boxes', 'other'"):
        read_release5(tmp_path / "x.mat")
    savemat(tmp_path / "x.mat", {"model": 3.0})
    with pytest.raises(UserError, match="not a model of voc-release5"):
        read_release5(tmp_path / "x.mat")
    savemat(tmp_path / "x.mat", {"model": {"type": "M"}})
    with pytest.raises(UserError, match="not a model of voc-release5"):
        read_release5(tmp_path / "x.mat")
