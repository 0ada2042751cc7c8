"""A detector to be trained, with its data and where it runs: what every recipe is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from detkit.annotations.dataset import DetectionSet
from detkit.data.config import DataConfig
from detkit.data.datasets.source import Source
from detkit.data.loading.loaders import TrainLoader
from detkit.data.loading.samples import DetectionDataset
from detkit.data.transforms.builder import eval_transforms, train_transforms
from detkit.detectors.config import DetectorConfig
from detkit.evaluation.config import EvaluateConfig
from detkit.inference.detect_set import Timing, detect_dataset
from detkit.inference.model_file import read_model_file
from detkit.inference.save_model import save_model
from detkit.inference.score_floor import Advice
from detkit.runtime.processes import rank
from detkit.runtime.progress import say
from detkit.runtime.session import Session
from detkit.storage.run_folder import MODEL
from detkit.training.config import TrainConfig
from detkit.training.loop.start_from import start_from


@dataclass(frozen=True)
class Task:
    """A detector to be trained.

    Attributes:
        detector: its part of the config.
        train: how.
        data: the classes, and how images are loaded.
        evaluate: how it is evaluated.
        seed: seeds weights, order, augmentation and sampling.
        config_text: the whole config as YAML, which model files and checkpoints keep.
        session: where it runs.
        train_set: the training images.
        val_set: the images that decide which weights are best; None where the config has none.
        folder: the run's folder, where model.safetensors is to be left.
        resume: whether to go on with what is in the folder.
        from_weights: a model.safetensors to start from; None starts from `backbone.weights`.
        build: makes the detector; see `build_detector`.
        said: what was said of weights already.
    """

    detector: DetectorConfig
    train: TrainConfig
    data: DataConfig
    evaluate: EvaluateConfig
    seed: int
    config_text: str
    session: Session
    train_set: Source
    build: Callable[..., nn.Module]
    val_set: Source | None = None
    folder: Path = Path()
    resume: bool = False
    from_weights: Path | None = None
    said: set[str] = field(default_factory=set)

    @property
    def num_classes(self) -> int:
        """K, without background."""
        return len(self.data.classes)

    def initial_model(self, *, replaced: bool = False) -> nn.Module:
        """Return the detector with the weights it starts from, on its device, and say what became of them.

        Args:
            replaced: whether all weights are going to be replaced anyway, by a checkpoint or a stage.

        Raises:
            UserError: weights cannot be read or do not fit.
        """
        fresh = self.from_weights is None and not replaced
        model = self.build(
            self.detector, self.num_classes, self.seed, pretrained=fresh, on_weights=self._say_once
        )
        if self.from_weights is not None and not replaced:
            self._say_once(start_from(model, self.data.classes, read_model_file(self.from_weights)))
        return model.to(self.session.device)

    def _say_once(self, about_weights: object) -> None:
        """Say what became of weights; a training in stages builds its detector more than once."""
        if rank() == 0 and str(about_weights) not in self.said:
            self.said.add(str(about_weights))
            say(*str(about_weights).splitlines())

    def train_loader(self, batch_size: int) -> TrainLoader:
        """Return the batches of this process.

        Args:
            batch_size: images of one step over all processes.
        """
        return TrainLoader(
            self.data,
            DetectionDataset.of(self.train_set, train_transforms(self.data), self.seed),
            batch_size=batch_size,
            seed=self.seed,
            workers=self.session.workers,
            pin_memory=self.session.pin_memory,
        )

    def detect(self, model: nn.Module, source: Source) -> tuple[DetectionSet | None, Timing]:
        """Run a detector over a dataset, each process over its share; see `detect_dataset`."""
        return detect_dataset(
            model,
            source,
            self.session,
            transforms=eval_transforms(self.data),
            batch_size=self.evaluate.batch_size,
        )

    def save(
        self,
        model: nn.Module,
        thresholds: Advice | None = None,
        measured: tuple[str, float] | None = None,
    ) -> None:
        """Write model.safetensors.

        Args:
            model: the detector with the weights to keep.
            thresholds: each class's own score thresholds, where it was evaluated.
            measured: the metric's name and value, where it was.
        """
        save_model(
            self.folder / MODEL,
            model,
            classes=self.data.classes,
            category_ids=self.train_set.annotations.category_ids.tolist(),
            config_yaml=self.config_text,
            thresholds=thresholds,
            measured=measured,
        )


@dataclass(frozen=True)
class Progress:
    """How far a training came.

    Attributes:
        steps: optimizer steps done in all.
        images_per_second: rate of the training itself; 0 where none was done.
    """

    steps: int
    images_per_second: float
