from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from detkit.__main__ import main
from detkit.config.schema import Config
from detkit.data.synthetic.dataset import write_synthetic
from detkit.errors import UserError
from detkit.lineage import common_settings as lineage_ground
from detkit.lineage.chain import CHAIN, REGIONS_PER_IMAGE, Ground, Terms
from detkit.lineage.common_settings import EMBEDDED, PHOTOS, backbone_of, terms_for
from detkit.lineage.losses import REASONS
from detkit.lineage.page import Row, ratios_of
from detkit.storage.folder_lock import LOCK
from detkit.workflows import lineage as whole
from detkit.workflows.lineage import Lineage, lineage
from tests.reference.golden import golden_text

TINY = replace(EMBEDDED, width=0.125, boxes=20, regions=128, epochs=1, crop_px=48)
ROW_KEYS = {"detector", "ap50", "ap", "recall", "train_seconds", "test_seconds", "proposal_seconds"}


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lineage_ground, "NUM_DRAWN", {"train": 3, "val": 2})
    monkeypatch.setattr(lineage_ground, "CLASSIFIER_STEPS", 1)


def row(name: str, *, train: float = 1, proposals: float = 1, network: float = 1) -> Row:
    return Row(
        name,
        name,
        2015,
        "",
        0.5,
        0.3,
        0.9,
        100,
        train,
        proposals,
        network,
        1,
        1,
        9,
        dict.fromkeys(REASONS, 1),
    )


def ground(backbone: str) -> Ground:
    terms = Terms(backbone, "none", 1.0, boxes=300, regions=6400, epochs=4, crop_px=96, seed=5)
    return Ground(
        backbone=backbone_of(terms),
        data={
            "classes": ("cat",),
            "train": {"type": "voc", "root": "data", "augment": ({"type": "flip"},)},
            "resize": {"short_px": 400, "long_px": 600},
        },
        anchors={"sizes_px": ((32.0, 64.0),), "ratios": (1.0,)},
        windows={"scales": (0.2,), "ratios": (1.0,)},
        terms=terms,
        num_images=50,
        rate=1e-3,
        cell_px=8,
    )


@pytest.mark.parametrize("backbone", ["resnet18", "alexnet", "caffenet", "zfnet", "vgg16", "googlenet"])
def test_every_detector_takes_every_backbone_on_equal_terms(backbone: str) -> None:
    common = ground(backbone)
    for link in CHAIN:
        config = Config.model_validate(link.config(common))
        assert config.data.val is None
        learning: Any = config.train
        detector: Any = config.detector
        assert config.seed == 5
        if link.name == "sppnet":
            assert detector.backbone.freeze_at == 5
            assert (learning.fine_tune is None) == (detector.head.features == "pool5")
        if learning.type in ("mining", "latent_svm") or (
            learning.type == "staged" and learning.fine_tune is None
        ):
            continue
        if learning.type == "gradient":
            assert learning.epochs == common.terms.epochs
            assert detector.head.batch_per_image == REGIONS_PER_IMAGE
        else:
            regions = learning.fine_tune.steps * learning.fine_tune.batch_size
            assert regions == common.terms.regions


@pytest.mark.parametrize("name", ["resnet", "resnet19", "vgg", "alexnet7", "lenet", ""])
def test_a_backbone_that_is_not_there(name: str) -> None:
    with pytest.raises(UserError, match=r"--backbone .*alexnet, caffenet, zfnet, vgg11"):
        backbone_of(replace(TINY, backbone=name))


def test_terms_depend_on_the_dataset_and_can_be_changed() -> None:
    assert terms_for("synthetic", boxes=None) == EMBEDDED
    assert terms_for("photos", boxes=7, width=None) == replace(PHOTOS, boxes=7)


def test_gains_are_ratios_of_the_two_detectors() -> None:
    rows = [
        row("rcnn", train=90, network=40),
        row("sppnet", network=0.5),
        row("fast_rcnn", train=10, proposals=3, network=1),
        row("faster_rcnn", proposals=0.5, network=1.5),
    ]
    found = {name: ratio.measured for name, ratio in ratios_of(rows).items()}
    assert found == {
        "fast_rcnn_train": 9,
        "sppnet_test": 80,
        "fast_rcnn_test": 40,
        "rpn": 6,
        "faster_rcnn_test": 2,
    }
    assert ratios_of(rows[:1]) == {}


def run(out: Path, *only: str, terms: Terms = TINY, dataset: str = "synthetic") -> Lineage:
    return lineage(dataset, terms, out=out, only=only)


def test_what_is_done_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(tmp_path / "out", "fast_rcnn")
    assert "classifier: the backbone learns to name the objects, cut out\n" in capsys.readouterr().err
    learned: list[str] = []

    def train(config: Config, **options: Any) -> Any:
        learned.append(config.detector.type)
        return actual(config, **options)

    actual = whole.train
    monkeypatch.setattr(whole, "train", train)
    both = run(tmp_path / "out", "fast_rcnn", "faster_rcnn")
    assert learned == ["faster_rcnn"]
    assert both.rows[0] == first.rows[0]
    assert both.pretrain_seconds == first.pretrain_seconds
    text = (tmp_path / "out" / whole.RESULT).read_text("utf-8")
    result = json.loads(text)
    assert text == json.dumps(result, indent=2) + "\n"
    assert result["rows"] == both.to_json()["rows"]
    assert all(set(one) >= ROW_KEYS for one in result["rows"])
    assert set(result["ratios"]) == {"rpn", "faster_rcnn_test"}
    for one in both.rows:
        assert one.train_seconds > 0
        assert one.network_seconds >= 0
        assert one.proposal_seconds > 0
        assert 0 <= one.recall <= 1
        assert one.objects == 3
        assert sum(one.lost.values()) <= one.objects
        assert min(one.train_bytes, one.test_bytes) > 50 << 20
    assert both.rows[0].boxes_per_image == pytest.approx(20)
    page = (tmp_path / "out" / whole.PAGE).read_text("utf-8")
    assert page.count('src="data:image/jpeg') == len(both.rows)  # in the photograph with more objects
    names = ("width", "boxes", "regions", "epochs", "crop_px")
    options = {name.replace("_", "-"): getattr(TINY, name) for name in names}
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    capsys.readouterr()
    out = ["--out", str(tmp_path / "out"), "--detector", "fast_rcnn", "--json", "-"]
    assert main(["lineage", *given, *out]) == 0
    assert json.loads(capsys.readouterr().out) == both.to_json()
    assert learned == ["faster_rcnn"]
    assert "Faster R-CNN" in page
    assert "Faster R-CNN" in (tmp_path / "out" / whole.PAGE).read_text("utf-8")
    with pytest.raises(UserError, match="was begun with boxes 20, not 30"):
        run(tmp_path / "out", terms=replace(TINY, boxes=30))


@pytest.mark.parametrize(
    ("detector", "title"), [("hog_svm", "HOG + SVM"), pytest.param("dpm", "DPM", marks=pytest.mark.slow)]
)
def test_a_detector_that_looks_everywhere_has_no_proposals_to_measure(
    tmp_path: Path, detector: str, title: str
) -> None:
    result = run(tmp_path / "out", detector)
    [one] = result.rows
    assert (one.recall, one.boxes_per_image, one.proposal_seconds) == (None, None, None)
    assert one.test_seconds == one.network_seconds > 0
    [written] = json.loads((tmp_path / "out" / whole.RESULT).read_bytes())["rows"]
    assert (written["recall"], written["proposal_seconds"]) == (None, None)
    assert title in (tmp_path / "out" / whole.PAGE).read_text("utf-8")
    assert one.cells()[2:4] == ["–", "–"]


def test_a_detector_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_synthetic(tmp_path / "data", "voc", 3, 2)
    terms = replace(TINY, weights="none")
    actual = whole.evaluate

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(whole, "evaluate", stop)
    for place, left in (("out", f".{whole.TERMS}.part"), ("out/fast_rcnn", ".config.yaml.part")):
        (tmp_path / place).mkdir()
        for name in (LOCK, left):  # killed before there were files
            (tmp_path / place / name).touch()
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(whole, "train", stop)
            run(tmp_path / "out", "fast_rcnn", terms=terms, dataset=str(tmp_path / "data"))
    with pytest.raises(KeyboardInterrupt, match=r"--out .*out goes on"):
        run(tmp_path / "out", "fast_rcnn", terms=terms, dataset=str(tmp_path / "data"))
    monkeypatch.setattr(whole, "evaluate", actual)
    monkeypatch.setattr(whole, "train", stop)  # it is not learned again
    found = run(tmp_path / "out", "fast_rcnn", terms=terms, dataset=str(tmp_path / "data"))
    assert found.pretrain_seconds is None
    assert [one.detector for one in found.rows] == ["fast_rcnn"]


def test_terms_are_fitted_to_the_time_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic(tmp_path / "data", "voc", 3, 2)
    asked = ["lineage", str(tmp_path / "data"), "--weights", "none", "--width", "0.125", "--boxes", "20"]
    out = ["--detector", "fast_rcnn", "--seed", "3", "--out", str(tmp_path / "out")]
    planned: list[str] = []

    def plan(config: Config) -> Any:
        planned.append(config.detector.type)
        by_crops = SimpleNamespace(step_seconds=1e6, regions_per_second=1e-3, num_regions=9, num_images=3)
        return by_crops if config.detector.type == "rcnn" else SimpleNamespace(epoch_seconds=1e6)

    monkeypatch.setattr(whole, "plan", plan)
    assert main([*asked, *out]) == 0
    assert planned == ["overfeat", "rcnn", "fast_rcnn", "faster_rcnn", "cascade_rcnn"]
    assert "at most 20 proposals an image, crops of 48 px, 20,000 of them to tune on, 1 epoch of" in (
        capsys.readouterr().err
    )
    config = yaml.safe_load((tmp_path / "out/fast_rcnn/config.yaml").read_text("utf-8"))
    assert (config["train"]["epochs"], config["seed"]) == (1, 3)
    assert main([*asked, *out]) == 0
    assert len(planned) == 5  # as it was fitted before
    capsys.readouterr()
    assert main([*asked, *out, "--minutes", "5"]) == 2
    assert "was begun with minutes 100.0, not 5.0" in capsys.readouterr().err


def test_an_unknown_detector_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--detector hog: must be one of hog_svm, dpm, sliding_window, over"):
        run(tmp_path / "out", "hog")
    with pytest.raises(UserError, match="--backbone lenet"):
        run(tmp_path / "out", terms=replace(TINY, backbone="lenet"))
    assert not (tmp_path / "out").exists()


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="without torchrun"):
        run(tmp_path / "out")


@pytest.mark.parametrize("backbone", ["resnet18", "alexnet"])
def test_the_configs_of_the_chain_are_the_golden_ones(backbone: str) -> None:
    """Their constants were chosen by trials that take hours: none changes unseen."""
    common = ground(backbone)
    common = replace(common, terms=replace(common.terms, boxes=200))
    made = {link.name: link.config(common) for link in CHAIN}
    found = yaml.safe_dump(json.loads(json.dumps(made)), sort_keys=False)
    assert found == golden_text(f"lineage_{backbone}.yaml", found)


def trainings(
    monkeypatch: pytest.MonkeyPatch, seconds: float, error: BaseException | None = None
) -> list[bool]:
    """Let a training write its config, and end with an error or after some time; return who resumed."""
    resumed: list[bool] = []

    def train(config: Config, *, out: Path, resume: bool) -> Any:
        resumed.append(resume)
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").touch()
        if error is not None:
            raise error
        return SimpleNamespace(train_seconds=seconds)

    monkeypatch.setattr(whole, "train", train)
    return resumed


def test_the_seconds_of_all_attempts_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, now, config = tmp_path / "rcnn", [0.0], Config.model_validate(CHAIN[3].config(ground("resnet18")))
    monkeypatch.setattr(whole.time, "perf_counter", lambda: now.append(now[-1] + 5.0) or now[-1])  # type: ignore[func-returns-value]
    resumed = trainings(monkeypatch, 0.0, KeyboardInterrupt())
    for seconds in (5.0, 10.0):
        with pytest.raises(KeyboardInterrupt):
            whole._train_once(config, folder)
        noted = json.loads((folder / whole.SPENT).read_bytes())
        assert (noted["seconds"], noted["done"], noted["bytes"] > 0) == (seconds, False, True)
        (folder / "last.pt").touch()
    assert resumed == [False, True]
    resumed = trainings(monkeypatch, 7.0)
    monkeypatch.setattr(whole, "peak_bytes", lambda device: 1)
    spent = whole._train_once(config, folder)
    assert spent == whole.Spent(17.0, noted["bytes"], done=True)
    assert whole._train_once(config, folder) == spent
    assert resumed == [True]


def test_what_was_stopped_before_its_first_checkpoint_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.model_validate(CHAIN[3].config(ground("resnet18")))
    (tmp_path / "rcnn").mkdir()
    (tmp_path / "rcnn" / "config.yaml").touch()
    (tmp_path / "rcnn" / "metrics.jsonl").touch()
    resumed = trainings(monkeypatch, 7.0)
    assert whole._train_once(config, tmp_path / "rcnn").seconds == 7.0
    assert resumed == [False]
    assert {file.name for file in (tmp_path / "rcnn").iterdir()} == {"config.yaml", whole.SPENT}
