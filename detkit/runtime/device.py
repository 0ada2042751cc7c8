"""Choice of the device and the arithmetic of a training or a prediction."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from detkit.errors import UserError
from detkit.names import counted

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device of a name.

    Args:
        name: `auto` (CUDA, then MPS, then the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.
        local_rank: number of this process on this machine; `auto` and `cuda` give it the GPU of this number.

    Raises:
        UserError: this machine, or this build of PyTorch, does not have the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("device: mps needs an Apple GPU, and this machine has none; use device: auto")
    if not name.startswith("cuda"):
        return torch.device(name)
    if not torch.cuda.is_available():
        build = "is built without CUDA" if torch.version.cuda is None else "finds no GPU"
        raise UserError(
            f"device: {name}: this PyTorch ({torch.__version__}) {build}; use device: auto or cpu"
        )
    device = torch.device(name if ":" in name else f"cuda:{local_rank}")
    count = torch.cuda.device_count()
    if device.index >= count:
        raise UserError(
            f"device: {device}: this machine has {counted(count, 'GPU')}, cuda:0 to cuda:{count - 1}"
        )
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Return what autocast computes in, or None for float32 throughout.

    Args:
        name: `auto` (bf16 where the processor computes in it, otherwise fp32), `fp32`, `bf16` or `fp16`.
        device: where the model runs.

    Raises:
        UserError: fp16 without CUDA (its gradients vanish without loss scaling), or bf16 on a GPU that
            can only emulate it.
    """
    if name == "auto":
        return torch.bfloat16 if _computes_bf16(device) else None
    if name == "fp16" and device.type != "cuda":
        raise UserError(f"precision: fp16 needs a CUDA GPU, not {device}; use bf16, fp32 or auto")
    if name == "bf16" and device.type == "cuda" and not _computes_bf16(device):
        gpu = torch.cuda.get_device_name(device)
        raise UserError(f"precision: bf16 needs a GPU of compute capability 8, not {gpu}; use fp16 or auto")
    return _DTYPES[name]


def predicting_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Return the precision of a training where this device has it, otherwise what `auto` takes.

    A model that was trained in fp16 on a GPU predicts on a laptop, too.
    """
    try:
        return choose_precision(name, device)
    except UserError:
        return choose_precision("auto", device)


def set_deterministic(deterministic: bool) -> None:
    """Refuse operations whose result changes from run to run, or allow them again.

    With it, the same seed and config give the same weights, bit for bit, on the same machine.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = False
    # Filling fresh memory would only matter to an operation that reads what nobody wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8
    if device.type != "cpu":
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and " bf16" in cpuinfo.read_text(encoding="utf-8", errors="ignore")
