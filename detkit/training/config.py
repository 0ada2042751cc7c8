"""Base class of the `train` part of a config."""

from __future__ import annotations

from typing import Literal, Self

from detkit.spec import Spec

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class TrainConfig(Spec):
    """How the weights are trained."""

    type: str
    precision: Precision = "auto"
    """Arithmetic of the network: `auto` takes bf16 where the processor computes in it, otherwise fp32."""

    @property
    def compiles(self) -> bool:
        """Whether torch.compile translates the model for the training."""
        return False

    def fitted_to(self, num_examples: int) -> tuple[Self, str]:
        """Return these settings with a length that suits a dataset, and a sentence about it.

        Args:
            num_examples: training images, or labelled objects for a classifier of objects.
        """
        return self, f"the length of the training is the template's, whatever the {num_examples:,} examples"
