"""What `detkit init` proposes, from what a dataset holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detkit.__main__ import main
from detkit.checks.recommend import choose_freeze
from detkit.config.load import find_config, load_config
from detkit.config.schema import Config
from detkit.data.datasets import related_images
from detkit.data.datasets.builder import open_training_set
from detkit.data.datasets.config import ImageFolderConfig, ObjectCropsConfig
from detkit.data.datasets.readers import read_set
from detkit.data.synthetic.dataset import write_synthetic
from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.families import FAMILIES, DetectorFamily
from detkit.detectors.faster_rcnn.config import AlternatingConfig, FasterRCNNConfig
from detkit.detectors.localizer.config import LocalizerConfig
from detkit.errors import UserError
from detkit.models.backbones.builder import build_backbone
from detkit.models.backbones.resnet.family import ResNetConfig
from detkit.proposals.config import EdgeBoxesConfig, GradientEdgesConfig, SelectiveSearchConfig
from detkit.training.staged.config import FineTuneConfig, StagedConfig
from detkit.workflows.check import check
from detkit.workflows.init import init


def images_by_class(root: Path, *parts: str) -> Path:
    for number, part in enumerate(parts):
        for name in ("cat", "dog"):
            place = root / part / name
            place.mkdir(parents=True)
            for image in range(4):
                Image.new("RGB", (8, 6), (number, image, 0)).save(place / f"{part[:2]}{image}.png")
    return root


@pytest.mark.parametrize(("stages", "usual"), [(4, 2), (5, 0), (5, 2)])
def test_the_fewer_examples_the_more_is_frozen(stages: int, usual: int) -> None:
    frozen = [choose_freeze(count, stages, usual)[0] for count in (1, 500, 501, 2000, 2001, 10**6)]
    assert frozen == [stages, stages, stages - 1, stages - 1, usual, usual]


def test_a_template_that_freezes_more_is_left_alone() -> None:
    assert choose_freeze(1000, 4, 5)[0] == 5


def test_a_few_objects_freeze_the_whole_pretrained_trunk_and_the_file_says_why(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 4, 2)
    found = init(tmp_path / "shapes", detector="faster_rcnn_resnet18_c4", out=tmp_path / "mine.yaml")
    detector = load_config(tmp_path / "mine.yaml").detector
    assert isinstance(detector, FasterRCNNConfig)
    assert detector.backbone.freeze_at == 4  # type: ignore[union-attr]
    reason = f"freeze_at: 4, because {found['objects']['train']} training examples are at most 500"
    assert f"# {reason}" in (tmp_path / "mine.yaml").read_text()


def test_without_pretrained_weights_freezing_is_no_question(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 3, 2)
    found = init(tmp_path / "shapes", detector="faster_rcnn_resnet18_synthetic", out=tmp_path / "mine.yaml")
    assert not any("freeze_at" in note for note in found["notes"])


def test_images_by_class_get_a_classifier(tmp_path: Path) -> None:
    root = images_by_class(tmp_path / "pets", "train", "val")
    found = init(root, detector=None, out=tmp_path / "mine.yaml")
    assert (found["format"], found["classes"]) == ("image_folder", ["cat", "dog"])
    assert (found["images"], found["detector"]) == ({"train": 8, "val": 8}, "classifier_resnet18_folder")
    config = load_config(tmp_path / "mine.yaml")
    assert isinstance(config.detector, ClassifierConfig)
    assert config.detector.backbone.freeze_at == 5
    assert isinstance(config.data.val, ImageFolderConfig)
    assert (config.data.val.split, config.evaluate.metric) == ("val", "top1")
    with pytest.raises(UserError, match="holds images by class and no boxes"):
        init(root, detector="faster_rcnn_resnet18_c4", out=tmp_path / "other.yaml")


def test_undivided_images_by_class_are_divided_by_a_hash(tmp_path: Path) -> None:
    root = images_by_class(tmp_path / "pets", "")
    found = init(root, detector=None, out=tmp_path / "mine.yaml")
    data = load_config(tmp_path / "mine.yaml").data
    assert sum(found["images"].values()) == 8
    assert found["images"]["val"] == 2
    kept = [read_set(part).image_files.tolist() for part in (data.train, data.val) if part]
    assert len({*kept[0], *kept[1]}) == 8


def test_a_classifier_of_a_detection_dataset_learns_its_objects(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "coco", 4, 2)
    init(tmp_path / "shapes", detector="classifier_resnet18_folder", out=tmp_path / "mine.yaml")
    data = load_config(tmp_path / "mine.yaml").data
    assert isinstance(data.train, ObjectCropsConfig)
    assert isinstance(data.val, ObjectCropsConfig)
    assert data.train.of.type == "coco"


def started_from(template: str, folder: Path) -> tuple[Config, list[str]]:
    """Return the config for four drawn images that starts from a shipped one, or a file, and the notes."""
    write_synthetic(folder / "shapes", "voc", 4, 2)
    found = init(folder / "shapes", detector=template, out=folder / "mine.yaml")
    return load_config(folder / "mine.yaml"), found["notes"]


def test_images_keep_the_size_that_a_detector_makes_smaller_copies_of(tmp_path: Path) -> None:
    config, notes = started_from("sppnet_alexnet_voc07_5scale", tmp_path)
    assert config.data.resize == load_config("sppnet_alexnet_voc07_5scale").data.resize
    assert config.detector.image_scales_px == (480, 576, 688, 864, 1200)
    assert any("short sides of 480, 576, 688, 864, 1200 px, as in the template" in note for note in notes)


def test_rcnn_reads_images_in_their_own_size(tmp_path: Path) -> None:
    config, notes = started_from("rcnn_alexnet_voc07", tmp_path)
    assert config.data.resize is None
    assert any("read in their own size" in note for note in notes)
    assert not any("anchors" in note for note in notes)


def test_a_training_in_stages_is_as_long_as_a_small_dataset_needs(tmp_path: Path) -> None:
    config, notes = started_from("rcnn_alexnet_voc07", tmp_path)
    assert isinstance(config.train, StagedConfig)
    assert config.train.fine_tune is not None
    assert (config.train.fine_tune.steps, config.train.fine_tune.drop_every) == (1200, 343)
    assert notes[-1] == (
        "fine-tuning takes 1,200 steps (never fewer than that), because the template's 70,000 are meant for "
        "the 5,011 images of VOC 2007 and there are 4"
    )


@pytest.mark.parametrize(
    ("images", "steps", "drop_every"),
    [(4, 1200, 400), (300, 5388, 1796), (5011, 90_000, 30_000), (118_287, 90_000, 30_000)],
)
def test_an_image_is_seen_in_fine_tuning_as_often_as_in_the_papers(
    images: int, steps: int, drop_every: int
) -> None:
    fitted = FineTuneConfig(steps=90_000, drop_every=30_000).fitted_to(images)
    assert (fitted.steps, fitted.drop_every) == (steps, drop_every)


def test_a_short_fine_tuning_and_a_rate_that_stays_are_left_alone() -> None:
    short = FineTuneConfig(steps=500, drop_every=0)
    assert short.fitted_to(4) == short
    assert StagedConfig(fine_tune=None).fitted_to(4)[0] == StagedConfig(fine_tune=None)


def test_both_networks_of_an_alternating_training_learn_long_enough(tmp_path: Path) -> None:
    config, notes = started_from("faster_rcnn_zfnet_voc07_alternating", tmp_path)
    assert isinstance(config.train, AlternatingConfig)
    assert (config.train.rpn.epochs, config.train.fast_rcnn.epochs) == (60, 60)
    steps = "steps 1 and 3: 60 epochs, because one has only 4 steps; 2 and 4: 60 epochs"
    assert any(note.startswith(steps) for note in notes)


SEARCHED = "{type: selective_search, mode: fast, max_boxes: 2000}"


def test_proposals_of_another_dataset_are_not_taken_over(tmp_path: Path) -> None:
    text = find_config("fast_rcnn_vgg16_voc07").read_text()
    template = tmp_path / "template.yaml"
    template.write_text(text.replace(SEARCHED, "{type: file, train: a.safetensors, max_boxes: 300}"))
    config, notes = started_from(str(template), tmp_path)
    expected = SelectiveSearchConfig(type="selective_search", max_boxes=300)
    assert config.detector.external_proposals == expected
    assert any(note.startswith("proposals: selective_search, because") for note in notes)


def test_contours_of_another_dataset_are_not_taken_over(tmp_path: Path) -> None:
    text = find_config("fast_rcnn_vgg16_voc07").read_text()
    template = tmp_path / "template.yaml"
    template.write_text(text.replace(SEARCHED, "{type: edge_boxes, edges: {type: files, folder: a}}"))
    proposals = started_from(str(template), tmp_path)[0].detector.external_proposals
    assert proposals == EdgeBoxesConfig(type="edge_boxes", edges=GradientEdgesConfig(type="gradient"))


@pytest.mark.parametrize(
    ("line", "own"),
    [
        ("  backbone: {", '  backbone: {type: custom, target: "mine:make"}\n'),
        ("  head: {", '  head: {type: custom, target: "mine:make"}\n'),
        ("  train: {", '  train: {type: custom, target: "mine:make"}\n'),
    ],
)
def test_parts_of_the_users_own_stay_in_the_config(line: str, own: str, tmp_path: Path) -> None:
    lines = find_config("faster_rcnn_resnet18_c4").read_text().splitlines(keepends=True)
    template = tmp_path / "template.yaml"
    template.write_text("".join(own if old.startswith(line) else old for old in lines))
    config, _ = started_from(str(template), tmp_path)
    assert isinstance(config.detector, FasterRCNNConfig)
    kept = load_config(template).detector
    assert isinstance(kept, FasterRCNNConfig)
    assert config.detector.head.model_dump() == kept.head.model_dump()
    assert config.detector.backbone.type == kept.backbone.type


def test_a_detector_of_the_users_own_keeps_its_image_size(tmp_path: Path) -> None:
    text = find_config("faster_rcnn_resnet18_c4").read_text()
    start, end = text.index("detector:"), text.index("data:\n")
    template = tmp_path / "template.yaml"
    template.write_text(f'{text[:start]}detector: {{type: custom, target: "mine:make"}}\n{text[end:]}')
    config, notes = started_from(str(template), tmp_path)
    assert config.data.resize == load_config(template).data.resize
    assert "image size and anchors are the template's" in notes


def small_objects(root: Path) -> Path:
    """Return a dataset whose objects are as small as faces in a crowd."""
    rng = np.random.default_rng(0)
    for number in range(6):
        objects = ""
        for x, y in rng.integers(0, 280, (12, 2)).tolist():
            corners = f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + 11}</xmax><ymax>{y + 13}</ymax>"
            objects += f"<object><name>face</name><bndbox>{corners}</bndbox></object>"
        size = "<size><width>300</width><height>300</height></size>"
        (root / "annots").mkdir(parents=True, exist_ok=True)
        (root / "annots" / f"{number}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
        (root / "images").mkdir(exist_ok=True)
        pixels = rng.integers(0, 255, (10, 10, 3)).repeat(30, 0).repeat(30, 1).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
    return root


def test_objects_that_a_single_map_misses_get_a_pyramid_and_the_trade_is_said(tmp_path: Path) -> None:
    found = init(small_objects(tmp_path / "data"), detector="faster_rcnn", out=tmp_path / "mine.yaml")
    assert found["detector"] == "faster_rcnn_resnet18_fpn"
    notes = "\n".join(found["notes"])
    assert "with faster_rcnn_resnet18_c4, which is faster, " in notes
    assert "(--detector faster_rcnn_resnet18_c4)" in notes


def test_init_and_check_say_the_same_of_anchors(tmp_path: Path) -> None:
    data = small_objects(tmp_path / "data")
    found = init(data, detector="faster_rcnn_resnet18_c4", out=tmp_path / "mine.yaml")
    findings = check(str(tmp_path / "mine.yaml"), ["device=cpu", "data.workers=0"]).findings
    missed = [finding.message for finding in findings if finding.kind == "missed_objects"]
    assert missed
    assert set(missed) <= set(found["notes"])
    assert "a feature pyramid finds smaller ones" in missed[0]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.starts])
def test_every_family_has_configs_to_start_from(family: DetectorFamily) -> None:
    for name in (*family.starts, *filter(None, [family.gpu_start])):
        assert isinstance(load_config(name).detector, family.config)


@pytest.mark.parametrize("name", ["fast_rcnn", "Fast-RCNN", "rcnn", "spp_net", "classifier"])
def test_a_detector_is_chosen_by_its_family(name: str, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "coco", 4, 2)
    found = init(tmp_path / "shapes", detector=name, out=tmp_path / "mine.yaml")
    assert load_config(tmp_path / "mine.yaml").detector.type in (name.lower().replace("-", "_"), "sppnet")
    assert any("backbone.weights: IMAGENET1K_V1, downloaded" in note for note in found["notes"])


def test_weights_of_a_file_are_written_and_nothing_is_said_of_a_download(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "coco", 4, 2)
    spec = ResNetConfig.model_validate({"depth": 18})
    torch.save(build_backbone(spec, pyramid=True).state_dict(), tmp_path / "w.pth")
    out = tmp_path / "mine.yaml"
    assert main(["init", str(tmp_path / "shapes"), "--weights", str(tmp_path / "w.pth"), "-o", str(out)]) == 0
    assert load_config(out).detector.backbone.weights == str(tmp_path / "w.pth")  # type: ignore[attr-defined]
    header = out.read_text().partition("version:")[0]
    assert "downloaded" not in header
    assert f"# weights {tmp_path / 'w.pth'}: " in header
    assert (
        main(["init", str(tmp_path / "shapes"), "--weights", "absent.pth", "-o", str(tmp_path / "b.yaml")])
        == 2
    )


def test_train_takes_weights_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.pth").write_text("no weights")
    command = ["train", "faster_rcnn_resnet18_synthetic", "device=cpu", "data.workers=0"]
    assert main([*command, "--weights", str(tmp_path / "w.pth"), "--out", str(tmp_path / "run")]) == 2
    assert f"{tmp_path / 'w.pth'} is damaged" in capsys.readouterr().err


def test_init_says_the_time_that_plan_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic(tmp_path / "shapes", "coco", 4, 2)
    out = ["-o", str(tmp_path / "mine.yaml"), "--json", str(tmp_path / "found.json"), "--plan"]
    template = tmp_path / "template.yaml"
    template.write_text(find_config("faster_rcnn_resnet18_synthetic").read_text() + "\ndevice: cpu\n")
    assert main(["init", str(tmp_path / "shapes"), "--detector", str(template), *out]) == 0
    said = capsys.readouterr().out
    assert "time: " in said
    assert json.loads((tmp_path / "found.json").read_text())["plan"]["total_seconds"] > 0


def test_a_sample_is_decoded_and_what_cannot_be_read_is_noted(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 4, 2)
    files = sorted((tmp_path / "shapes" / "JPEGImages").iterdir())
    files[1].write_bytes(files[1].read_bytes()[:-300])  # its header is whole
    notes = init(tmp_path / "shapes", detector="faster_rcnn_resnet18_c4", out=tmp_path / "a.yaml")["notes"]
    place = notes.index("of 6 images that were tried, 1 cannot be read, such as")
    assert notes[place + 1].startswith(f"{files[1]}: ")
    assert notes[place + 2].startswith("detkit check names all")
    files[-1].write_bytes(files[-1].read_bytes()[:-300])
    notes = init(tmp_path / "shapes", detector="faster_rcnn_resnet18_c4", out=tmp_path / "c.yaml")["notes"]
    named = [note.split(": ")[0] for note in notes if ".jpg: " in note]
    assert named == [str(files[1]), str(files[-1])], "those of the training set come first"
    assert "# detkit check names all" in (tmp_path / "a.yaml").read_text()
    for file in files:
        file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(UserError, match="of 6 images that were tried, 6 cannot be read") as told:
        init(tmp_path / "shapes", detector="faster_rcnn_resnet18_c4", out=tmp_path / "b.yaml")
    named = [line.split(": ")[0] for line in str(told.value).splitlines()[1:]]
    assert named == [str(file) for file in files[:3]], "in the order of the dataset"


def test_a_link_out_of_the_folder_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root:x:0:0")
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            Image.new("RGB", (40, 30), name == "cat").save(tmp_path / "data" / part / name / "a.png")
    image = tmp_path / "data" / "train" / "cat" / "a.png"
    image.unlink()
    image.symlink_to(tmp_path / "secret")
    notes = "\n".join(init(tmp_path / "data", out=tmp_path / "mine.yaml")["notes"])
    assert "1 cannot be read" in notes
    assert "outside of" in notes
    assert "root:x" not in notes + (tmp_path / "mine.yaml").read_text()


def test_no_image_is_compared_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 6, 2)
    for file in (tmp_path / "shapes" / "ImageSets" / "Main").iterdir():
        file.unlink()
    decoded: list[Path] = []
    original = related_images.read_image

    def counted_read(path: Path) -> bytes:
        decoded.append(path)
        return original(path)

    monkeypatch.setattr(related_images, "read_image", counted_read)
    init(tmp_path / "shapes", out=tmp_path / "mine.yaml")
    assert len(decoded) == len(set(decoded)) == 8


def test_boxes_that_are_not_valid_are_clipped_and_the_first_of_them_shown(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "yolo", 3, 1)
    label = min((tmp_path / "shapes").rglob("train/*.txt"))
    label.write_text(label.read_text() + "0 0.95 0.5 0.3 0.2\n" * 4)
    found = init(tmp_path / "shapes", detector="faster_rcnn_resnet18_c4", out=tmp_path / "mine.yaml")
    place = found["notes"].index("invalid_boxes: clip; not valid: 4 boxes, such as")
    shown = found["notes"][place + 1 : place + 5]
    assert [label.stem in line for line in shown] == [True, True, True, False]
    assert load_config(tmp_path / "mine.yaml").data.invalid_boxes == "clip"


def test_sets_whose_names_say_nothing_are_named_and_none_is_taken_silently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic(tmp_path / "made", "coco", 4, 2)
    root = tmp_path / "two"
    root.mkdir()
    for part in ("train", "val"):
        (tmp_path / "made" / part).rename(root / part)
    for part, name in (("train", "cats"), ("val", "dogs")):
        text = (tmp_path / "made" / "annotations" / f"instances_{part}.json").read_text()
        content = json.loads(text)
        for image in content["images"]:
            image["file_name"] = f"{part}/{image['file_name']}"
        (root / f"{name}.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as told:
        init(root, out=tmp_path / "mine.yaml")
    assert str(told.value).splitlines()[:3] == [
        f"{root}: 2 sets are in it, and no name says which is for training:",
        f"  cats ({root}/cats.json)",
        f"  dogs ({root}/dogs.json)",
    ]
    assert not list(tmp_path.glob("mine*"))
    assert init(root / "cats.json", out=tmp_path / "mine.yaml")["images"] == {"train": 3, "val": 1}


def test_what_else_lies_in_the_folder_is_said(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "set", "voc", 4, 2)
    write_synthetic(tmp_path / "yolo", "yolo", 4, 2)
    (tmp_path / "yolo" / "data.yaml").rename(tmp_path / "set" / "data.yaml")
    found = init(tmp_path / "set", out=tmp_path / "mine.yaml")
    assert found["format"] == "voc"
    assert any(f"{tmp_path}/set/data.yaml (yolo: train, val)" in note for note in found["notes"])


@pytest.mark.parametrize("layout", ["voc", "coco", "yolo"])
def test_only_the_classes_asked_for_are_learned(layout: str, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", layout, 6, 3)  # type: ignore[arg-type]
    whole = init(tmp_path / "shapes", out=tmp_path / "all.yaml")
    command = ["init", str(tmp_path / "shapes"), "--class", "star", "--class", "disc", "--class", "star"]
    assert main([*command, "-o", str(tmp_path / "some.yaml"), "--json", str(tmp_path / "some.json")]) == 0
    config = load_config(tmp_path / "some.yaml")
    assert config.data.classes == ("star", "disc")
    assert set(config.data.ignore_classes) == {"ring", "square", "triangle"}
    source, _ = open_training_set(config.data)
    every, _ = open_training_set(load_config(tmp_path / "all.yaml").data)
    labels = [every.annotations.classes[label] for label in every.annotations.labels]
    counts = [labels.count(name) for name in config.data.classes]
    assert np.bincount(source.annotations.labels, minlength=2).tolist() == counts
    some = json.loads((tmp_path / "some.json").read_text())
    assert some["objects"]["train"] == sum(counts) < whole["objects"]["train"]
    assert some["images"] == whole["images"]


def test_a_class_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "coco", 4, 2)
    with pytest.raises(UserError, match="class 'stars': not in the dataset, which has disc, ring"):
        init(tmp_path / "shapes", out=tmp_path / "mine.yaml", classes=["disc", "stars"])
    assert not (tmp_path / "mine.yaml").exists()


def test_key_points_are_those_of_the_data(tmp_path: Path) -> None:
    """A template has names of its own; the dataset's, and the lines between them, take their place."""
    points = {"keypoints": ["nose", "left_ear", "right_ear"], "skeleton": [[1, 2], [1, 3]]}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 40, 30], "area": 1200, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "cat", **points}],
        "annotations": [{**box, "keypoints": [9, 9, 2, 5, 5, 1, 0, 0, 0], "num_keypoints": 2}],
    }
    for part in ("train", "val"):
        (tmp_path / "cats" / part).mkdir(parents=True)
        pixels = np.full((48, 64, 3), 90 if part == "train" else 200, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "cats" / part / "a.png")
        (tmp_path / "cats" / f"instances_{part}.json").write_text(json.dumps(content))
    template = "localizer_resnet18_synthetic_keypoints"
    init(tmp_path / "cats", detector=template, out=tmp_path / "cats.yaml")
    detector = load_config(tmp_path / "cats.yaml").detector
    assert isinstance(detector, LocalizerConfig)
    assert detector.keypoints is not None
    assert detector.keypoints.names == ("nose", "left_ear", "right_ear")
    assert detector.keypoints.skeleton == (("nose", "left_ear"), ("nose", "right_ear"))
    assert detector.other_sides == (0, 2, 1)


def test_a_dataset_without_key_points_is_told_to_a_template_with_some(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 4, 2)
    template = "localizer_resnet18_synthetic_keypoints"
    with pytest.raises(UserError, match=r"detector\.keypoints: the dataset names no key points"):
        init(tmp_path / "shapes", detector=template, out=tmp_path / "mine.yaml")
    assert not (tmp_path / "mine.yaml").exists()
    init(tmp_path / "shapes", detector="localizer_resnet18_boxes", out=tmp_path / "mine.yaml")
