from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from detkit.errors import UserError
from detkit.models.roi.box_heads import FcHead
from detkit.runtime.processes import process_group, rank, world_size
from detkit.structures import TrainBatch
from detkit.training.distributed import DividedFcHead, divide_fc, replicate, undivided
from detkit.training.loop.checkpoint import read_checkpoint
from detkit.training.loop.milestones import Report
from detkit.training.loop.optim import adamw, sgd
from tests.reliability.meeting import meeting
from tests.reliability.tiny_training import CONTEXT
from tests.training.loop.tiny import Loader, train

CPU = torch.device("cpu")
BATCH = 4


class RegionModel(nn.Module):
    """Fully connected layers on regions, of which images have different numbers, some none at all."""

    def __init__(self, channels: int = 6, ranks: tuple[int | None, int | None] = (None, None)) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv = nn.Conv2d(3, 2, 3, padding=1)
        self.head = FcHead(2, 4, channels=channels, dropout=0.0, ranks=ranks)
        self.out = nn.Linear(channels, 2)

    @property
    def fc_layers(self) -> list[nn.Module]:
        return [self.head] if isinstance(self.head, FcHead) else []

    def replace_fc_layers(self, layers: Sequence[nn.Module]) -> None:
        (self.head,) = layers  # type: ignore[assignment]

    def vectors(self, batch: TrainBatch) -> tuple[list[int], Tensor]:
        maps = self.conv(batch.images.pixels.float() / 255)[:, :, :4, :4]
        counts = [target.image % 4 for target in batch.targets]
        return counts, self.head(maps.repeat_interleave(torch.tensor(counts), 0))

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        counts, vectors = self.vectors(batch)
        errors = (self.out(vectors) - 1.0).square().sum(1)
        return {"loss": torch.stack([part.sum() / 3 for part in errors.split(counts)]).mean()}


def optimizer_of(model: nn.Module, kind: str) -> Optimizer:
    if kind == "adamw":
        return adamw(model, lr=0.01, weight_decay=0.05, betas=(0.9, 0.999))
    return sgd(model, lr=0.05, momentum=0.9, weight_decay=1e-4, bias_lr_factor=2.0)


def learn(folder: Path, kind: str, epochs: int, *, resumes: bool = False) -> None:
    """Train on, and leave last.pt and the norms of the gradients."""
    model = RegionModel()
    divide_fc(model, CPU)
    assert isinstance(model.head, DividedFcHead) == (world_size() > 1)
    norms: list[float] = []

    def hear(report: Report) -> None:
        norms.append(report.values["grad_norm"])

    train(
        model,
        epochs=epochs,
        steps_per_epoch=12 // BATCH,
        loader=Loader(rank=rank(), world=world_size(), batch=BATCH),
        optimizer=optimizer_of(model, kind),
        folder=folder,
        ema_decay=0.9,
        clip_norm=0.2,
        accumulate=2,
        resumes=resumes,
        on_step=hear,
    )
    if rank() == 0:
        torch.save(norms, folder / "norms.pt")


def _learn(folder: Path, environment: dict[str, str], *rest: Any) -> None:
    torch.set_num_threads(1)
    os.environ.update(environment)
    with process_group(CPU):
        learn(folder, *rest[:2], resumes=rest[2])


def _take_apart(folder: Path, environment: dict[str, str]) -> None:
    torch.set_num_threads(1)
    os.environ.update(environment)
    with process_group(CPU):
        model = RegionModel()
        divide_fc(model, CPU)
        weight: Any = model.head.fc6.weight
        assert isinstance(weight, DTensor)
        assert weight.shape == (6, 32)
        local = weight.to_local()
        batch = next(iter(Loader(rank=rank(), world=2, batch=BATCH)(0, 0)))
        divided = model.vectors(batch)[1].detach()
        with undivided(model):
            whole = {name: value.clone() for name, value in model.state_dict().items()}
            alone = (
                model.vectors(batch)[1].detach() if rank() == 0 else None
            )  # the other one does not call it
        assert isinstance(model.head, DividedFcHead)
        answers = {"bytes": local.untyped_storage().nbytes(), "divided": divided, "alone": alone}
        torch.save({**answers, "whole": whole, "refused": _refusal(RegionModel(7))}, folder / f"{rank()}.pt")


def _refusal(model: nn.Module) -> str:
    with pytest.raises(UserError) as error:
        divide_fc(model, CPU)
    return str(error.value)


def in_two_processes(target: Any, *arguments: Any) -> None:
    folder, *rest = arguments
    processes = [CONTEXT.Process(target=target, args=(folder, place, *rest)) for place in meeting(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def assert_alike(found: Any, expected: Any, path: str = "") -> None:
    """Compare nested values; numbers up to the order of additions."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), path
        for key, value in expected.items():
            assert_alike(found[key], value, f"{path}.{key}")
    elif isinstance(expected, Tensor):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6, msg=lambda text: f"{path}: {text}")
    else:
        assert found == expected, path


def training_in(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint says of the training itself, and not of how it is computed."""
    content = read_checkpoint(folder / "last.pt")
    return {name: content[name] for name in ("model", "ema", "epoch_steps", "progress")} | {
        "optimizer": content["optimizer"]["state"]
    }


def test_alone_the_layers_stay_whole() -> None:
    model = RegionModel()
    head, weights = model.head, model.head.fc6.weight
    divide_fc(model, CPU)
    with undivided(model):
        assert model.head is head
    assert model.head.fc6.weight is weights


def test_a_detector_without_such_layers_is_refused() -> None:
    assert "which this detector lacks" in _refusal(nn.Linear(2, 2))
    model = RegionModel()
    model.head = nn.Flatten()  # type: ignore[assignment]
    assert "which this detector lacks" in _refusal(model)


@pytest.mark.slow
@pytest.mark.local_sockets
def test_each_process_holds_a_part_and_gets_the_vectors_of_its_own_regions(tmp_path: Path) -> None:
    in_two_processes(_take_apart, tmp_path)
    model = RegionModel()
    parts = [torch.load(tmp_path / f"{number}.pt") for number in range(2)]
    for number, part in enumerate(parts):
        batch = next(iter(Loader(rank=number, world=2, batch=BATCH)(0, 0)))
        torch.testing.assert_close(part["divided"], model.vectors(batch)[1].detach())
        assert_alike(part["whole"], dict(model.state_dict()))
        assert part["bytes"] == model.head.fc6.weight.nbytes // 2
        assert part["refused"] == "train.divide_fc: 7 units cannot be divided among 2 processes"
    assert len(parts[0]["divided"]) != len(parts[1]["divided"])
    torch.testing.assert_close(parts[0]["alone"], parts[0]["divided"])


@pytest.mark.slow
@pytest.mark.local_sockets
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_two_processes_end_where_one_does_and_either_resumes_the_others(tmp_path: Path, kind: str) -> None:
    one, two, there, back = (tmp_path / name for name in ("one", "two", "there", "back"))
    for folder in (one, two, there, back):
        folder.mkdir()
    learn(one, kind, 3)
    in_two_processes(_learn, two, kind, 3, False)
    expected = training_in(one)
    assert_alike(training_in(two), expected)
    norms = torch.load(one / "norms.pt")
    assert torch.load(two / "norms.pt") == pytest.approx(norms, rel=1e-4)
    assert max(norms) > 0.2  # so that clipping, which takes all parameters together, had something to do
    learn(there, kind, 2)
    in_two_processes(_learn, there, kind, 3, True)
    in_two_processes(_learn, back, kind, 2, False)
    learn(back, kind, 3, resumes=True)
    for folder in (there, back):
        assert_alike(training_in(folder), expected)


def test_compressed_layers_are_not_divided() -> None:
    class Alone:
        def size(self) -> int:
            return 1

    for ranks in ((2, None), (None, 2), (2, 2)):
        head = RegionModel(ranks=ranks).head
        with pytest.raises(UserError, match="not those of fc6_rank and fc7_rank"):
            DividedFcHead(head, Alone())  # type: ignore[arg-type]


@pytest.mark.parametrize(("device", "ids"), [("cpu", None), ("cuda:1", [torch.device("cuda:1")])])
def test_a_replica_is_told_its_gpu_and_nothing_of_a_cpu(
    device: str, ids: list[torch.device] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, object] = {}

    class Replica:
        _set_params_and_buffers_to_ignore_for_model = staticmethod(lambda model, names: None)

        def __init__(self, model: nn.Module, **settings: object) -> None:
            told.update(settings)

    monkeypatch.setattr("detkit.training.distributed.world_size", lambda: 2)
    monkeypatch.setattr("detkit.training.distributed.DistributedDataParallel", Replica)
    replicate(nn.Linear(2, 2), torch.device(device))
    assert told["device_ids"] == ids
