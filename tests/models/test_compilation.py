"""A compiled detector computes the same, once translated for all sizes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from detkit.detectors.builder import build_detector
from detkit.detectors.cascade_rcnn.config import CascadeRCNNConfig
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.errors import UserError
from detkit.models.compilation import compile_maps
from detkit.structures import ImageBatch

SIZES = ((192, 256), (224, 288), (256, 200), (200, 264), (264, 240))


def tiny(config: type[FasterRCNNConfig | CascadeRCNNConfig] = FasterRCNNConfig) -> torch.nn.Module:
    spec = {
        "backbone": {"type": "resnet", "depth": 18, "width": 0.125},
        "neck": {"type": "fpn", "channels": 8},
        "proposals": {"type": "rpn", "post_nms_test": 20},
        "regions": {"type": "roi_align"},
        "head": {"type": "two_fc", "channels": 8, "score_threshold": 0.0},
    }
    return build_detector(config.model_validate(spec), 3, seed=0).eval()


def batch(size: tuple[int, int]) -> ImageBatch:
    pixels = torch.randint(0, 256, (1, 3, *size), generator=torch.Generator().manual_seed(0))
    return ImageBatch(pixels.to(torch.uint8), (size,), (size,))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "backend"),
    [(FasterRCNNConfig, "eager"), (FasterRCNNConfig, "inductor"), (CascadeRCNNConfig, "inductor")],
)
def test_sizes_share_one_translation(
    config: type[FasterRCNNConfig | CascadeRCNNConfig],
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # a broken-off run leaves broken files
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("no C++ compiler here")
    torch._dynamo.reset()
    eager, compiled = tiny(config), tiny(config)
    counter = CompileCounterWithBackend(backend)
    compile_maps(compiled, counter)
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    counts = []
    for size in SIZES:
        with torch.inference_mode():
            (expected,), (found,) = (model.detect(batch(size)) for model in (eager, compiled))
        torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=1e-3)
        counts.append(counter.frame_count)
    # The first size may make a translation of its own, the second one that leaves sizes open.
    assert counts[0] >= 3
    assert counts[1:] == [counts[1]] * (len(SIZES) - 1)
    assert counts[1] <= counts[0] + 2


def test_no_compiler_is_said_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"no no-such-compiler.*CXX"):
        compile_maps(tiny())


def test_a_detector_that_names_no_modules_is_told() -> None:
    with pytest.raises(UserError) as told:
        compile_maps(torch.nn.Linear(1, 1))
    assert str(told.value) == (
        "compile: true: Linear does not say which of its modules compute maps; give it a "
        "method map_modules(), or leave compile: false"
    )


def test_every_module_that_computes_maps_is_translated_for_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, dict[str, object]]] = []

    def compiled(module: torch.nn.Module, **how: object) -> None:
        told.append((type(module).__name__, how))

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    monkeypatch.setattr("shutil.which", lambda name: name)
    model = tiny()
    compile_maps(model)
    names = [type(module).__name__ for module in model.map_modules()]
    assert len(names) == 3
    assert told == [(name, {"backend": "inductor", "dynamic": True}) for name in names]


@pytest.mark.parametrize(("system", "compiler"), [("linux", "g++"), ("darwin", "clang++")])
def test_the_systems_own_compiler_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, system: str, compiler: str
) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError) as told:
        compile_maps(tiny())
    assert str(told.value) == (
        f"compile: torch.compile needs a C++ compiler on the CPU, and there is no {compiler}; install "
        "one, name yours in the environment variable CXX, or leave compile: false"
    )
