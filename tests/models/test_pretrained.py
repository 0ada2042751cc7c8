"""Weights files: what is taken, what is told, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from detkit.errors import UserError
from detkit.models.pretrained import LoadReport, load_weights, read_weights


def conv_and_norm() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1, bias=False))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_half_precision_files_are_cast(tmp_path: Path, suffix: str) -> None:
    state = {key: value.half() for key, value in nn.Linear(3, 2).state_dict().items()}
    file = tmp_path / f"weights{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save({"state_dict": state}, file)
    layer = nn.Linear(3, 2)
    report = load_weights({"": layer}, read_weights(str(file), model="resnet18", width=0.5), "it")
    assert layer.weight.dtype == torch.float32
    assert torch.equal(layer.weight.half(), state["weight"])
    assert report.loaded == ("weight", "bias")


def test_report_names_everything() -> None:
    state = {"body.weight": torch.zeros(2, 3), "body.bias": torch.zeros(5), "fc.weight": torch.zeros(1)}
    report = load_weights({"body.": nn.Linear(3, 2), "head.": nn.Linear(1, 1)}, state, "file")
    assert report.loaded == ("body.weight",)
    assert report.missing == ("head.weight", "head.bias")
    assert report.unused == ("fc.weight",)
    assert report.reshaped == (("body.bias", (5,), (2,)),)
    assert str(report).splitlines() == [
        "weights file: 1 tensor loaded",
        "  not in the file, start at random: head.weight, head.bias",
        "  also in the file, for layers that this detector does not have: fc",
        "  body.bias: the file has shape (5,), the model (2,); starts at random",
    ]


def test_a_report_names_eight_of_a_kind() -> None:
    for count, more in ((8, ""), (9, " and 1 more"), (10, " and 2 more")):
        names = tuple(f"n{number}" for number in range(count))
        said = str(LoadReport("it", ("a", "b"), names, ("norm",), (), ()))
        assert said.splitlines() == [
            "weights it: 2 tensors loaded",
            f"  not in the file, start at random: n0, n1, n2, n3, n4, n5, n6, n7{more}",
            "  norms reset, their convolution is not in the file: norm",
        ]


def test_counts_of_batches_are_neither_missed_nor_unused() -> None:
    norm = nn.BatchNorm2d(2)
    state = {name: value for name, value in norm.state_dict().items() if name != "num_batches_tracked"}
    report = load_weights({"": norm}, state, "file")
    assert (report.missing, report.unused) == ((), ())
    report = load_weights(
        {"": nn.Linear(1, 1)},
        {**nn.Linear(1, 1).state_dict(), "x.num_batches_tracked": torch.ones(1)},
        "file",
    )
    assert report.unused == ()


def test_own_files_give_the_backbone_and_the_rest_by_published_names(tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    save_file({"backbone.a": torch.ones(1), "tail.b": torch.ones(1), "c": torch.ones(1)}, file)
    assert sorted(read_weights(str(file), model="resnet18", width=0.5)) == ["a", "b", "c"]
    save_file({"tail.b": torch.ones(1)}, file)  # no file of ours
    assert sorted(read_weights(str(file), model="resnet18", width=0.5)) == ["tail.b"]


@pytest.mark.parametrize("content", [{"state_dict": {"a": 1}}, [torch.ones(1)], {"model": {"a": "b"}}])
def test_what_holds_other_things_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth holds a (dict|list), not tensors by name$"):
        read_weights(str(tmp_path / "w.pth"), model="resnet18", width=1.0)


def test_a_network_that_torchvision_does_not_have() -> None:
    with pytest.raises(UserError) as told:
        read_weights("IMAGENET1K_V1", model="zfnet", width=1.0)
    assert str(told.value) == (
        "backbone.weights: torchvision has no weights of zfnet; use none or a file (.pth, .pt, "
        ".safetensors), not 'IMAGENET1K_V1'"
    )


def test_a_norm_without_its_convolution_becomes_the_identity() -> None:
    state = conv_and_norm().state_dict()
    for key, value in state.items():
        if key.startswith("1."):
            value.fill_(7)
    del state["0.weight"]
    model = conv_and_norm()
    report = load_weights({"": model}, state, "file")
    assert report.reset == ("1",)
    assert report.loaded == ("2.weight",)
    assert {key: value.unique().tolist() for key, value in model[1].state_dict().items() if value.dim()} == {
        "weight": [1],
        "bias": [0],
        "running_mean": [0],
        "running_var": [1],
    }


@pytest.mark.parametrize("content", [b"", b"not a file of tensors", None])
def test_unreadable_files(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "weights.pth"
    if content is None:
        torch.save([1, 2], file)
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.pth"):
        read_weights(str(file), model="resnet18", width=1)
    with pytest.raises(UserError, match="no file"):
        read_weights(str(tmp_path / "absent.pth"), model="resnet18", width=1)


def test_nothing_fits() -> None:
    with pytest.raises(UserError, match=r"(?s)wants names such as weight.*holds other"):
        load_weights({"": nn.Linear(1, 1)}, {"other": torch.zeros(1)}, "file")


def test_names_of_published_weights() -> None:
    with pytest.raises(UserError, match="none, IMAGENET1K_V1, IMAGENET1K_V2 or a file"):
        read_weights("IMAGENET1K_V3", model="resnet50", width=1)
    with pytest.raises(UserError, match="IMAGENET1K_FEATURES"):  # trained on other pixel values
        read_weights("IMAGENET1K_FEATURES", model="vgg16", width=1)
    with pytest.raises(UserError, match=r"width 1, not 0\.5"):
        read_weights("IMAGENET1K_V1", model="resnet18", width=0.5)


def test_without_network_the_error_says_where_the_file_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    with pytest.raises(UserError) as caught:
        read_weights("IMAGENET1K_V1", model="resnet18", width=1)
    assert str(tmp_path / "checkpoints" / Path(url).name) in str(caught.value)
    assert "no route to host" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        pickle.UnpicklingError("bad\nand more"),
        EOFError(),
        RuntimeError("invalid hash value"),
        OSError("full"),
    ],
)
def test_a_damaged_download_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", fail)
    with pytest.raises(UserError) as caught:
        read_weights("IMAGENET1K_V1", model="resnet18", width=1)
    damaged = isinstance(error, pickle.UnpicklingError | EOFError)
    place = Path(torch.hub.get_dir()) / "checkpoints" / "resnet18-f37072fd.pth"
    reason = f"the file there is damaged: delete {place}" if damaged else str(error)
    assert "could not be downloaded from https://download.pytorch.org/models/" in str(caught.value)
    assert f"({reason}); without network, place that file at " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_pickle_that_runs_code_is_not_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("this must never run",)

    torch.save({"weight": Harmful()}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="is damaged or holds something else than tensors by name"):
        read_weights(str(tmp_path / "a.pth"), model="resnet18", width=1)
    assert "never run" not in capsys.readouterr().out
