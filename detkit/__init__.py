"""detkit: the detectors of the R-CNN lineage, from YAML configs.

    detector = detkit.load("runs/mine")
    found = detector.predict("photo.jpg")
    print(found)
    found.save("found.jpg")

Names are loaded when they are first used: importing detkit reads no file and imports no torch. The first
use sets GOMP_SPINCOUNT where the environment says nothing of it (docs/performance.md, "Threads").
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detkit.config.load import load_config
    from detkit.detectors.builder import build_detector
    from detkit.errors import NonFiniteLossError, UserError
    from detkit.evaluation.metrics.coco import evaluate_coco
    from detkit.evaluation.metrics.voc import evaluate_voc
    from detkit.runs.predictor import build_predictor as load
    from detkit.training.loop.fit import fit
    from detkit.workflows.evaluate import evaluate
    from detkit.workflows.predict import predict
    from detkit.workflows.train import train

    __version__: str

__all__ = [
    "NonFiniteLossError",
    "UserError",
    "__version__",
    "build_detector",
    "evaluate",
    "evaluate_coco",
    "evaluate_voc",
    "fit",
    "load",
    "load_config",
    "predict",
    "train",
]

_HOMES = {
    "NonFiniteLossError": "detkit.errors:NonFiniteLossError",
    "UserError": "detkit.errors:UserError",
    "__version__": "detkit.version:VERSION",
    "build_detector": "detkit.detectors.builder:build_detector",
    "evaluate": "detkit.workflows.evaluate:evaluate",
    "evaluate_coco": "detkit.evaluation.metrics.coco:evaluate_coco",
    "evaluate_voc": "detkit.evaluation.metrics.voc:evaluate_voc",
    "fit": "detkit.training.loop.fit:fit",
    "load": "detkit.runs.predictor:build_predictor",
    "load_config": "detkit.config.load:load_config",
    "predict": "detkit.workflows.predict:predict",
    "train": "detkit.workflows.train:train",
}


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name not in _HOMES:
        raise AttributeError(f"module 'detkit' has no attribute {name!r}")
    import_module("detkit.runtime.cores").spin_briefly()  # before the first name brings torch along
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
