from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from typer.testing import CliRunner

from detkit.cli.app import app
from detkit.data.images import decode_image
from detkit.errors import UserError
from detkit.report.draw import draw_detections, encoded, write_image
from detkit.runs.predictor import build_predictor, load_detector
from detkit.workflows.import_model import import_model
from detkit.workflows.predict import predict
from tests.detectors.dpm.small_models import picture, random_mixture
from tests.detectors.dpm.test_release5 import Writer


def written(folder: Path, name: str, seed: int, **fields: object) -> Path:
    mixture = random_mixture(seed, [(3, 4), (4, 3)], 2)
    return Writer(mixture, **{"class": name, "interval": 2, **fields}).write(folder / f"{name}_final.mat")


def test_models_of_several_classes_become_one_that_finds_what_each_would(tmp_path: Path) -> None:
    files = [written(tmp_path, "cat", 0), written(tmp_path, "dog", 1)]
    made = import_model(files, "voc-release5", out=tmp_path / "both.safetensors")
    assert (made.arch, made.classes, made.missing) == ("dpm", ("cat", "dog"), ())
    both, image = load_detector(made.out).model, picture(44, 60)
    for label, file in enumerate(files):
        alone = load_detector(import_model(file, "voc-release5").out).model
        assert (tmp_path / f"{file.stem}.safetensors").is_file()
        found, own = both.placements(image)[label], alone.placements(image)[0]
        assert len(own) > 5
        np.testing.assert_array_equal(found.scores, own.scores)
        np.testing.assert_array_equal(found.filters, own.filters)
    shown = build_predictor(made.out, "cpu").predict(image, threshold=0)
    assert set(shown.names) == {"cat", "dog"}
    assert len(shown) == sum(
        len(both.objects(label, found, (44, 60))[1]) for label, found in enumerate(both.placements(image))
    )


def test_what_is_drawn_shows_the_parts_where_they_are(tmp_path: Path) -> None:
    made = import_model(written(tmp_path, "cat", 0), "voc-release5")
    image = picture(66, 90)
    write_image(tmp_path / "a.png", image)
    folder, _ = predict(made.out, tmp_path / "a.png", out=tmp_path / "out", draw=True, threshold=0.9)
    model = load_detector(made.out).model
    [found] = model.placements(image)
    boxes, kept = model.objects(0, found, (66, 90))
    scores = 1 / (1 + np.exp(-found.scores[kept]))
    sure = scores >= 0.9
    assert 0 < sure.sum() < len(sure)
    columns = boxes[sure], np.zeros(sure.sum(), int), scores[sure]
    expected = draw_detections(image, *columns, ("cat",), parts=found.filters[kept[sure], 1:])
    assert [file.name for file in (folder / "filters").iterdir()] == ["cat.png"]
    np.testing.assert_array_equal(decode_image(folder / "filters" / "cat.png"), model.filter_pictures()[0])
    assert (folder / "drawn" / "a.jpg").read_bytes() == encoded(".jpg", expected)
    shown = build_predictor(made.out, "cpu").predict(image, threshold=0.9)
    np.testing.assert_array_equal(np.asarray(shown.draw()), expected)
    np.testing.assert_allclose(shown.parts, found.filters[kept[sure], 1:], rtol=1e-6)


def test_a_cascade_is_imported_with_its_statistics(tmp_path: Path) -> None:
    file = written(tmp_path, "cat", 0)
    folder, generator = tmp_path / "star-cascade", np.random.default_rng(0)
    folder.mkdir()
    savemat(folder / "pca.mat", {"coeff": np.eye(31)})
    scores = 1 + generator.random((20, 1 + 18))  # of 18 blocks, none of them 0
    savemat(folder / "cat_2007_cascade_data_no_pca_2007.mat", {"scores": scores})
    savemat(folder / "cat_2007_cascade_data_pca_5_2007.mat", {"pca_scores": scores})
    out = tmp_path / "staged.safetensors"
    made = import_model(file, "voc-release5", out=out, cascade=folder, cascade_threshold=1.5)
    loaded = load_detector(made.out)
    assert loaded.config.detector.cascade.model_dump() == {"channels": 6, "threshold": 1.5}
    star = loaded.model.mixtures[0].stars[0]
    assert sorted(star.order[:3].tolist()) == [0, 1, 2]
    assert star.limits[-1] == 1.5
    assert loaded.model.projection.sum() == 6
    found = loaded.model.placements(picture(44, 60))[0]
    assert (found.scores >= 1.5 - 1e-5).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class": "cat"}, "more than one file is for class 'cat'"),
        ({"interval": 3}, r"dog_final.mat: interval is 3, and 2 in .*cat_final.mat"),
        ({"sbin": 4}, "sbin is 4, and 8 in"),
    ],
)
def test_models_that_do_not_go_together_are_refused(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    files = [written(tmp_path, "cat", 0), written(tmp_path, "dog", 1, **fields)]
    with pytest.raises(UserError, match=message):
        import_model(files, "voc-release5")


def test_other_sources_and_files_that_are_there_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "cat", 0)
    with pytest.raises(UserError, match=r"voc-release4.*must be one of .*voc-release5"):
        import_model(file, "voc-release4")
    import_model(file, "voc-release5")
    with pytest.raises(UserError, match="exists already, and results are never overwritten"):
        import_model(file, "voc-release5")
    with pytest.raises(UserError, match="2 names"):
        import_model(file, "voc-release5", classes=("a", "b"), out=tmp_path / "x.safetensors")


def test_the_command_writes_the_file_and_says_what_it_is(tmp_path: Path) -> None:
    file, out = written(tmp_path, "cat", 0), tmp_path / "a.safetensors"
    arguments = ["import", str(file), "--from", "voc-release5", "--out", str(out), "--json", "-"]
    arguments += ["--class", "katze", "detector.nms_share=0.4"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    keys = ["arch", "classes", "parameters", "unused", "missing", "out"]
    said = json.loads(result.stdout)
    assert list(said) == keys
    assert (said["arch"], said["classes"], said["out"]) == ("dpm", ["katze"], str(out))
    assert load_detector(out).config.detector.nms_share == 0.4
