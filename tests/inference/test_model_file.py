from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from detkit.errors import UserError
from detkit.inference.model_file import read_model_file
from detkit.inference.save_model import save_model
from detkit.inference.score_floor import Advice


def model() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    return net.to(memory_format=torch.channels_last)


def saved(folder: Path) -> Path:
    file = folder / "run" / "model.safetensors"
    save_model(
        file, model(), classes=["Zelle", "größer"], category_ids=[4, 9], config_yaml="version: 1\n# é\n"
    )
    return file


def test_a_model_comes_back_with_all_it_says_about_itself(tmp_path: Path) -> None:
    read = read_model_file(saved(tmp_path))
    assert read.classes == ("Zelle", "größer")
    assert read.category_ids == (4, 9)
    assert read.config_yaml == "version: 1\n# é\n"
    assert read.licence == "MIT"
    assert read.version
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    read.load_into(other)
    for one, two in zip(model().state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_thresholds_come_back_exactly_and_may_be_absent(tmp_path: Path) -> None:
    assert read_model_file(saved(tmp_path)).thresholds is None
    advice: Advice = {"f1": (1 / 3, None), "precision": (None, None), "recall": (0.1, 0.25)}
    file = tmp_path / "m.safetensors"
    save_model(file, model(), classes=["a", "b"], category_ids=[1, 2], config_yaml="", thresholds=advice)
    assert read_model_file(file).thresholds == advice


def test_the_metric_comes_back_and_may_be_absent(tmp_path: Path) -> None:
    assert read_model_file(saved(tmp_path)).measured is None
    file = tmp_path / "m.safetensors"
    number = ("voc07", 2 / 3)
    save_model(file, model(), classes=["a"], category_ids=[1], config_yaml="", measured=number)
    assert read_model_file(file).measured == number


def test_the_folder_of_a_run_stands_for_its_model_file(tmp_path: Path) -> None:
    file = saved(tmp_path)
    for weights in (file.parent, str(file.parent), str(file)):
        assert read_model_file(weights).path == file
    file.rename(file.with_name("other.safetensors"))
    with pytest.raises(UserError, match=r"run: no model\.safetensors in this folder \(is it the folder of a"):
        read_model_file(file.parent)
    (file.parent / "last.pt").touch()
    with pytest.raises(UserError, match=r"run: no model\.safetensors .*only last\.pt: its training goes on"):
        read_model_file(str(file.parent))


def test_tied_weights_are_written_twice(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    save_model(tmp_path / "m.safetensors", net, classes=["a"], category_ids=[1], config_yaml="")
    assert set(read_model_file(tmp_path / "m.safetensors").state) == set(net.state_dict())


def test_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.safetensors: the weights do not fit (?s:.*)size mismatch"):
        read_model_file(saved(tmp_path)).load_into(
            nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
        )


def test_files_that_are_no_model_files_are_refused(tmp_path: Path) -> None:
    file = saved(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_model_file(tmp_path / "absent.safetensors")
    whole = file.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged or cut short"):
        read_model_file(tmp_path / "cut.safetensors")
    last = file.with_name("last.pt")
    torch.save({"a": torch.zeros(2)}, last)
    with pytest.raises(UserError, match=r"last.pt: is a file of torch.save.*did you mean .*model.safe"):
        read_model_file(last)
    for name, content, said in (
        ("photo.JPG", b"\xff\xd8\xff\xe0 and so on", "is an image, and no model"),
        ("text.safetensors", b"hello", "is no model of detkit"),
        ("notes.txt", b"hello, and so on", "is no model of detkit"),
        ("old.pth", b"\x80\x02pickled", "is a file of torch.save"),
        ("empty.safetensors", b"", "is no model of detkit"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            UserError, match=rf"{name}: {said}.*; wanted is the model.safetensors of a run"
        ) as told:
            read_model_file(tmp_path / name)
        assert "\n" not in str(told.value)
        assert "header" not in str(told.value)
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="without the classes and config"):
        read_model_file(tmp_path / "other.safetensors")


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(tmp_path)
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("detkit.inference.save_model.save_file", full)
    with pytest.raises(UserError, match=r"No space left on device.*MB are free.*is unharmed"):
        saved(tmp_path)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def changed(folder: Path, **metadata: str | None) -> Path:
    """A model file in whose metadata something is another, or missing."""
    file = saved(folder)
    with safe_open(file, framework="pt") as content:
        kept = {**content.metadata(), **metadata}
    save_file(load_file(file), file, {key: value for key, value in kept.items() if value is not None})
    return file


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", None, "metadata lack classes"),
        ("category_ids", None, "metadata lack category_ids"),
        ("config", None, "metadata lack config"),
        ("license", None, "metadata lack license"),
        ("classes", "[", "metadata classes: "),
        ("classes", "{}", "metadata classes: Expected `array`, got `object`"),
        ("classes", "[]", "metadata classes: "),
        ("classes", '["a", 1]', r"metadata classes: Expected `str`, got `int` - at `\$\[1\]`"),
        ("classes", '["a", ""]', "metadata classes: "),
        ("classes", '["a", "a"]', "metadata classes: a name is there more than once"),
        ("category_ids", '["1", 2]', "metadata category_ids: Expected `int`, got `str`"),
        ("category_ids", "[1, 2.5]", "metadata category_ids: Expected `int`, got `float`"),
        ("category_ids", "[true, 2]", "metadata category_ids: Expected `int`, got `bool`"),
        ("category_ids", f"[1, {2**63}]", "metadata category_ids: "),
        ("category_ids", f"[1, {10**400}]", "metadata category_ids: "),
        ("category_ids", "[1]", "metadata category_ids: 1 values for 2 classes"),
        ("thresholds", "null", "metadata thresholds: "),
        ("thresholds", '{"f1": [1, 1], "recall": [1, 1]}', "metadata thresholds: .*`precision`"),
        (
            "thresholds",
            '{"f1": [0.5, 0.5], "precision": [0.5], "recall": [0.5, 0.5]}',
            "metadata precision: 1 values for 2 classes",
        ),
        ("thresholds", '{"f1": ["a", 1], "precision": [1, 1], "recall": [1, 1]}', "metadata thresholds: "),
        ("thresholds", '{"f1": [NaN, 1], "precision": [1, 1], "recall": [1, 1]}', "metadata thresholds: "),
        ("thresholds", '{"f1": [1e999, 1], "precision": [1, 1], "recall": [1, 1]}', "metadata thresholds: "),
        ("measured", '["voc07", 0.5]', "metadata measured: Expected `object`"),
        ("measured", '{"metric": "voc07", "value": NaN}', "metadata measured: "),
        ("measured", '{"metric": "voc07", "value": "0.5"}', "metadata measured: Expected `float`"),
        ("detkit", "999.1.0", r"was written by detkit '999\.1\.0', and this is detkit .*update detkit"),
        ("detkit", "later", "'later' is not a version of detkit"),
    ],
)
def test_what_a_file_says_of_itself_is_checked(
    tmp_path: Path, key: str, value: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=rf"^[^\n]*model\.safetensors: [^\n]*{message}[^\n]*$"):
        read_model_file(changed(tmp_path, **{key: value}))


@pytest.mark.parametrize("version", ["0.0.9", "0.1.7", "0+source"])
def test_files_of_earlier_and_of_this_version_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr("detkit.inference.model_file.VERSION", "0.1.2")
    assert read_model_file(changed(tmp_path, detkit=version)).version == version


def test_a_newer_minor_version_is_refused_and_a_checkout_reads_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = changed(tmp_path, detkit="0.2.0")
    monkeypatch.setattr("detkit.inference.model_file.VERSION", "0.1.2")
    with pytest.raises(UserError, match=r"written by detkit '0\.2\.0', and this is detkit 0\.1\.2"):
        read_model_file(file)
    monkeypatch.setattr("detkit.inference.model_file.VERSION", "0+source")
    assert read_model_file(file).version == "0.2.0"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_that_are_no_finite_numbers_are_refused(
    tmp_path: Path, value: float, kind: torch.dtype
) -> None:
    net = model().to(kind)
    net[0].bias.data[2] = value
    save_model(tmp_path / "m.safetensors", net, classes=["a"], category_ids=[1], config_yaml="")
    with pytest.raises(UserError, match=r"m\.safetensors: 0\.bias has values that are not finite"):
        read_model_file(tmp_path / "m.safetensors").load_into(model())


def test_weights_that_single_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    net = model().double()
    net[0].bias.data[0] = 1e300
    save_model(tmp_path / "m.safetensors", net, classes=["a"], category_ids=[1], config_yaml="")
    with pytest.raises(UserError, match=r"0\.bias has values that are not finite"):
        read_model_file(tmp_path / "m.safetensors").load_into(model())


def test_the_same_model_makes_the_same_file(tmp_path: Path) -> None:
    """Of the order of 5 texts there are 120: three files are the same by chance once in 14,400 times."""
    odd = '\x1b\x7f\x85\u2028"\\\b\t\n/é😀'
    for number in range(3):
        save_model(
            tmp_path / str(number),
            model(),
            classes=["b", odd],
            category_ids=[1, 2],
            config_yaml=f"# {odd}\ud800",
        )
    first, *others = (file.read_bytes() for file in sorted(tmp_path.iterdir()))
    assert others == [first, first]
    read = read_model_file(tmp_path / "0")
    assert read.classes == ("b", odd)
    assert read.config_yaml == f"# {odd}\\ud800"
    read.load_into(model())


def test_a_file_that_went_away_is_named_when_its_weights_are_asked_for(tmp_path: Path) -> None:
    file = read_model_file(saved(tmp_path))
    file.path.write_bytes(file.path.read_bytes()[:-3])
    with pytest.raises(UserError, match=rf"^{file.path}: cannot be read \("):
        file.load_into(model())
    file.path.unlink()
    with pytest.raises(UserError, match=rf"^{file.path}: cannot be read \("):
        file.load_into(model())
