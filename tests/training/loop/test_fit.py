from __future__ import annotations

import dataclasses
import itertools
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from detkit.errors import NonFiniteLossError, UserError
from detkit.runtime.session import Session
from detkit.structures import TrainBatch
from detkit.training.loop.checkpoint import read_checkpoint
from detkit.training.loop.failure import LossWatch
from detkit.training.loop.fit import backward, limit_gradient, split_batch
from detkit.training.loop.milestones import Report, Validation
from detkit.training.loop.optim import Schedule, adamw, constant, cosine, sgd
from detkit.training.loop.timeline import Timeline
from tests.training.loop.tiny import STEPS, Loader, assert_same, batches, tiny_model, train, weights

CPU = torch.device("cpu")
SCHEDULE = Schedule(cosine(4 * STEPS, 0.0), 2, 0.1)


class StopAt:
    """Presses Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, report: Report) -> None:
        if report.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("step", [1, STEPS - 1, STEPS, 2 * STEPS + 2])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_resuming_anywhere_ends_in_the_same_weights_bit_for_bit(
    tmp_path: Path, workers: int, step: int, kind: str
) -> None:
    def run(**changes: Any) -> tuple[nn.Module, Any]:
        model = tiny_model()
        optimizer = (
            sgd(model, lr=0.05, momentum=0.9, weight_decay=1e-4, bias_lr_factor=2.0)
            if kind == "sgd"
            else adamw(model, lr=0.01, weight_decay=0.05, betas=(0.9, 0.999))
        )
        settings = {"epochs": 4, "schedule": SCHEDULE, "ema_decay": 0.9, "loader": Loader(workers)}
        return model, train(model, optimizer=optimizer, folder=tmp_path, **(settings | changes))

    whole, whole_state = run()
    (tmp_path / "last.pt").unlink()
    with pytest.raises(KeyboardInterrupt, match=rf"stopped after step {step} .*--resume --out {tmp_path}"):
        run(on_step=StopAt(step))
    assert read_checkpoint(tmp_path / "last.pt")["progress"]["step"] == step
    torch.rand(17)  # the state of the global generator must not matter
    resumed, state = run(resumes=True)
    assert_same(weights(whole), weights(resumed))
    assert state.step == whole_state.step == 4 * STEPS
    assert_same(whole_state.ema.state_dict()["mean"], state.ema.state_dict()["mean"])


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not() -> None:
    one, same, other = tiny_model(), tiny_model(), tiny_model()
    train(one)
    train(same)
    train(other, seed=6)
    assert_same(weights(one), weights(same))
    assert not torch.equal(one.head.weight, other.head.weight)


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_parts_of_a_batch_have_the_gradient_of_the_whole(parts: int) -> None:
    batch = next(iter(Loader(batch=4)(0, 0)))
    whole, divided = tiny_model(dropout=0.0).eval(), tiny_model(dropout=0.0).eval()
    scaler = GradScaler("cuda", enabled=False)
    expected = backward(whole, batch, scaler, None, 1)
    terms = backward(divided, batch, scaler, None, parts)
    for name in expected:
        torch.testing.assert_close(terms[name], expected[name])
    for one, other in zip(whole.parameters(), divided.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_split_keeps_every_image_once_with_its_own_target() -> None:
    batch = dataclasses.replace(next(iter(Loader(batch=4)(0, 0))), seed=9)
    proposals = tuple(torch.full((i, 4), float(i)) for i in range(4))
    batch = dataclasses.replace(batch, images=dataclasses.replace(batch.images, proposals=proposals))
    parts = split_batch(batch, 3)
    assert [len(boxes) for part in parts for boxes in part.images.proposals or ()] == [0, 1, 2, 3]
    assert [len(part) for part in parts] == [2, 2]
    assert [t.image for part in parts for t in part.targets] == [t.image for t in batch.targets]
    assert torch.equal(torch.cat([part.images.pixels for part in parts]), batch.images.pixels)
    assert {part.seed for part in parts} == {9}


def test_a_first_step_that_float16_skips_leaves_no_trace_in_the_momentum() -> None:
    class Overflows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.steps = nn.Parameter(torch.ones(3)), 0

        def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
            self.steps += 1
            return {"loss": (1e36 if self.steps == 1 else 1.0) * self.weight.sum()}

    model = Overflows()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25, momentum=0.5, fused=True)
    session = Session(CPU, torch.float16)
    few = list(batches())[:3]
    torch.use_deterministic_algorithms(True)  # memory that nobody wrote is NaN now
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        state = train(
            model, optimizer=optimizer, schedule=None, session=session, epochs=1, steps_per_epoch=3,
            batches=lambda epoch, start: few,
        )  # fmt: skip
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.use_deterministic_algorithms(False)
    # Skipped, then a gradient of 1 twice: 1 - 0.25 - 0.25 * 1.5.
    assert model.weight.tolist() == [0.375] * 3
    assert state.scaler.get_scale() == 2.0**15


def test_clipping_limits_the_norm_over_all_parameters() -> None:
    model = tiny_model()
    optimizer = sgd(model, lr=0.1, momentum=0.0, weight_decay=0.0, bias_lr_factor=1.0)
    scaler = GradScaler("cuda", enabled=False)
    backward(model, next(batches()), scaler, None, 1)
    before = torch.cat([p.grad.flatten() for p in model.parameters()])
    norm = limit_gradient(optimizer, scaler, 1e-3)["grad_norm"]
    after = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(norm, before.norm())
    torch.testing.assert_close(after.norm(), torch.tensor(1e-3), rtol=1e-3, atol=0)
    torch.testing.assert_close(after / after.norm(), before / before.norm())
    limit_gradient(optimizer, scaler, 0.0)
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in model.parameters()]), after)


def test_every_step_uses_the_rate_of_the_schedule_and_its_own_seed() -> None:
    rates: list[float] = []
    seeds: list[int] = []

    class Watched(type(tiny_model())):  # type: ignore[misc]
        def forward(self, batch: TrainBatch) -> dict[str, torch.Tensor]:
            seeds.append(batch.seed)
            return super().forward(batch)

    train(Watched(), epochs=1, schedule=SCHEDULE, on_step=lambda report: rates.append(report.lr))
    assert rates == pytest.approx([0.05 * SCHEDULE(step) for step in range(STEPS)])
    assert len(set(seeds)) == STEPS


def test_bf16_trains_and_losses_fall() -> None:
    totals: list[float] = []
    train(
        tiny_model(dropout=0.0),
        session=Session(torch.device("cpu"), torch.bfloat16),
        epochs=10,
        on_step=lambda report: totals.append(report.values["head_box"]),
    )
    assert sum(totals[-STEPS:]) < 0.5 * sum(totals[:STEPS])


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_spoilt(tmp_path: Path) -> None:
    model = tiny_model()
    seen: dict[int, Any] = {}

    def on_step(report: Report) -> None:
        seen[report.step] = weights(model)
        if report.step == 3:
            model.fault = "nan"

    with pytest.raises(NonFiniteLossError) as caught:
        train(model, on_step=on_step, folder=tmp_path)
    message = str(caught.value)
    assert "step 3: head_class is nan" in message
    assert "head_box" not in message
    assert "train.optimizer.lr" in message
    kept = torch.load(tmp_path / "nonfinite.pt", weights_only=True)
    for image in kept["images"]:
        assert f"image_{image}.jpg" in message
    assert kept["pixels"].shape == (2, 3, 8, 8)
    assert kept["losses"]["head_box"] == pytest.approx(kept["losses"]["head_box"])
    own = weights(model)
    for name, value in seen[3].items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(own[name], value), name


def test_a_gradient_that_is_not_finite_stops_too() -> None:
    class Root(type(tiny_model())):  # type: ignore[misc]
        def forward(self, batch: TrainBatch) -> dict[str, torch.Tensor]:
            return {"head_class": (self.head.weight * 0).abs().sum().sqrt()}

    with pytest.raises(NonFiniteLossError, match="step 0: grad_norm is nan"):
        train(Root())


def test_a_box_without_area_is_named_as_the_cause() -> None:
    batch = next(batches())
    target = dataclasses.replace(batch.targets[0], boxes=torch.tensor([[3.0, 3.0, 3.0, 5.0]]))
    broken = dataclasses.replace(batch, targets=(target, batch.targets[1]))
    watch = LossWatch(None, lambda index: f"image_{index}.jpg")
    with pytest.raises(NonFiniteLossError, match=rf"image_{target.image}.jpg has a box without area: \[3"):
        watch(0, broken, {"head_box": torch.tensor(torch.inf)})


def evaluated(scores: list[float], **changes: Any) -> tuple[list[int], Any, list[Report]]:
    """Train with given validation results; return the steps whose weights were kept."""
    kept: list[int] = []
    reports: list[Report] = []
    rest = iter(scores)
    model = tiny_model()
    validation = Validation(
        lambda _: (score := next(rest), {"map": score}),
        changes.pop("every", 1),
        changes.pop("early_stop", None),
    )
    state = train(
        model,
        validation=validation,
        save_model=lambda _: kept.append(reports[-1].step),
        on_step=reports.append,
        **changes,
    )
    return kept, state, [report for report in reports if report.split == "val"]


def test_the_best_weights_are_kept() -> None:
    kept, state, reports = evaluated([0.1, 0.4, 0.3, float("nan")], epochs=4)
    assert kept == [STEPS, 2 * STEPS]
    assert (state.best, state.best_step, state.stale) == (0.4, 2 * STEPS, 2)
    assert [report.values["map"] for report in reports[:3]] == [0.1, 0.4, 0.3]


def test_early_stopping_ends_after_so_many_validations_without_a_better_one() -> None:
    _, state, reports = evaluated([0.1, 0.4, 0.3, 0.35, 0.9], epochs=5, early_stop=2)
    assert state.step == 4 * STEPS
    assert len(reports) == 4


@pytest.mark.parametrize(("every", "epochs", "expected"), [(2, 5, [2, 4, 5]), (0, 3, [3]), (1, 2, [1, 2])])
def test_validation_comes_every_so_many_epochs_and_at_the_end(
    every: int, epochs: int, expected: list[int]
) -> None:
    _, _, reports = evaluated([0.1] * 5, every=every, epochs=epochs)
    assert [report.epoch for report in reports] == expected


def test_without_validation_the_latest_weights_are_kept() -> None:
    kept: list[torch.Tensor] = []
    model = tiny_model()
    train(model, save_model=lambda m: kept.append(m.head.weight.clone()))
    assert len(kept) == 2
    assert torch.equal(kept[-1], model.head.weight)


def test_the_running_mean_is_judged_and_kept_and_the_weights_go_on_without_it() -> None:
    plain, averaged = tiny_model(), tiny_model()
    train(plain)
    judged_weights: list[torch.Tensor] = []

    def evaluate(model: nn.Module) -> tuple[float, dict[str, float]]:
        assert not model.training
        judged_weights.append(averaged.head.weight.clone())
        return 1.0, {}

    state = train(averaged, ema_decay=0.5, validation=Validation(evaluate, 1, None))
    assert_same(weights(plain), weights(averaged))
    assert averaged.training
    mean = state.ema.state_dict()["mean"]["head.weight"]  # type: ignore[union-attr]
    assert torch.equal(judged_weights[-1], mean)
    assert not torch.equal(mean, averaged.head.weight)


def test_breaking_off_a_validation_loses_nothing(tmp_path: Path) -> None:
    def evaluate(model: nn.Module) -> tuple[float, dict[str, float]]:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the validation should have been broken off")

    whole, model = tiny_model(), tiny_model()
    train(whole)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        train(model, folder=tmp_path, validation=Validation(evaluate, 1, None))
    results: list[int] = []
    resumed = tiny_model()
    validation = Validation(lambda _: (float(len(results)), results.append(1) or {"map": 1.0}), 1, None)
    train(resumed, folder=tmp_path, validation=validation, resumes=True)
    assert len(results) == 2
    assert_same(weights(whole), weights(resumed))


def test_a_validation_that_is_repeated_reports_the_rate_of_the_step_before_it(tmp_path: Path) -> None:
    def broken_off(_: nn.Module) -> tuple[float, dict[str, float]]:
        raise KeyboardInterrupt

    reports: list[Report] = []
    result = Validation(lambda _: (1.0, {"map": 1.0}), 1, None)
    train(tiny_model(), schedule=SCHEDULE, validation=result, on_step=reports.append)
    whole = [report.lr for report in reports if report.split == "val"]
    reports.clear()
    stopped = Validation(broken_off, 1, None)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_model(), schedule=SCHEDULE, folder=tmp_path, validation=stopped)
    settings = {"folder": tmp_path, "resumes": True, "on_step": reports.append}
    train(tiny_model(), schedule=SCHEDULE, validation=result, **settings)
    assert [report.lr for report in reports if report.split == "val"] == whole
    assert whole[0] != whole[1]


def test_a_second_ctrl_c_stops_at_once_and_the_handlers_come_back(tmp_path: Path) -> None:
    def twice(report: Report) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(tiny_model(), folder=tmp_path, on_step=twice)
    assert not str(caught.value)
    assert not (tmp_path / "last.pt").exists()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_last_is_written_between_epochs_when_asked(tmp_path: Path) -> None:
    steps: list[int] = []

    def on_step(report: Report) -> None:
        if (tmp_path / "last.pt").exists():
            steps.append(read_checkpoint(tmp_path / "last.pt")["progress"]["step"])

    train(tiny_model(), epochs=1, folder=tmp_path, save_every_steps=2, on_step=on_step)
    assert steps == [2, 2, 4, 4][: len(steps)]
    assert steps


def test_a_training_is_extended_on_purpose(tmp_path: Path) -> None:
    train(tiny_model(), epochs=1, folder=tmp_path, schedule=Schedule(constant(), 0, 1.0))
    whole, extended = tiny_model(), tiny_model()
    train(whole, epochs=3, schedule=Schedule(constant(), 0, 1.0))
    train(extended, epochs=3, folder=tmp_path, resumes=True, schedule=Schedule(constant(), 0, 1.0))
    assert_same(weights(whole), weights(extended))


def test_resuming_with_another_epoch_length_is_refused(tmp_path: Path) -> None:
    train(tiny_model(), epochs=1, folder=tmp_path)
    with pytest.raises(UserError, match=r"last.pt: epoch 1 had 6 steps and has 5 now"):
        train(tiny_model(), folder=tmp_path, resumes=True, steps_per_epoch=5)


def test_epochs_of_different_length_resume_too(tmp_path: Path) -> None:
    def loader(epoch: int, start: int) -> Any:
        return itertools.islice(Loader()(epoch, start), 3 + epoch - start)

    timeline = Timeline([3, 4, 5])
    reports: list[Report] = []
    whole, stopped, resumed = tiny_model(), tiny_model(), tiny_model()
    train(whole, loader=loader, timeline=timeline, on_step=reports.append)
    assert [report.step for report in reports if report.epoch.is_integer()] == [3, 7, 12]
    with pytest.raises(KeyboardInterrupt, match=r"step 5 \(epoch 1\.50\)"):
        train(stopped, loader=loader, timeline=timeline, folder=tmp_path, on_step=StopAt(5))
    train(resumed, loader=loader, timeline=timeline, folder=tmp_path, resumes=True)
    assert_same(weights(whole), weights(resumed))


def test_resuming_takes_the_rates_of_the_config(tmp_path: Path) -> None:
    train(tiny_model(), epochs=1, folder=tmp_path)
    model = tiny_model()
    optimizer = sgd(model, lr=0.5, momentum=0.9, weight_decay=0.0, bias_lr_factor=1.0)
    rates: list[float] = []
    train(
        model,
        optimizer=optimizer,
        folder=tmp_path,
        resumes=True,
        on_step=lambda report: rates.append(report.lr),
    )
    assert rates[-1] == 0.5
    assert optimizer.param_groups[0]["weight_decay"] == 0.0


def test_a_report_counts_the_images_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.training.loop.fit.world_size", lambda: 3)
    reports: list[Report] = []
    result = Validation(lambda _: (1.0, {"map": 1.0}), 1, None)
    train(tiny_model(), epochs=1, on_step=reports.append, validation=result)
    assert [(report.split, report.num_images) for report in reports] == [("train", 6)] * STEPS + [("val", 0)]


def test_stopping_without_a_folder_says_where() -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(tiny_model(), on_step=StopAt(2))
    assert str(stopped.value) == "stopped after step 2 (epoch 0.33)"


def test_stopping_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(tiny_model(), on_step=StopAt(9), folder=tmp_path)
    assert str(stopped.value) == (
        "stopped after step 9 (epoch 1.50); "
        f"the same command with --resume --out {tmp_path} goes on from there"
    )


def failure(batch: TrainBatch, terms: dict[str, float], folder: Path | None = None) -> str:
    watch = LossWatch(folder, lambda index: f"{index}.jpg")
    with pytest.raises(NonFiniteLossError) as caught:
        watch(7, batch, {name: torch.tensor(value) for name, value in terms.items()})
    return str(caught.value)


def test_a_failure_is_explained_in_full(tmp_path: Path) -> None:
    batch = dataclasses.replace(next(batches()), seed=11)
    first, second = (target.image for target in batch.targets)
    terms = {"head_class": torch.nan, "head_box": 2.0, "grad_norm": -torch.inf}
    advice = (
        "likely: the learning rate is too high for this batch size: lower train.optimizer.lr to a third, "
        "or lengthen train.warmup.steps\n"
        "otherwise: limit the gradient (train.clip_norm=10), or compute in fp32 (train.precision=fp32)"
    )
    what = f"step 7: head_class is nan, grad_norm is -inf\nimages: {first}.jpg, {second}.jpg\n"
    assert failure(batch, terms) == what + advice
    kept = tmp_path / "nonfinite.pt"
    assert failure(batch, terms, tmp_path) == f"{what}the batch is in {kept} (torch.load)\n{advice}"
    content = torch.load(kept, weights_only=True)
    assert (content["step"], content["seed"], content["images"]) == (7, 11, [first, second])
    assert content["losses"]["head_box"] == 2.0
    boxes = torch.tensor([[3.0, 3.0, 3.5, 5.0], [1.0, 4.0, 2.0, 4.0], [1.0, 2.0, torch.nan, 4.0]])
    broken = dataclasses.replace(batch.targets[1], boxes=boxes)
    causes = failure(dataclasses.replace(batch, targets=(batch.targets[0], broken)), terms).splitlines()[2:]
    assert causes == [
        f"cause: {second}.jpg has a box without area: [1.0, 4.0, 2.0, 4.0]",
        f"cause: {second}.jpg has a box without area: [1.0, 2.0, nan, 4.0]",
    ]


def test_an_image_that_is_in_the_batch_twice_is_named_once() -> None:
    batch = next(batches())
    twice = dataclasses.replace(batch, targets=(batch.targets[0],) * 2)
    assert failure(twice, {"a": torch.inf}).splitlines()[1] == f"images: {batch.targets[0].image}.jpg"


def test_what_fails_in_another_process_is_explained_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.training.loop.failure.mean_over_processes", lambda values: values + torch.nan)
    said = failure(next(batches()), {"a": 1.0})
    assert said == "step 7: a loss is not finite in another process, which names the images"


def test_values_are_the_mean_over_processes_and_other_processes_keep_their_own_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detkit.training.loop.failure.mean_over_processes", lambda values: values / 2)
    monkeypatch.setattr("detkit.training.loop.failure.rank", lambda: 3)
    batch = next(batches())
    assert LossWatch(None, str)(0, batch, {"a": torch.tensor(3.0)}) == {"a": 1.5}
    assert f"the batch is in {tmp_path / 'nonfinite_3.pt'} " in failure(batch, {"a": torch.inf}, tmp_path)


def test_the_scale_of_float16_goes_on_where_it_was(tmp_path: Path) -> None:
    session = Session(CPU, torch.float16)

    class Overflows(type(tiny_model())):  # type: ignore[misc]
        def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
            losses = super().forward(batch)
            return losses | {"large": 1e6 * losses["head_box"]}

    first = train(Overflows(), session=session, epochs=1, folder=tmp_path)
    assert first.scaler.get_scale() < 2.0**16  # steps were skipped
    resumed = train(Overflows(), session=session, epochs=1, folder=tmp_path, resumes=True)
    assert resumed.step == STEPS
    assert resumed.scaler.get_scale() == first.scaler.get_scale()


def test_a_training_in_float32_goes_on_in_float16_and_back(tmp_path: Path) -> None:
    train(tiny_model(), epochs=1, folder=tmp_path, ema_decay=0.5)
    half = train(tiny_model(), epochs=2, folder=tmp_path, resumes=True, session=Session(CPU, torch.float16))
    assert (half.step, half.scaler.is_enabled()) == (2 * STEPS, True)
    assert train(tiny_model(), epochs=3, folder=tmp_path, resumes=True, ema_decay=0.5).step == 3 * STEPS
