from __future__ import annotations

import pytest
import torch

from detkit.errors import UserError
from detkit.runtime import device
from detkit.runtime.device import choose_device, choose_precision, predicting_precision, set_deterministic

CPU = torch.device("cpu")


def offers(monkeypatch: pytest.MonkeyPatch, *, gpus: int = 0, mps: bool = False, capability: int = 8) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (capability, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old GPU")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_auto_takes_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    offers(monkeypatch)
    assert choose_device("auto") == CPU
    offers(monkeypatch, mps=True)
    assert choose_device("auto").type == "mps"
    offers(monkeypatch, gpus=2, mps=True)
    assert choose_device("auto", local_rank=1) == torch.device("cuda:1")
    assert choose_device("cpu") == CPU
    assert choose_device("cuda:0", local_rank=1) == torch.device("cuda:0")


@pytest.mark.parametrize(
    ("name", "gpus", "message"),
    [
        ("cuda", 0, "device: cuda: this PyTorch .* use device: auto or cpu"),
        ("cuda:3", 2, r"device: cuda:3: this machine has 2 GPUs, cuda:0 to cuda:1"),
        ("mps", 0, "device: mps needs an Apple GPU"),
    ],
)
def test_a_device_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, message: str
) -> None:
    offers(monkeypatch, gpus=gpus)
    with pytest.raises(UserError, match=message):
        choose_device(name)


def test_auto_precision_is_bf16_only_where_it_is_computed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda:0")
    offers(monkeypatch, gpus=1, capability=8)
    assert choose_precision("auto", cuda) is torch.bfloat16
    offers(monkeypatch, gpus=1, capability=7)
    assert choose_precision("auto", cuda) is None
    assert choose_precision("auto", torch.device("mps")) is None
    for supported in (True, False):
        monkeypatch.setattr(device, "_computes_bf16", lambda _, answer=supported: answer)
        assert choose_precision("auto", CPU) is (torch.bfloat16 if supported else None)


def test_a_precision_is_obeyed_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("fp32", CPU) is None
    assert choose_precision("bf16", CPU) is torch.bfloat16
    with pytest.raises(UserError, match="fp16 needs a CUDA GPU, not cpu; use bf16, fp32 or auto"):
        choose_precision("fp16", CPU)
    offers(monkeypatch, gpus=1, capability=7)
    assert choose_precision("fp16", torch.device("cuda:0")) is torch.float16
    with pytest.raises(UserError, match="compute capability 8, not Old GPU"):
        choose_precision("bf16", torch.device("cuda:0"))


def test_predicting_makes_do_with_what_the_device_has() -> None:
    assert predicting_precision("fp32", CPU) is None
    assert predicting_precision("bf16", CPU) is torch.bfloat16
    assert predicting_precision("fp16", CPU) is choose_precision("auto", CPU)


def test_deterministic_mode_refuses_what_changes_from_run_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        set_deterministic(True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        set_deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("avx512", [True, False])
@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_x86_computes_bf16_with_either_of_two_units(
    monkeypatch: pytest.MonkeyPatch, machine: str, amx: bool, avx512: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert device._computes_bf16(CPU) == (avx512 or amx)


@pytest.mark.parametrize(("features", "computes"), [("fp asimd bf16 i8mm", True), ("fp asimd i8mm", False)])
def test_arm_computes_bf16_where_the_system_says_so(
    monkeypatch: pytest.MonkeyPatch, features: str, computes: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr(device.Path, "is_file", lambda _: True)
    monkeypatch.setattr(device.Path, "read_text", lambda *_, **__: f"Features : {features}\n")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert device._computes_bf16(CPU) == computes
