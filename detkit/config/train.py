"""The ways to learn a detector."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from detkit.config.alternating import Alternating
from detkit.config.staged import Staged
from detkit.config.training import Gradient

Train = Annotated[Gradient | Staged | Alternating, Field(discriminator="type")]
