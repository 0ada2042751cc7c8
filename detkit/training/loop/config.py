"""The `train` part of a config for training by gradient."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from detkit.names import counted
from detkit.spec import Count, CustomConfig, Fraction, Index, NonNegative, Positive, Spec
from detkit.training.config import TrainConfig

# Below this many optimizer steps a fine-tuned detector is visibly under-trained.
MIN_STEPS = 1200
MAX_EPOCHS = 60
# A running mean over about a hundredth of the training: longer ones lag behind in a short training.
EMA_FRACTION, EMA_RANGE = 0.01, (0.9, 0.9998)


class SGDConfig(Spec):
    """Stochastic gradient descent with momentum."""

    type: Literal["sgd"] = "sgd"
    lr: Positive
    """Learning rate for a batch of `train.reference_batch` images."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Share of the last step that goes on."""
    weight_decay: NonNegative = 1e-4
    """Pull of the weights towards zero (5e-4 in the papers with VGG); biases and norms have none."""
    bias_lr_factor: Positive = 1.0
    """Learning rate of biases relative to weights (2 in the papers)."""


class AdamWConfig(Spec):
    """Adam with decoupled weight decay (Loshchilov 2019)."""

    type: Literal["adamw"] = "adamw"
    lr: Positive
    """Learning rate for a batch of `train.reference_batch` images."""
    weight_decay: NonNegative = 0.05
    """Pull of the weights towards zero; biases and norms have none."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of the two running means."""


AnyOptimizerConfig = Annotated[SGDConfig | AdamWConfig | CustomConfig, Field(discriminator="type")]


class StepScheduleConfig(Spec):
    """Multiply the learning rate at given epochs."""

    type: Literal["step"] = "step"
    at: tuple[NonNegative, ...]
    """Epochs after which the rate drops; fractions are allowed."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """What it is multiplied by each time."""


class CosineScheduleConfig(Spec):
    """Let the learning rate fall along half a cosine."""

    type: Literal["cosine"] = "cosine"
    final: Fraction = 0.0
    """Share of the learning rate left at the end."""


class ConstantScheduleConfig(Spec):
    """Keep the learning rate as it is."""

    type: Literal["constant"] = "constant"


AnyScheduleConfig = Annotated[
    StepScheduleConfig | CosineScheduleConfig | ConstantScheduleConfig, Field(discriminator="type")
]


class WarmupConfig(Spec):
    """Raise the learning rate linearly at the start."""

    steps: Index = 500
    """Over how many optimizer steps; at most a tenth of the training."""
    start: Annotated[float, Field(ge=0, le=1)] = 0.001
    """Share of the learning rate at the first step."""


class EMAConfig(Spec):
    """Evaluate and save a running mean of the weights instead of the last ones."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Share of the mean that stays at each step (less in the first steps)."""


class GradientConfig(TrainConfig):
    """One loop over the data, all weights trained together."""

    type: Literal["gradient"] = "gradient"
    epochs: Count = 12
    """How often every image is seen."""
    batch_size: Count = 2
    """Images of one optimizer step, over all processes and all `accumulate` parts."""
    accumulate: Count = 1
    """In how many parts a batch is processed, to save memory."""
    optimizer: AnyOptimizerConfig
    """The update rule."""
    reference_batch: Count | None = None
    """The batch size that `optimizer.lr` is meant for. With another batch size the rate is scaled in
    proportion (Goyal 2017), and the training says so. Null: no scaling."""
    schedule: AnyScheduleConfig = CosineScheduleConfig()
    """How the learning rate changes."""
    warmup: WarmupConfig = WarmupConfig()
    """How it starts."""
    divide_fc: bool = False
    """Divide the fully connected layers of the head among the processes instead of copying them to each
    (Krizhevsky 2014, "one weird trick"): regions travel instead of the gradients of these layers. It pays
    for AlexNet and VGG between machines with a slow network."""
    compile: bool = False
    """Let torch.compile translate what computes the feature maps. It takes a minute or more at the start
    and pays on a GPU from about an hour of training on; a CPU gains little and needs a C++ compiler."""
    clip_norm: NonNegative = 0.0
    """Upper limit of the gradient's norm; 0 is no limit."""
    ema: EMAConfig | None = None
    """Running mean of the weights; null is off."""
    validate_every: Index = 1
    """Epochs between validations; 0 validates only at the end."""
    early_stop: Count | None = None
    """Stop after this many validations without a better result; null never stops early."""
    save_every_steps: Index = 0
    """Write last.pt also every so many steps; 0 writes it after each epoch."""
    tensorboard: bool = False
    """Write TensorBoard's event files into the run's folder, too (`pip install tensorboard`)."""

    @model_validator(mode="after")
    def _divides(self) -> GradientConfig:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of accumulate ({self.accumulate})"
            )
        return self

    @property
    def compiles(self) -> bool:
        """Whether torch.compile translates what computes the feature maps."""
        return self.compile

    def fitted_to(self, num_examples: int) -> tuple[GradientConfig, str]:
        """Return the config with enough epochs for a small dataset, and a sentence about them."""
        per_epoch = max(1, -(-num_examples // self.batch_size))
        needed = min(-(-MIN_STEPS // per_epoch), MAX_EPOCHS)
        values: dict[str, Any] = {}
        if needed > self.epochs:
            values = {"epochs": needed, "schedule": stretched(self.schedule, needed / self.epochs)}
            values["validate_every"] = max(self.validate_every, needed // 12)
        epochs = max(needed, self.epochs)
        if self.ema is not None:
            decay = 1 - 1 / (EMA_FRACTION * epochs * per_epoch)
            low, high = EMA_RANGE
            values["ema"] = EMAConfig(decay=round(min(max(decay, low), high), 4))
        steps = counted(per_epoch, "step")
        said = f"{counted(self.epochs, 'epoch')} of {steps}"
        if needed > self.epochs:
            said = f"{needed} epochs, because one has only {steps}"
        return self.model_copy(update=values), said


def stretched(schedule: AnyScheduleConfig, factor: float) -> AnyScheduleConfig:
    """Return a schedule whose drops come later by a factor."""
    if not isinstance(schedule, StepScheduleConfig):
        return schedule
    return schedule.model_copy(update={"at": tuple(round(at * factor, 1) for at in schedule.at)})
