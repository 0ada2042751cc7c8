"""The `train` part of a config for training in stages, as R-CNN and SPP-net are trained."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from detkit.spec import Count, Fraction, Index, NonNegative, Positive, Spec
from detkit.training.config import TrainConfig
from detkit.training.loop.config import MIN_STEPS, AnyOptimizerConfig, SGDConfig

PAPERS_IMAGES = 5011
"""Images of VOC 2007 trainval, which the papers' numbers of steps are meant for."""


class FineTuneConfig(Spec):
    """Teach the network, pretrained on whole images, to tell regions apart."""

    steps: Count = 70_000
    """Optimizer steps (70,000 in the paper's code)."""
    batch_size: Count = 128
    """Regions of one step, over all processes, drawn from all regions of the dataset with replacement."""
    images_per_step: Count = 2
    """SPP-net alone, which reads whole images: from so many the regions of a step are drawn, as many of each
    and without replacement; `batch_size` is a multiple of it."""
    fg_fraction: Fraction = 0.25
    """This share of them holds an object."""
    fg_iou: Fraction = 0.5
    """A region holds the object it overlaps most from this IoU on; otherwise it is background."""
    bg_low_iou: Fraction = 0.0
    """Regions below this IoU are left out (0 in R-CNN, 0.1 in SPP-net)."""
    flip: Fraction = 0.5
    """How often a region is mirrored."""
    optimizer: AnyOptimizerConfig = SGDConfig(type="sgd", lr=0.001, weight_decay=0.0005, bias_lr_factor=2.0)
    """The update rule."""
    new_lr_factor: Positive = 10.0
    """Learning rate of the new last layer relative to the others."""
    drop_every: Index = 20_000
    """Steps after which the rate falls to a tenth, again and again; 0 keeps it."""
    warmup_steps: Index = 0
    """Over how many steps the rate rises at the start; at most a tenth of the training."""
    clip_norm: NonNegative = 0.0
    """Upper limit of the gradient's norm; 0 is no limit."""
    accumulate: Count = 1
    """In how many parts a step is processed, to save memory."""
    save_every_steps: Index = 1000
    """Write a checkpoint so often, to go on from when the training is stopped."""
    images_in_memory_gb: NonNegative = 2.0
    """Decoded images are kept up to this much in each process: regions of one step lie in many images."""

    @model_validator(mode="after")
    def _divides(self) -> FineTuneConfig:
        if self.batch_size % self.images_per_step:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of images_per_step "
                f"({self.images_per_step})"
            )
        return self

    def fitted_to(self, num_images: int) -> FineTuneConfig:
        """Return the config with fewer steps for a dataset smaller than the papers'.

        An image is seen as often as in the papers, but there are never fewer steps than a fine-tuning needs
        (nor more than now).

        Example:
            >>> [FineTuneConfig().fitted_to(images).steps for images in (6, 300, 5011, 100_000)]
            [1200, 4191, 70000, 70000]
        """
        steps = min(self.steps, max(MIN_STEPS, round(self.steps * num_images / PAPERS_IMAGES)))
        drop_every = max(1, round(self.drop_every * steps / self.steps)) if self.drop_every else 0
        return self.model_copy(update={"steps": steps, "drop_every": drop_every})


class StagedConfig(TrainConfig):
    """One stage after the other, as R-CNN (Girshick 2014) and SPP-net (He 2014) are trained."""

    type: Literal["staged"] = "staged"
    fine_tune: FineTuneConfig | None = FineTuneConfig()
    """The first stage; null takes the network as it was pretrained."""
    cache: Literal["none", "fp16", "fp32"] = "fp16"
    """How the features of all regions are kept on the disk between the network and the SVMs; their size is
    said beforehand. `none` computes them when they are needed, which is slower where SVMs and box regression
    need the same."""

    def fitted_to(self, num_examples: int) -> tuple[StagedConfig, str]:
        """Return the config with a fine-tuning that is no longer than a dataset needs, and a sentence."""
        if self.fine_tune is None:
            return self, "the network is not fine-tuned"
        tuned = self.fine_tune.fitted_to(num_examples)
        if tuned == self.fine_tune:
            return self, f"fine-tuning takes {tuned.steps:,} steps, as in the template"
        least = " (never fewer than that)" if tuned.steps == MIN_STEPS else ""
        said = (
            f"fine-tuning takes {tuned.steps:,} steps{least}, because the template's "
            f"{self.fine_tune.steps:,} are meant for the {PAPERS_IMAGES:,} images of VOC 2007 and there "
            f"are {num_examples:,}"
        )
        return self.model_copy(update={"fine_tune": tuned}), said
