from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from detkit import workflows
from detkit.annotations.coco_results import read_coco_results
from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_validation_set
from detkit.data.datasets.split_leaks import Leaks, leak_warning
from detkit.data.synthetic.dataset import write_synthetic
from detkit.detectors import gradient_recipe as train_gradient
from detkit.errors import UserError
from detkit.evaluation.analysis.thresholds import advise_thresholds
from detkit.evaluation.measure import known, measure
from detkit.inference.score_floor import advice_of
from detkit.report.draw import write_image
from detkit.runs import predictions, results
from detkit.runs.predictor import build_predictor, load_detector
from detkit.workflows.compare import compare
from detkit.workflows.evaluate import evaluate
from detkit.workflows.predict import predict
from detkit.workflows.show_data import show_data
from detkit.workflows.train import train

SMALL = [
    "detector.backbone.width=0.125",
    "detector.proposals.channels=16",
    "data.resize={short_px: 96, long_px: 128}",
    "data.train.num_images=4",
    "data.val.num_images=3",
    "data.workers=0",
    "train.epochs=1",
    "train.batch_size=2",
    "train.precision=fp32",
    "device=cpu",
]


def small(*more: str) -> Config:
    return load_config("faster_rcnn_resnet18_synthetic", [*SMALL, *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    trained = train(small("evaluate.metric=voc07"), out=folder)
    assert trained is not None
    assert trained.steps == 2
    assert trained.measured is not None
    return folder


def test_a_run_leaves_its_files(run: Path) -> None:
    assert {file.name for file in run.iterdir()} == {
        "comp4",
        "config.yaml",
        "detections.json",
        "last.pt",
        "made_with.json",
        "metrics.jsonl",
        "model.safetensors",
        "report.html",
    }
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {line["split"] for line in lines} == {"train", "val"}
    assert {"step", "epoch", "lr", "rpn_objectness", "images_per_second"} <= lines[0].keys()


def test_the_page_shows_what_is_noted(run: Path) -> None:
    noted, page = json.loads((run / "made_with.json").read_text()), (run / "report.html").read_text("utf-8")
    assert noted["command"].startswith("detkit")
    assert noted["torch"] in page
    assert 'class="command"' in page


def test_the_resolved_config_is_enough_to_build_the_model_again(run: Path) -> None:
    assert load_detector(run / "model.safetensors").config == load_config(run / "config.yaml")


def test_a_run_leaves_the_thresholds_of_its_last_judgement_in_the_model_file(run: Path) -> None:
    config = load_config(run / "config.yaml")
    source = open_validation_set(config.data)
    found = read_coco_results(run / "detections.json", source.annotations)
    measured = measure(source.annotations, found, "voc07")
    advice = advice_of(advise_thresholds(source.annotations, found, measured.records))
    predictor = build_predictor(run, "cpu")
    assert predictor.thresholds == advice
    assert predictor.measured == ("voc07", measured.value)


def test_a_run_folder_is_never_overwritten(run: Path) -> None:
    with pytest.raises(UserError, match="not empty"):
        train(small(), out=run)


def test_evaluating_the_weights_repeats_the_numbers_of_the_training(run: Path, tmp_path: Path) -> None:
    again = evaluate(load_config(run / "config.yaml"), weights=run / "model.safetensors", out=tmp_path)
    assert again is not None
    assert json.loads((tmp_path / "detections.json").read_text()) == json.loads(
        (run / "detections.json").read_text()
    )
    assert again.to_json()["metric"] == "voc07"
    validations = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max((line for line in validations if line["split"] == "val"), key=lambda line: line["map_voc07"])
    numbers = {name: known(value) for name, value in again.measured.numbers().items()}
    assert {name: best[name] for name in numbers} == pytest.approx(numbers, nan_ok=True)
    assert load_config(tmp_path / "config.yaml") == load_config(run / "config.yaml")
    assert compare(run, tmp_path).result.total.within_noise


def test_classes_that_differ_name_both_sides(run: Path, tmp_path: Path) -> None:
    other = small("data.classes=[disc, cat]")
    with pytest.raises(UserError, match=r"disc, ring, square, star, triangle\n.*disc, cat\n"):
        evaluate(other, weights=run / "model.safetensors", out=tmp_path)


def test_what_can_be_known_is_said_before_images_are_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> Any:
        raise AssertionError("the images are read first")

    for workflow in ("train", "evaluate", "show_data"):
        module = importlib.import_module(f"detkit.workflows.{workflow}")
        for name in ("open_training_set", "open_validation_set"):
            monkeypatch.setattr(module, name, read, raising=False)
    model = run / "model.safetensors"
    with pytest.raises(UserError, match="not empty"):
        train(small(), out=run)
    with pytest.raises(UserError, match="not empty"):
        evaluate(small(), weights=model, out=run)
    with pytest.raises(UserError, match="not empty"):
        show_data(small(), out=run)
    with pytest.raises(UserError, match="classes are not those"):
        evaluate(small("data.classes=[disc, cat]"), weights=model, out=tmp_path / "new")
    with pytest.raises(UserError, match="no such file"):
        train(small(), from_weights=run / "absent.safetensors", out=tmp_path / "new")
    with pytest.raises(AssertionError):
        train(small(), out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_resuming_goes_on_and_names_what_changed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "again"
    train(small(), out=folder)
    longer = train(small("train.epochs=2"), out=folder, resume=True)
    assert longer is not None
    assert longer.steps == 4
    assert "train.epochs: 1 -> 2" in capsys.readouterr().err


def test_resuming_needs_a_folder_with_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--out"):
        train(small(), resume=True)
    with pytest.raises(UserError, match=r"config\.yaml"):
        train(small(), out=tmp_path, resume=True)


def test_fine_tuning_keeps_the_classes_it_knows(run: Path, tmp_path: Path) -> None:
    trained = train(
        small("data.classes=[star, disc]", "data.ignore_classes=[ring, square, triangle]"),
        out=tmp_path / "tuned",
        from_weights=run / "model.safetensors",
    )
    assert trained is not None
    assert load_detector(tmp_path / "tuned" / "model.safetensors").classes == ("star", "disc")


@pytest.mark.parametrize("result_format", ["json", "coco", "voc", "yolo", "csv"])
def test_predictions_are_written_and_drawn(run: Path, tmp_path: Path, result_format: str) -> None:
    write_synthetic(tmp_path / "data", "coco", 1, 2)
    folder, records = predict(
        run / "model.safetensors",
        [str(tmp_path / "data" / "val"), str(tmp_path / "data" / "train" / "*.jpg")],
        out=tmp_path / "found",
        format=result_format,  # type: ignore[arg-type]
        draw=True,
        threshold=0.0,
        device="cpu",
    )
    keys = {"image", "width", "height", "frame", "time_s", "detections", "error"}
    assert [set(record) for record in records] == [keys] * 3
    assert len(list((folder / "drawn").iterdir())) == 3
    assert any(file.is_file() for file in folder.rglob("*") if "drawn" not in file.parts)


def test_a_source_without_images_is_refused(run: Path, tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "nothing.jpg"):
        with pytest.raises(UserError, match=tmp_path.name):
            predict(run / "model.safetensors", [str(source)], out=tmp_path / "out")


def stop(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_training_that_was_stopped_before_its_first_checkpoint_begins_anew_by_the_same_command(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(train_gradient, "fit", stop)
        for resume in (False, False, True):
            with pytest.raises(KeyboardInterrupt):
                train(small("evaluate.metric=voc07"), out=tmp_path / "run", resume=resume)
    with pytest.raises(UserError, match=r"name another one$"):
        train(small(), out=tmp_path / "run")
    train(small("evaluate.metric=voc07"), out=tmp_path / "run")
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", run))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert {file.name for file in (tmp_path / "run").iterdir()} == {file.name for file in run.iterdir()}


def test_a_prediction_that_was_stopped_goes_on_by_the_same_command(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_synthetic(tmp_path / "data", "coco", 1, 3)
    settings: dict[str, Any] = {"draw": True, "threshold": 0.0, "device": "cpu"}

    def found(out: Path, result_format: Any = "voc") -> Path:
        sources = [str(tmp_path / "data" / "val")]
        return predict(run / "model.safetensors", sources, out=out, format=result_format, **settings)[0]

    def stop_at_the_second(file: Path, image: Any) -> None:
        if (tmp_path / "found" / "drawn" / "val_000000.jpg").exists():
            raise KeyboardInterrupt
        write_image(file, image)

    with monkeypatch.context() as patch:
        patch.setattr(predictions, "write_image", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            found(tmp_path / "found")
    with pytest.raises(UserError, match="not empty"):
        found(tmp_path / "found", "yolo")
    assert contents(found(tmp_path / "found")) == contents(found(tmp_path / "whole"))
    with pytest.raises(UserError, match="not empty"):
        found(tmp_path / "found")


def test_an_evaluation_that_was_stopped_is_done_anew_by_the_same_command(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, weights, out = run / "config.yaml", run / "model.safetensors", tmp_path / "found"
    with monkeypatch.context() as patch:
        patch.setattr(results, "write_page", stop)
        with pytest.raises(KeyboardInterrupt):
            evaluate(config, weights=weights, out=out)
    assert (out / "detections.json").exists()
    with pytest.raises(UserError, match="not empty"):
        evaluate(config, {"evaluate.metric": "coco"}, weights=weights, out=out)
    evaluate(config, weights=weights, out=out)
    whole = evaluate(config, weights=weights, out=tmp_path / "whole")
    assert whole is not None
    assert contents(out).keys() == contents(whole.out).keys()
    assert contents(out)["detections.json"] == contents(whole.out)["detections.json"]
    monkeypatch.setattr(workflows.evaluate, "detect_with", stop)
    with pytest.raises(UserError, match="not empty"):  # before the work is done
        evaluate(config, weights=weights, out=out)


def test_two_trainings_with_one_seed_end_in_the_same_weights(tmp_path: Path) -> None:
    states = []
    for name in ("one", "two"):
        train(small(), out=tmp_path / name)
        states.append(load_detector(tmp_path / name / "model.safetensors").file.state)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_too_little_memory_says_what_to_lower_and_by_how_much(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def exhausted(*rest: object, **named: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(train_gradient, "fit", exhausted)
    with pytest.raises(UserError, match=r"2 images at a time.*train\.accumulate=2 processes 1"):
        train(small("train.batch_size=2"), out=tmp_path / "a")
    with pytest.raises(UserError, match=r"1 image at a time.*data\.resize\.short_px=67"):
        train(small("train.batch_size=2", "train.accumulate=2"), out=tmp_path / "b")


def test_a_name_with_a_mapping_and_keywords_trains_and_evaluates_as_a_config_does(
    run: Path, tmp_path: Path
) -> None:
    changes = dict(item.split("=", 1) for item in SMALL)
    values = {key: yaml.safe_load(value) for key, value in changes.items()}
    del values["train.epochs"], values["device"]
    name = "faster_rcnn_resnet18_synthetic"
    trained = train(
        name, values | {"evaluate.metric": "voc07"}, epochs=1, device="cpu", out=str(tmp_path / "a")
    )
    assert trained is not None
    assert (trained.out / "config.yaml").read_bytes() == (run / "config.yaml").read_bytes()
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (trained.out, run))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    evaluated = evaluate(
        trained.out / "config.yaml", weights=str(trained.out / "model.safetensors"), out=str(tmp_path / "b")
    )
    assert evaluated is not None
    assert trained.measured is not None
    assert evaluated.measured.value == trained.measured.value


@pytest.mark.parametrize("asked", [True, False])
def test_maps_are_compiled_where_the_config_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(train_gradient, "compile_maps", compiled.append)
    train(small(f"train.compile={str(asked).lower()}", "data.val=null"), out=tmp_path / "run")
    assert len(compiled) == asked


@pytest.mark.parametrize("leaks", [Leaks(), Leaks(pairs=2), Leaks(films=1)])
def test_what_is_trained_on_is_said_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], leaks: Leaks
) -> None:
    asked: list[tuple[int, int]] = []

    def known_leaks(train_files: list[str], val_files: list[str]) -> Leaks:
        asked.append((len(train_files), len(val_files)))
        return leaks

    monkeypatch.setattr(workflows.train, "known_leaks", known_leaks)
    monkeypatch.setattr(workflows.train, "attach_proposals", stop)
    with pytest.raises(KeyboardInterrupt):
        train(small("data.train.num_images=4", "data.val.num_images=3"), out=tmp_path / "run")
    first, device, folder, *warnings = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"training on 4 images, \d+ objects", first)
    assert (device, folder) == ("on cpu, fp32", f"run folder: {tmp_path / 'run'}")
    assert warnings == ([f"warning: {leak_warning(leaks)}"] if any(leaks) else [])
    assert asked == [(4, 3)]
