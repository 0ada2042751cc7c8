"""Training steps on a CPU beside other programs: `threads: auto` and PyTorch's own number of threads.

The detector of the demo and the classifier of the embedded dataset make steps alone, beside one process
that keeps a core busy, and beside one that does so at the lowest priority. The sides are processes of
their own that make steps in turns, never at the same time. Each turn begins as a training does; what
`auto` tries before it settles is not part of a step's time but stands beside it (`trial_s`).

The goals: nothing lost alone (`ratio` at least 0.97), and beside one busy process at least half of the
speed alone (`of_quiet`), a fair share of two cores, never a tenth. `others` is the load of programs that
this benchmark did not start, in cores, which should be near 0.

    python benchmarks/busy_neighbour.py [--rounds 3] [--seconds 4] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring.turns import Claim, claim_of, deliver, rounded

TASKS = {
    "detector of the demo": ("faster_rcnn_resnet18_synthetic", "data.train.num_images=32"),
    "classifier of the embedded dataset": ("classifier_resnet18_synthetic",),
}
SIDES = {
    "auto": "threads: auto",
    "brief": "all cores, GOMP_SPINCOUNT as detkit sets it",
    "default": "PyTorch's number of threads",
}
OURS = ("auto", "brief")
SPIN = "while True: pass"
NEIGHBOURS = {
    "alone": None,
    "beside a busy process": SPIN,
    "beside a busy process of lowest priority": f"import os; os.nice(19)\n{SPIN}",
}
GOAL_ALONE, GOAL_BESIDE = 0.97, 0.5
NUM_BATCHES, LEAST_STEPS = 4, 3
UNSET = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


class Side:
    """One process that makes steps of a task when it is told to."""

    def __init__(self, task: str, side: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in UNSET}
        command = [sys.executable, __file__, "--task", task, "--side", side]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def turn(self, seconds: float) -> dict[str, Any]:
        """Return what steps took during so many seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(seconds, file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def make_steps(task: str, side: str) -> None:
    """Be one side: answer every line, a number of seconds, with what steps took."""
    from detkit.runtime.cores import spin_briefly

    if side in OURS:
        spin_briefly()  # before torch is loaded
    from detkit.config.load import load_config
    from detkit.runs.session import session

    name, *overrides = TASKS[task]
    threads = "auto" if side == "auto" else os.cpu_count()
    config = load_config(name, [*overrides, "device=cpu", f"threads={threads}"])
    with session(config, trains=True) as run:
        _answer(config, run)


def _answer(config: Any, run: Any) -> None:
    from itertools import cycle, islice

    import torch
    from torch.amp import GradScaler

    from detkit.data.datasets.builder import open_training_set
    from detkit.data.loading.loaders import TrainLoader
    from detkit.data.loading.samples import DetectionDataset
    from detkit.data.regions.batch import amount_of
    from detkit.data.transforms.builder import train_transforms
    from detkit.detectors.builder import build_detector
    from detkit.training.loop.builder import build_optimizer
    from detkit.training.loop.fit import backward
    from detkit.training.memory_probe import Step

    train_set, _ = open_training_set(config.data)
    model = build_detector(config.detector, len(config.data.classes), config.seed, pretrained=False).train()
    train = config.train
    optimizer, _ = build_optimizer(
        train.optimizer, model, batch_size=train.batch_size, reference_batch=train.reference_batch
    )
    step = Step(run, model, optimizer)
    dataset = DetectionDataset.of(train_set, train_transforms(config.data), config.seed)
    loader = TrainLoader(
        config.data, dataset,
        batch_size=config.train.batch_size, seed=config.seed, workers=0, pin_memory=False,
    )  # fmt: skip
    batches = list(islice(loader.epoch(0), NUM_BATCHES))
    torch.manual_seed(0)
    terms = backward(model, batches[0], GradScaler("cuda", enabled=False), run.precision, 1)
    loss = float(sum(term.float() for term in terms.values()))
    for line in sys.stdin:
        tuner, times, begun = run.threads.anew("training"), [], time.perf_counter()
        load = None
        start = settled = begun
        for batch in tuner.over(cycle(batches), amount_of):
            step(batch)
            now = time.perf_counter()
            if load is not None:
                times.append(now - start)
                if now - settled > float(line) and len(times) >= LEAST_STEPS:
                    break
            elif tuner.is_settled:  # the step before this one was the last of the trial
                settled, load = now, _busy_seconds() - time.process_time()
            start = now
        busy = (_busy_seconds() - time.process_time() - (load or 0.0)) / (now - settled)
        found = {"step_s": (now - settled) / len(times), "trial_s": settled - begun, "others": busy}
        print(json.dumps(found | {"threads": torch.get_num_threads(), "loss": loss}), flush=True)


def _busy_seconds() -> float:
    """Return the seconds that all cores have worked since the machine started; 0 where it does not say."""
    file = Path("/proc/stat")
    if not file.exists():
        return 0.0
    user, nice, system, _, _, interrupt, soft = map(int, file.read_text().split()[1:8])
    return (user + nice + system + interrupt + soft) / os.sysconf("SC_CLK_TCK")


@contextmanager
def neighbour(code: str | None) -> Iterator[None]:
    """Let another Python process run meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", code]) if code else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def measure(task: str, rounds: int, seconds: float) -> list[Claim]:
    """Return the claims of a task: one for each neighbour."""
    sides = {side: Side(task, side) for side in SIDES}
    answers: dict[str, dict[str, list[dict[str, Any]]]] = {
        name: {side: [] for side in SIDES} for name in NEIGHBOURS
    }
    try:
        for side in sides.values():
            side.turn(0.0)  # the first turn warms up
        for _ in range(rounds):
            for name, code in NEIGHBOURS.items():
                with neighbour(code):
                    for key, side in sides.items():
                        answers[name][key].append(side.turn(seconds))
    finally:
        for side in sides.values():
            side.end()
    quiet = min(statistics.median(turn["step_s"] for turn in answers["alone"][side]) for side in SIDES)
    return [_claim(task, name, side, turns, quiet) for side in OURS for name, turns in answers.items()]


def _claim(
    task: str, name: str, own_side: str, turns: dict[str, list[dict[str, Any]]], quiet: float
) -> Claim:
    pair = (own_side, "default")
    ours, theirs = ([turn["step_s"] for turn in turns[side]] for side in pair)
    own = 0.0 if NEIGHBOURS[name] is None else 1.0  # core of the neighbour that was started here
    others = [turn["others"] - own for side in pair for turn in turns[side]]
    losses = [turns[side][0]["loss"] for side in pair]
    goal = {"goal_ratio": GOAL_ALONE} if NEIGHBOURS[name] is None else {"goal_of_quiet": GOAL_BESIDE}
    if own_side != "auto" and NEIGHBOURS[name] is not None:
        goal = {}
    return claim_of(
        f"training step of the {task}, {SIDES[own_side]}, {name}",
        ours, SIDES["default"], theirs,
        same_answer=math.isclose(*losses, rel_tol=1e-3),
        of_quiet=rounded(quiet / statistics.median(ours)),
        peer_of_quiet=rounded(quiet / statistics.median(theirs)),
        threads=[turn["threads"] for turn in turns[own_side]],
        trial_s=rounded(statistics.median(turn["trial_s"] for turn in turns[own_side])),
        others=rounded(statistics.median(others)),
        **goal,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--task", choices=list(TASKS), help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        make_steps(options.task, options.side)
        return
    claims = [claim for task in TASKS for claim in measure(task, options.rounds, options.seconds)]
    deliver(claims, options.json)
    for claim in claims:
        print(f"{claim['claim']}: {claim['of_quiet']:.0%} of the speed alone (PyTorch's number: "
              f"{claim['peer_of_quiet']:.0%}), threads {claim['threads']}, trial {claim['trial_s']} s, "
              f"others {claim['others']}")  # fmt: skip


if __name__ == "__main__":
    main()
