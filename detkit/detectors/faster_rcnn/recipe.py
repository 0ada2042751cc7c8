"""Faster R-CNN's training in four steps (Ren et al., NIPS 2015, section 3.2)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from detkit.data.datasets.source import Source
from detkit.data.regions.attached_proposals import StoredBoxes
from detkit.data.regions.propose_images import propose_images
from detkit.data.transforms.builder import resizing
from detkit.detectors.fast_rcnn.box_targets import measure_box_targets
from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.detectors.faster_rcnn.config import AlternatingConfig, FasterRCNNConfig, TurnConfig, as_gradient
from detkit.detectors.faster_rcnn.model import FasterRCNN, ProposalNetwork
from detkit.detectors.gradient_recipe import train_by_gradient
from detkit.detectors.task import Progress, Task
from detkit.errors import UserError
from detkit.inference.model_file import read_model_file
from detkit.inference.rpn_proposer import RPNProposer
from detkit.inference.score_floor import Advice
from detkit.models.rpn.rpn import Limits
from detkit.proposals.store.parts import StoreParts
from detkit.proposals.store.store import Origin, ProposalStore
from detkit.runtime.processes import barrier, from_main, rank, world_size
from detkit.runtime.progress import say
from detkit.storage.atomic import write_atomically
from detkit.storage.run_folder import CHECKPOINT, METRICS, MODEL
from detkit.training.loop.optim import freeze
from detkit.training.staged.stages import Artefact, Stages

STEPS = ("1-rpn", "1-proposals", "2-fast_rcnn", "3-rpn", "3-proposals", "4-fast_rcnn")
_ALL = 1 << 31  # more boxes than any image has anchors
_THREADS = 2  # one prepares images while the other's network runs


@dataclass(frozen=True)
class _Step(Task):
    """A step trains a part of a detector and keeps the whole.

    Attributes:
        whole: the detector.
    """

    whole: nn.Module = field(kw_only=True)

    def save(
        self,
        model: nn.Module,
        thresholds: Advice | None = None,
        measured: tuple[str, float] | None = None,
    ) -> None:
        """Write model.safetensors with the whole detector."""
        super().save(self.whole, thresholds, measured)


def train_alternately(task: Task) -> Progress:
    """Train the proposal network and the head in turn; the detector that they end in is left in the folder.

    1. The proposal network, from the backbone's weights.
    2. A Fast R-CNN, from the backbone's weights again, on the proposals of step 1. Nothing is shared yet.
    3. The proposal network on the convolutions of step 2, which are frozen from here on.
    4. The head of step 2 on the proposals of step 3.

    Each step is a stage: what is done is not done again, and a step that was stopped goes on.

    Args:
        task: the data, the run's folder and where it runs.

    Raises:
        UserError: an image or weights cannot be read.
        NonFiniteLossError: a step diverged.
        KeyboardInterrupt: after Ctrl-C; it says how to go on.
    """
    if task.from_weights is not None:
        raise UserError(
            "--from: alternating training begins with backbone.weights; train.type: gradient starts from a "
            "trained detector"
        )
    train = cast(AlternatingConfig, task.train)
    work = _Alternation(task, train)
    first = work.step("1-rpn", train.rpn, start=None, proposals=None)
    boxes = work.proposals("1-proposals", first)
    second = work.step("2-fast_rcnn", train.fast_rcnn, start=None, proposals=boxes)
    third = work.step("3-rpn", train.rpn, start=second, proposals=None)
    boxes = work.proposals("3-proposals", third)
    fourth = work.step("4-fast_rcnn", train.fast_rcnn, start=third, proposals=boxes)
    model = work.model(fourth)
    if rank() == 0:
        task.save(model)
        _join_metrics([step.path for step in (first, second, third, fourth)], task.folder / METRICS)
    barrier()
    return Progress(work.steps_done, 0.0)


class _Alternation:
    """The steps of one training."""

    def __init__(self, task: Task, train: AlternatingConfig) -> None:
        self.task, self.train = task, train
        self.stages = Stages(task.folder, STEPS, say)
        self.steps_done = 0
        self.head = cast(FasterRCNNConfig, task.detector).head
        self.inputs = {
            "detector": task.detector.model_dump(mode="json"),
            "data": task.data.model_dump(mode="json", exclude={"val", "workers"}),
            "seed": task.seed,
        }

    def step(
        self, name: str, turn: TurnConfig, *, start: Artefact | None, proposals: Artefact | None
    ) -> Artefact:
        """Return the folder of a step; it learns the head if there are proposals, otherwise the RPN.

        Args:
            name: of the stage.
            turn: how it is trained.
            start: the step to start from, whose convolutions stand still; None is the backbone's weights.
            proposals: what the head learns from.
        """
        inputs = {**self.inputs, "turn": turn.model_dump(mode="json")}
        inputs |= {"start": start, "proposals": proposals}
        return self.stages.run(name, inputs, lambda folder: self._learn(folder, turn, start, proposals))

    def model(self, step: Artefact | None) -> FasterRCNN:
        """Return the detector as a step left it, or as it is before any step, on the session's device."""
        model = cast(FasterRCNN, self.task.initial_model(replaced=step is not None))
        if step is not None:
            read_model_file(step.path / MODEL).load_into(model)
        return model

    def proposals(self, name: str, step: Artefact) -> Artefact:
        """Return the file with the proposals of a step's network for the images to learn from."""
        limits = Limits(self.train.pre_nms or _ALL, self.train.post_nms)
        inputs = {"step": step, "limits": list(limits)}
        annotations, pixels = self.task.train_set.annotations, self.task.train_set.pixels

        def propose(file: Path) -> None:
            parts = StoreParts(file, annotations.image_files.tolist(), Origin("rpn", inputs_shown, step.key))
            session, resize = self.task.session, resizing(self.task.data.resize)
            proposer = RPNProposer(self.model(step), resize, session, limits)
            share = range(rank(), annotations.num_images, world_size())
            propose_images(parts, share, pixels, proposer, num_threads=_THREADS)
            barrier()
            from_main(lambda: parts.join() and None)

        inputs_shown = {"pre_nms": limits.pre_nms, "post_nms": limits.post_nms}
        return self.stages.run(name, inputs, propose, suffix=".safetensors")

    def _learn(
        self, folder: Path, turn: TurnConfig, start: Artefact | None, proposals: Artefact | None
    ) -> None:
        whole = self.model(start)
        if start is not None:
            freeze(whole.backbone)
            freeze(whole.neck)
        train_set, device = self.task.train_set, self.task.session.device
        resumes = from_main((folder / CHECKPOINT).exists)
        how = as_gradient(turn, self.train.precision)
        step = _Step(**{**vars(self.task), "folder": folder, "resume": resumes, "val_set": None}, whole=whole)
        try:
            if proposals is None:
                part: ProposalNetwork | FastRCNN = ProposalNetwork(whole.backbone, whole.neck, whole.rpn)
            else:
                step = replace(step, train_set=_with_boxes(train_set, proposals))
                part = FastRCNN(whole.backbone, whole.neck, whole.roi_head).to(device)
                measure_box_targets(self.head, part, step, continues=start is not None)
            done = train_by_gradient(step, part.to(device), how)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # the stage says how the run is resumed, not this folder
        self.steps_done += done.steps
        if rank() == 0:
            (folder / CHECKPOINT).unlink(missing_ok=True)  # as large as two models, and of no use any more


def _with_boxes(source: Source, proposals: Artefact) -> Source:
    store = ProposalStore.open(proposals.path)
    return replace(source, proposals=StoredBoxes(store, np.arange(len(store)), None))


def _join_metrics(folders: list[Path], file: Path) -> None:
    """Write what the steps noted as one training, whose steps and epochs go on from one to the next."""
    lines: list[str] = []
    last: dict[str, Any] = {"step": 0, "epoch": 0.0}
    for folder in folders:
        before = last
        for line in (folder / METRICS).read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            last = {**record, **{name: before[name] + record[name] for name in ("step", "epoch")}}
            lines.append(json.dumps(last))
    write_atomically(file, "".join(f"{line}\n" for line in lines))
