"""A config's mistakes: all at once, each in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from detkit.config.load import config_names, find_config, load_config, parse_config
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.errors import UserError
from detkit.training.loop.config import SGDConfig

SMALL = (Path(__file__).parent / "small.yaml").read_text(encoding="utf-8")


def changed(old: str, new: str) -> str:
    assert SMALL.count(old) == 1
    return SMALL.replace(old, new)


def mistakes(text: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse_config(text, "a.yaml", overrides)
    return str(caught.value).splitlines()


def test_a_small_file_takes_the_defaults_of_the_schema() -> None:
    config = parse_config(SMALL)
    assert isinstance(config.train.optimizer, SGDConfig)
    assert config.train.optimizer.lr == 0.01
    assert config.train.optimizer.momentum == SGDConfig.model_fields["momentum"].default
    assert config.data.classes == ("cat", "dog")


def test_all_mistakes_are_reported_in_the_order_of_the_file() -> None:
    text = """\
version: 1
device: gpu
detector:
  type: faster_rcnn
  backbone: {type: resnet, dept: 3, depth: 51, norm: frosen}
  proposals: {type: rpn, border_px: -1, anchors: {sizes_px: [[1, a], []]}}
  regions: {type: roi_aligned}
  head: {type: layer4, dropout: 0.5, bg_iou: [0.1]}
data:
  classes: [1]
  val: 3
  val: 4
  use_difficult: yes
  resize: {short_px: 100, long_px: 10}
train:
  type: gradient
  optimizer: {lr: 1e-4}
  lr: 1
  epochs: 007
"""
    found = mistakes(text)
    starts = [
        'a.yaml:2: device: "gpu" is not allowed: `auto` takes CUDA',
        "a.yaml:5: detector.backbone.depth: expected one of 18, 34, 50, 101, 152, got number 51",
        'a.yaml:5: detector.backbone.norm: expected one of frozen, sync, trainable, got text "frosen"; '
        'did you mean "frozen"?',
        'a.yaml:5: detector.backbone.dept: unknown key; did you mean "depth"? Allowed: type, depth',
        'a.yaml:6: detector.proposals.anchors.sizes_px.0.1: expected a number above 0, got text "a"',
        "a.yaml:6: detector.proposals.anchors.sizes_px.1: expected a list, not empty, each",
        "a.yaml:6: detector.proposals.border_px: expected a number of at least 0 or null, got number -1",
        "a.yaml:7: detector.regions.type: expected one of roi_pool, roi_align, custom, got text "
        '"roi_aligned"; did you mean "roi_align"?',
        "a.yaml:8: detector.head.bg_iou: expected a list of 2 values, each a number from 0 to 1, got a l",
        "a.yaml:8: detector.head.dropout: unknown key for type layer4; it belongs to fc6_fc7. Allowed: type,",
        "a.yaml:9: data.train: missing key: a mapping with type: voc, coco, yolo, ",
        'a.yaml:10: data.classes.0: expected text, got number 1; put it in quotes: "1"',
        "a.yaml:11: data.val: expected a mapping with type: voc, coco, yolo, ",
        "a.yaml:12: data.val: repeated key; it stands in line 11 already",
        'a.yaml:13: data.use_difficult: expected true or false, got text "yes"; write true or false',
        "a.yaml:14: data.resize: short_px (100) must not exceed long_px (10)",
        "a.yaml:17: train.optimizer.type: missing key: one of sgd, adamw, custom",
        "a.yaml:18: train.lr: unknown key; there is train.optimizer.lr. Allowed: type, epochs",
        'a.yaml:19: train.epochs: expected a whole number of at least 1, got text "007"; '
        "a number has no leading zero",
    ]
    assert len(found) == len(starts)
    for start in starts:
        assert [line for line in found if line.startswith(start)], start
    numbers = [int(line.split(":")[1]) for line in found]
    assert numbers == sorted(numbers)


def test_no_more_than_a_screen_of_mistakes() -> None:
    found = mistakes(SMALL + "".join(f"  what_{n}: 1\n" for n in range(40)))
    assert len(found) == 21
    assert found[-1] == "... and 20 more"
    found = mistakes(SMALL + "".join(f"  what_{n}: 1\n" for n in range(20)))
    assert len(found) == 20
    assert "more" not in found[-1]


MISTAKES = [
    ("{type: rpn}", "{type: selective_search}", "a.yaml:2: detector: faster_rcnn with proposals: "
     "selective_search is fast_rcnn"),
    ("{type: rpn}", "{type: {a: b}}", "a.yaml:5: detector.proposals.type: expected one of rpn, custom"),
    ("{type: sgd, lr: 1e-2}", "{type: [sgd], lr: 1}", "a.yaml:13: train.optimizer.type: expected one of"),
    ("{type: layer4}", "{type: layer4, bg_iou: [0.1, 0.6]}", "a.yaml:7: detector.head: bg_iou ([0.1, 0"),
    ("lr: 1e-2", "lr: .inf", "a.yaml:13: train.optimizer.lr: expected a number above 0, got number inf"),
    ("{type: sgd, lr: 1e-2}", "sgd", "a.yaml:13: train.optimizer: expected a mapping with type: sgd, "),
    ("{type: voc, root: pets}", "pets", "a.yaml:10: data.train: expected a mapping with type: voc, "),
    ("[cat, dog]", "[]", "a.yaml:9: data.classes: expected a list, not empty, each text, got an emp"),
    ("[cat, dog]", "cat", 'a.yaml:9: data.classes: expected a list, not empty, each text, got text'),
    ("[cat, dog]", "[cat, cat]", "a.yaml:8: data: classes has cat more than once"),
    ("[cat, dog]", "[on, true]", 'a.yaml:9: data.classes.1: expected text, got true; put it in quotes'),
    ("version: 1", "version: 2", "a.yaml:1: version: expected 1, got number 2"),
    ("version: 1\n", "", "a.yaml: version: missing key: 1 (Version of this format)"),
    ("depth: 18", "depth: 18, <<: {a: 1}", "a.yaml:4: detector.backbone: << (merge) is not allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_a_mistake_says_where_and_what_is_allowed(old: str, new: str, message: str) -> None:
    (found,) = mistakes(changed(old, new))
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("name", "train", "ways"),
    [
        ("fast_rcnn_vgg16_voc07", "{type: staged}", "fast_rcnn is trained by gradient, not by staged"),
        ("rcnn_alexnet_voc07", "{type: gradient, optimizer: {type: sgd, lr: 0.01}}",
         "rcnn is trained by staged, not by gradient"),
        ("faster_rcnn_vgg16_voc07", "{type: staged}",
         "faster_rcnn is trained by gradient or alternating, not by staged"),
    ],
)  # fmt: skip
def test_a_detector_is_trained_in_its_own_ways_alone(name: str, train: str, ways: str) -> None:
    with pytest.raises(UserError, match=ways):
        load_config(name, [f"train={train}"])


def test_unknown_keys_do_not_hide_that_parts_do_not_fit() -> None:
    text = changed("{type: layer4}", "{type: fc6_fc7, drop: 0}")
    found = mistakes(text)
    assert len(found) == 2
    assert "head: fc6_fc7 needs backbone: alexnet, caffenet, zfnet or vgg" in found[0]
    assert 'did you mean "dropout"' in found[1]


@pytest.mark.parametrize(
    ("text", "what"), [("", "is empty"), ("# nothing\n", "is empty"), ("[1]", "holds no keys")]
)
def test_a_file_without_keys(text: str, what: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith(f"a.yaml: {what}; a config begins with version: 1")


def test_pyramid_defaults_are_filled_in_but_not_over_what_is_written() -> None:
    text = changed("{type: layer4}", "{type: two_fc}").replace(
        "{type: rpn}", "{type: rpn, pre_nms_test: 7}\n  neck: {type: fpn}"
    )
    detector = parse_config(text).detector
    assert isinstance(detector, FasterRCNNConfig)
    assert detector.proposals.pre_nms_test == 7
    assert detector.proposals.border_px is None
    assert len(detector.proposals.anchors.sizes_px) == 5


def test_an_own_head_takes_no_keys_of_ours_with_a_pyramid() -> None:
    text = changed("{type: layer4}", '{type: custom, target: "my.head:make"}\n  neck: {type: fpn}')
    detector = parse_config(text).detector
    assert isinstance(detector, FasterRCNNConfig)
    assert detector.head.type == "custom"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("version: 1 # Größe".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.yaml: not a text file in UTF-8"):
        load_config(tmp_path / "latin.yaml")
    (tmp_path / "bom.yaml").write_text(SMALL, encoding="utf-8-sig")
    assert load_config(tmp_path / "bom.yaml") == parse_config(SMALL)


@pytest.mark.parametrize("value", ["0", "two", "1.5", "true"])
def test_one_of_several_plain_values_is_one_message(value: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config("faster_rcnn_resnet18_synthetic", [f"threads={value}"])
    (line,) = str(caught.value).splitlines()
    assert line.startswith(
        f"override threads={value}: threads: expected auto or a whole number of at least 1, got"
    )


def test_a_short_name_works_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in config_names():
        assert find_config(name).stem == name


def test_a_file_of_the_user_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = config_names()[0]
    Path(name).write_text("version: 1", encoding="utf-8")
    assert find_config(name) == Path(name)


def test_a_miss_lists_the_names(tmp_path: Path) -> None:
    name = config_names()[0]
    with pytest.raises(UserError) as caught:
        load_config(name[:-1])
    first, *listed = str(caught.value).splitlines()
    assert f'did you mean "{name}"?' in first or "did you mean" in first
    assert " ".join(line.strip() for line in listed) == ", ".join(config_names())
    with pytest.raises(UserError, match=f"the shipped config is called {name}, without ending"):
        load_config(f"{name}.yaml")
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(UserError, match=r'no such file; did you mean "mine.yaml"\?'):
        load_config(tmp_path / "mien.yaml")
    with pytest.raises(UserError, match="is a folder"):
        load_config(tmp_path)
