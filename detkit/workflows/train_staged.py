"""R-CNN's way to learn: fine-tune the network, take features, learn SVMs, learn box regression."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import nn

from detkit.config.decision import BoxRegression, SVMDecision
from detkit.config.staged import Staged
from detkit.training.distributed import barrier, rank
from detkit.training.stages import Artefact, Stages
from detkit.workflows.fine_tune_batches import fine_tune_batches
from detkit.workflows.fine_tune_regions import fine_tune, load_network
from detkit.workflows.fingerprint import dataset_key, weights_key
from detkit.workflows.learn_decision import fill_box_regression, fill_svms, learn_box_regression, learn_svms
from detkit.workflows.region_reader import RegionReader
from detkit.workflows.region_vectors import CachedVectors, StreamedVectors, Vectors
from detkit.workflows.run_folder import say
from detkit.workflows.task import Task
from detkit.workflows.train_gradient import Learned


def learn_in_stages(task: Task, how: Staged, model: nn.Module) -> Learned:
    """Run the stages that are not done yet; the detector is left in the task's folder.

    Args:
        task: the data, the folder and where it runs.
        how: the stages' settings.
        model: the detector with the weights it starts from, on the session's device.

    Raises:
        UserError: an image cannot be read, or the disk cannot hold the features.
        NonFiniteLossError: the fine-tuning diverged.
        KeyboardInterrupt: after Ctrl-C; the stage goes on when the training is resumed.
    """
    learning = _Learning(task, how, model)
    tuned = learning.fine_tune()
    model.eval()
    reader = RegionReader.of(task.run, model, task.learned)
    vectors, features = learning.take_features(reader, tuned)
    learning.learn_svms(reader, vectors, features)
    learning.learn_box_regression(reader, vectors, features)
    if rank() == 0:
        task.save(model)
    barrier()
    return learning.learned


class _Learning:
    """The stages of one training."""

    def __init__(self, task: Task, how: Staged, model: nn.Module) -> None:
        self.task, self.how, self.model = task, how, model
        detector: Any = task.config.detector
        self.head = detector.head
        self.regression: BoxRegression | None = detector.box_regression
        self.for_svms = isinstance(self.head, SVMDecision)
        self.learned = Learned(0, 0.0)
        plan = {
            "fine_tune": how.fine_tune is not None,
            "features": how.cache != "none" and (self.for_svms or self.regression is not None),
            "svms": self.for_svms,
            "box_regression": self.regression is not None,
        }
        self.names = [name for name, wanted in plan.items() if wanted]
        self.stages = Stages(task.folder, self.names, say)
        self.inputs = self._inputs()

    def _inputs(self) -> dict[str, Any]:
        """Return what every stage depends on."""
        config = self.task.config
        detector = config.detector.model_dump(include={"type", "backbone", "regions", "scales_px"})
        detector.get("regions", {}).pop("at_once", None)  # it changes no result
        return {
            "data": dataset_key(self.task.learned),
            "detector": detector,
            "resize": config.data.resize.model_dump() if config.data.resize else None,
            "seed": config.seed,
            "precision": str(self.task.run.precision),
        }

    def fine_tune(self) -> Artefact | str:
        """Teach the network; return what tells its weights apart."""
        start, spec = weights_key(self.model), self.how.fine_tune
        if spec is None:
            return start
        rates: list[float] = []
        new_layer = cast(nn.Module, self.model.classifier)
        kept = spec.model_dump(exclude={"accumulate", "save_every_steps", "images_in_memory_gb"})

        def tune(part: Path) -> None:
            task, model = self.task, self.model
            batches = fine_tune_batches(task, spec, model)
            rates.append(fine_tune(task, spec, model, new_layer, batches, part))

        made = self.stages.run(
            "fine_tune",
            {**self.inputs, "start": start, "how": kept, "dropout": self.head.dropout},
            tune,
            together=True,
        )
        load_network(self.model, made.path)
        self.learned = Learned(spec.steps, rates[0] if rates else 0.0)
        return made

    def take_features(self, reader: RegionReader, tuned: Artefact | str) -> tuple[Vectors, Mapping[str, Any]]:
        """Return the features that the next stages learn from, and what tells them apart."""
        inputs = {**self.inputs, "network": tuned, "layer": reader.model.layer, "kept": self.how.cache}
        if "features" not in self.names or self.how.cache == "none":
            return StreamedVectors(reader), inputs
        kept, min_iou = self.how.cache, self.regression.min_iou if self.regression else None

        def cached(folder: Path) -> CachedVectors:
            return CachedVectors(folder, reader, kept, min_iou=min_iou, for_svms=self.for_svms)

        wanted = {**inputs, "min_iou": min_iou, "svms": self.for_svms}
        made = self.stages.run("features", wanted, lambda part: cached(part).fill(), together=True)
        return cached(made.path), {"features": made}

    def learn_svms(self, reader: RegionReader, vectors: Vectors, features: Mapping[str, Any]) -> None:
        """Learn the SVMs, where there are some."""
        svms, classes = reader.model.svms, self.task.config.data.classes
        if svms is None:
            return
        how = self.head.model_dump(exclude={"dropout", "score_threshold", "nms_iou", "detections_per_class"})
        made = self.stages.run(
            "svms",
            {**features, "seed": self.inputs["seed"], "how": how},
            lambda part: learn_svms(reader, vectors, self.head, classes, part),
            together=True,
        )
        fill_svms(svms, made.path, classes)

    def learn_box_regression(
        self, reader: RegionReader, vectors: Vectors, features: Mapping[str, Any]
    ) -> None:
        """Learn box regression, where there is one."""
        deltas, spec = reader.model.box_deltas, self.regression
        if deltas is None or spec is None:
            return
        number = len(self.task.config.data.classes)
        made = self.stages.run(
            "box_regression",
            {**features, "seed": self.inputs["seed"], "how": spec.model_dump()},
            lambda part: learn_box_regression(reader, vectors, spec, number, part),
            together=True,
        )
        fill_box_regression(deltas, made.path)
