"""Training in stages, as R-CNN and SPP-net are: fine-tune, take features, fit SVMs, fit box regression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from torch.optim import Optimizer

from detkit.data.datasets.index import Index
from detkit.data.transforms.builder import eval_transforms
from detkit.detectors.config import StagedDetectorConfig
from detkit.detectors.task import Progress, Task
from detkit.models.roi.builder import dropout_of
from detkit.models.roi.decision import SVMScores
from detkit.models.roi.decision_config import SVMConfig
from detkit.models.roi.region_detector import RegionDetector
from detkit.runtime.processes import barrier, rank
from detkit.runtime.progress import say
from detkit.spec import CustomConfig
from detkit.training.loop import optim
from detkit.training.loop.builder import build_optimizer
from detkit.training.staged.config import FineTuneConfig, StagedConfig
from detkit.training.staged.decision import fill_box_regression, fill_svms, fit_box_regression, fit_svms
from detkit.training.staged.feature_store import CachedVectors, RegionReader, Vectors
from detkit.training.staged.fine_tune import Loader, fine_tune, load_network
from detkit.training.staged.stages import Artefact, Stages, dataset_key, weights_key
from detkit.training.staged.svms import Mining

Batches = Callable[[Task, FineTuneConfig, RegionDetector], Loader]
"""Makes the batches of a detector's fine-tuning, those of this process."""


def train_in_stages(task: Task, batches: Batches) -> Progress:
    """Run the stages that are not done yet; the detector is left in the task's folder.

    Args:
        task: the data, the folder and where it runs.
        batches: makes the batches of the fine-tuning.

    Raises:
        UserError: an image cannot be read, or the disk cannot hold the features.
        NonFiniteLossError: the fine-tuning diverged.
        KeyboardInterrupt: after Ctrl-C; the stage is resumed with the training.
    """
    model = cast(RegionDetector, task.initial_model())
    stages = _StagedTraining(task, cast(StagedConfig, task.train), model)
    tuned = stages.fine_tune(batches)
    model.eval()
    reader = RegionReader.of(task.session, model, task.train_set, eval_transforms(task.data))
    vectors, features = stages.take_features(reader, tuned)
    stages.fit_svms(reader, vectors, features)
    stages.fit_box_regression(reader, vectors, features)
    if rank() == 0:
        task.save(model)
    barrier()
    return stages.progress


def mining_of(config: SVMConfig, *, drop_duplicates: bool = False, drop_known: bool = False) -> Mining:
    """Return how hard negatives are mined for the SVMs of a config; the flags are those of `Mining`."""
    return Mining(
        c=config.c,
        positive_weight=config.positive_weight,
        bias_multiplier=config.bias_multiplier,
        hard_above=config.hard_above,
        evict_below=config.evict_below,
        retrain_after=config.retrain_after,
        drop_duplicates=drop_duplicates,
        drop_known=drop_known,
    )


def stage_inputs(task: Task) -> dict[str, Any]:
    """Return what of a task every stage depends on, whatever the detector."""
    return {
        "data": dataset_key(task.train_set),
        "resize": task.data.resize.model_dump() if task.data.resize else None,
        "seed": task.seed,
        "precision": str(task.session.precision),
    }


def run_svm_stage(
    stages: Stages,
    inputs: Mapping[str, Any],
    task: Task,
    config: SVMConfig,
    svms: SVMScores,
    reader: RegionReader,
    vectors: Vectors,
) -> None:
    """Fit SVMs, unless that is done, and fill them in.

    Args:
        stages: those of the training; one is `svms`.
        inputs: all that the SVMs depend on.
        task: the classes and the seed.
        config: how they are fitted.
        svms: those of the model, which are changed.
        reader: knows the regions.
        vectors: their features.
    """
    classes = task.data.classes
    mining = mining_of(config, drop_duplicates=reader.model.equal_features_count_once)

    def fit(part: Path) -> None:
        fit_svms(reader, vectors, mining, classes, part, negative_iou=config.negative_iou, seed=task.seed)

    made = stages.run("svms", inputs, fit)
    fill_svms(svms, made.path)


def new_layer_optimizer(config: FineTuneConfig, model: RegionDetector) -> Optimizer:
    """Return the optimizer of a fine-tuning, in which the last layer, which is new, has a rate of its own."""
    optimizer, _ = build_optimizer(config.optimizer, model, batch_size=config.batch_size)
    optim.raise_rates(optimizer, model.decision.parameters(), config.new_lr_factor)
    return optimizer


def cached_bytes(task: Task, how: StagedConfig, reader: RegionReader) -> int:
    """Return the size on the disk of the features that a training in stages keeps; 0 without a cache."""
    if how.cache == "none":
        return 0
    detector = cast(StagedDetectorConfig, task.detector)
    min_iou = detector.box_regression.min_iou if detector.box_regression else None
    for_svms = isinstance(detector.head, SVMConfig)
    return CachedVectors(Path(), reader, how.cache, min_iou=min_iou, for_svms=for_svms).num_bytes


class _StagedTraining:
    """The stages of one training."""

    def __init__(self, task: Task, how: StagedConfig, model: RegionDetector) -> None:
        self.task, self.how, self.model = task, how, model
        detector = cast(StagedDetectorConfig, task.detector)
        self.head = detector.head
        # A decision of the user's own is fine-tuned with the network, and nothing is fitted afterwards.
        own = isinstance(self.head, CustomConfig)
        self.regression = None if own else detector.box_regression
        self.for_svms = isinstance(self.head, SVMConfig)
        self.progress = Progress(0, 0.0)
        plan = {
            "fine_tune": how.fine_tune is not None,
            "features": how.cache != "none" and (self.for_svms or self.regression is not None),
            "svms": self.for_svms,
            "box_regression": self.regression is not None,
        }
        self.names = [name for name, wanted in plan.items() if wanted]
        self.stages = Stages(task.folder, self.names, say)
        network = detector.model_dump(include={"type", "backbone", "regions", "scales_px", "copy_for_each"})
        network["regions"].pop("at_once", None)  # it changes no result
        self.inputs = {**stage_inputs(task), "detector": network}

    def fine_tune(self, batches: Batches) -> Artefact | str:
        """Fine-tune the network; return what tells its weights apart."""
        task, model = self.task, self.model
        start, config = weights_key(model), self.how.fine_tune
        if config is None:
            return start
        rates: list[float] = []
        kept = config.model_dump(exclude={"accumulate", "save_every_steps", "images_in_memory_gb"})

        def tune(part: Path) -> None:
            rate = fine_tune(
                model,
                batches(task, config, model),
                new_layer_optimizer(config, model),
                part,
                steps=config.steps,
                session=task.session,
                drop_every=config.drop_every,
                warmup_steps=config.warmup_steps,
                accumulate=config.accumulate,
                clip_norm=config.clip_norm,
                save_every_steps=config.save_every_steps,
                seed=task.seed,
                image_name=Index.of(task.train_set.annotations).path,
                log_folder=task.folder,
                config_text=task.config_text,
            )
            rates.append(rate)

        inputs = {**self.inputs, "start": start, "how": kept, "dropout": dropout_of(self.head)}
        made = self.stages.run("fine_tune", inputs, tune)
        load_network(model, made.path)
        self.progress = Progress(config.steps, rates[0] if rates else 0.0)
        return made

    def take_features(self, reader: RegionReader, tuned: Artefact | str) -> tuple[Vectors, Mapping[str, Any]]:
        """Return the features that the next stages are fitted to, and what tells them apart."""
        inputs = {**self.inputs, "network": tuned, "layer": reader.model.layer, "kept": self.how.cache}
        if "features" not in self.names or self.how.cache == "none":
            return reader, inputs
        kept, min_iou = self.how.cache, self.regression.min_iou if self.regression else None

        def cached(folder: Path) -> CachedVectors:
            return CachedVectors(folder, reader, kept, min_iou=min_iou, for_svms=self.for_svms)

        wanted = {**inputs, "min_iou": min_iou, "svms": self.for_svms, "norms": True}
        made = self.stages.run("features", wanted, lambda part: cached(part).fill())
        return cached(made.path), {"features": made}

    def fit_svms(self, reader: RegionReader, vectors: Vectors, features: Mapping[str, Any]) -> None:
        """Fit the SVMs, where there are some."""
        head, task = self.head, self.task
        if not isinstance(head, SVMConfig):
            return
        svms = self.model.decision.svms
        assert svms is not None
        how = head.model_dump(include=set(SVMConfig.model_fields) | {"type", "features"})
        inputs = {**features, "seed": task.seed, "how": how}
        run_svm_stage(self.stages, inputs, task, head, svms, reader, vectors)

    def fit_box_regression(self, reader: RegionReader, vectors: Vectors, features: Mapping[str, Any]) -> None:
        """Fit box regression, where there is one."""
        config, task = self.regression, self.task
        if config is None:
            return
        deltas = self.model.decision.box_deltas
        assert deltas is not None

        def fit(part: Path) -> None:
            fit_box_regression(
                reader,
                vectors,
                task.num_classes,
                part,
                ridge=config.ridge,
                min_iou=config.min_iou,
                seed=task.seed,
            )

        inputs = {**features, "seed": task.seed, "how": config.model_dump(), "scale": "of all regions"}
        made = self.stages.run("box_regression", inputs, fit)
        fill_box_regression(deltas, made.path)
