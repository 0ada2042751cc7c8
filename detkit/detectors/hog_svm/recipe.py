"""HOG + SVM's training: windows at random, then rounds of hard negatives, one SVM a class."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from detkit.data.loading.samples import DetectionDataset, Key
from detkit.data.transforms.builder import eval_transforms
from detkit.detectors.hog_svm.config import HOGSVMConfig, MiningConfig
from detkit.detectors.hog_svm.examples import HOGExamples, Variation, measured_windows
from detkit.detectors.hog_svm.model import HOGSVM
from detkit.detectors.staged_recipe import mining_of, stage_inputs
from detkit.detectors.task import Progress, Task
from detkit.errors import UserError
from detkit.models.roi.decision_config import SVMConfig
from detkit.runtime.processes import barrier, rank
from detkit.runtime.progress import say
from detkit.training.staged.decision import fill_svms, mine_planes
from detkit.training.staged.mining_state import MiningState
from detkit.training.staged.stages import Stages


def train_hog_svm(task: Task) -> Progress:
    """Fit the templates of all classes, unless that is done; the detector is left in the task's folder.

    Raises:
        UserError: an image cannot be read, or a class has objects and no negatives.
        KeyboardInterrupt: after Ctrl-C; the mining is resumed with the training.

    Reference: Dalal & Triggs, CVPR 2005, section 4; Felzenszwalb et al., PAMI 2010 (the mining).
    """
    if task.from_weights is not None:
        raise UserError("--from: hog_svm starts from no weights; its SVMs are fitted from scratch")
    detector, how = cast(HOGSVMConfig, task.detector), cast(MiningConfig, task.train)
    images = DetectionDataset.of(task.train_set, eval_transforms(task.data), seed=0)
    model = _with_windows(detector, task, images)
    inputs = {
        **stage_inputs(task),
        "detector": detector.model_dump(exclude={"head"}),
        "windows": [model.window(label) for label in range(task.num_classes)],
        "how": detector.head.model_dump(include=set(SVMConfig.model_fields)),
        "train": how.model_dump(),
    }
    seconds: list[float] = []

    def fit(part: Path) -> None:
        start = time.perf_counter()

        width = max(model.template(label).weight.numel() for label in range(task.num_classes))
        mining = mining_of(detector.head, drop_known=True)
        mine_planes(partial(_examples, task, model, images), width, mining, task.data.classes, part)
        seconds.append(time.perf_counter() - start)

    made = Stages(task.folder, ["svms"], say).run("svms", inputs, fit)
    fill_svms(model, made.path)
    if rank() == 0:
        task.save(model)
    barrier()
    turns = len(images) * (1 + how.rounds)
    return Progress(0, turns / seconds[0] if seconds else 0.0)


def _examples(task: Task, model: HOGSVM, images: DetectionDataset, state: MiningState) -> HOGExamples:
    head, how = cast(HOGSVMConfig, task.detector).head, cast(MiningConfig, task.train)
    return HOGExamples(
        model=model,
        images=images,
        state=state,
        variation=Variation(how.mirror, how.jitter, how.jitter_px),
        rounds=how.rounds,
        random_negatives=how.random_negatives,
        hard_per_image=how.hard_per_image,
        hard_above=head.hard_above,
        negative_iou=head.negative_iou,
        seed=task.seed,
    )


def _with_windows(detector: HOGSVMConfig, task: Task, images: DetectionDataset) -> HOGSVM:
    """Return the detector with a window for each class, measured where the config has none."""
    if detector.regions.windows is not None:
        return cast(HOGSVM, task.initial_model())
    blank = cast(HOGSVM, task.initial_model())
    # Where images are resized, objects are known in their pixels once they are read.
    targets = [
        images.index.target(image) if task.data.resize is None else images[Key(0, image)].target
        for image in range(len(images))
    ]
    boxes = np.concatenate([target.boxes[~target.crowd].numpy() for target in targets])
    labels = np.concatenate([target.labels[~target.crowd].numpy() for target in targets])
    measured = measured_windows(boxes, labels, task.num_classes, blank.hog, detector.regions.context_px)
    if rank() == 0:
        shown = ", ".join(
            f"{name} {width} x {height}"
            for name, (height, width) in zip(task.data.classes, measured, strict=True)
        )
        say(f"windows in pixels: {shown}")
    regions = detector.regions.model_copy(update={"windows": tuple((w, h) for h, w in measured)})
    found = detector.model_copy(update={"regions": regions})
    return cast(HOGSVM, task.build(found, task.num_classes, task.seed))
