"""What a detector learns depends on its seed, not on the number of processes or the parts of a batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from detkit.training.loop.checkpoint import read_checkpoint
from tests.reliability.detector_training import digest, learn


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return learn(tmp_path_factory.mktemp("one") / "run")


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-3, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.slow
@pytest.mark.local_sockets
def test_two_processes_learn_what_one_learns(one: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert_close(learn(tmp_path / "run", processes=2), one)


STARS = (
    "detector={type: dpm_cnn, backbone: {type: resnet, depth: 18, width: 0.125}, "
    "proposals: {type: stars, roots: [[2, 2], [3, 4]], parts: 1, part_size: [2, 2]}, "
    "regions: {type: max5, levels: 2, scale: 1}, head: {type: latent_svm, box_regression: true}}"
)


CASCADE = "detector.type=cascade_rcnn"


@pytest.mark.slow
@pytest.mark.local_sockets
@pytest.mark.parametrize("changed", [STARS, CASCADE], ids=["stars", "cascade"])
def test_two_processes_learn_what_one_learns_of_other_detectors(changed: str, tmp_path: Path) -> None:
    assert_close(learn(tmp_path / "two", changed, processes=2), learn(tmp_path / "one", changed))


@pytest.mark.slow
@pytest.mark.local_sockets
def test_the_fully_connected_layers_of_every_stage_are_divided(tmp_path: Path) -> None:
    divided = learn(tmp_path / "two", CASCADE, "train.divide_fc=true", processes=2)
    assert_close(divided, learn(tmp_path / "one", CASCADE))


@pytest.mark.slow
@pytest.mark.local_sockets
def test_two_processes_that_divide_the_fully_connected_layers_learn_what_one_learns(
    one: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    run = ("train.divide_fc=true", "train.ema.decay=0.9")
    divided = learn(tmp_path / "run", *run, processes=2)
    assert_close(divided, learn(tmp_path / "one", "train.ema.decay=0.9"))
    saved = read_checkpoint(tmp_path / "run" / "last.pt")
    fc6 = "roi_head.head.fc6.weight"
    assert saved["model"][fc6].shape == saved["ema"]["mean"][fc6].shape == one[fc6].shape
    again = learn(tmp_path / "run", *run, processes=2, resume=True)  # nothing is left to do but to read it
    assert_close(again, divided)


@pytest.mark.slow
def test_a_batch_in_parts_teaches_what_the_whole_one_teaches(
    one: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    assert_close(learn(tmp_path / "run", "train.accumulate=2"), one)


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["faster_rcnn", "roi_pool"])
def test_two_runs_of_one_seed_have_the_same_hash(detector: str, tmp_path: Path) -> None:
    changed = () if detector == "faster_rcnn" else ("detector.regions={type: roi_pool, size: 3}",)
    runs = [("seed=0", "data.workers=0"), ("seed=0", "data.workers=2"), ("seed=1", "data.workers=0")]
    for number, run in enumerate(runs):
        learn(tmp_path / str(number), "deterministic=true", "train.epochs=1", *changed, *run)
    same, workers, other = (digest(tmp_path / str(number) / "model.safetensors") for number in range(3))
    assert same == workers
    assert same != other
