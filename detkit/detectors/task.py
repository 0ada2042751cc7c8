"""What every way of learning is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from detkit.config.dump import dump_config
from detkit.config.schema import Config
from detkit.data.datasets.source import Source
from detkit.inference.model_file import save_model
from detkit.inference.score_floor import Advice
from detkit.runs.session import Session
from detkit.storage.run_folder import MODEL


@dataclass(frozen=True)
class Task:
    """A detector to be learned.

    Attributes:
        run: where, with the config.
        learned: the images to learn from.
        judged_by: the images that decide which weights are best; None where the config has none.
        folder: the run's folder, where model.safetensors is to be left.
        resume: whether to go on with what is in the folder.
    """

    run: Session
    learned: Source
    judged_by: Source | None
    folder: Path
    resume: bool

    @property
    def config(self) -> Config:
        """The whole config."""
        return self.run.config

    def save(self, model: nn.Module, thresholds: Advice | None = None) -> None:
        """Write model.safetensors.

        Args:
            model: the detector with the weights to keep.
            thresholds: each class's own score thresholds, where it was judged.
        """
        save_model(
            self.folder / MODEL,
            model,
            classes=self.config.data.classes,
            category_ids=self.learned.annotations.category_ids.tolist(),
            config_yaml=dump_config(self.config),
            thresholds=thresholds,
        )
