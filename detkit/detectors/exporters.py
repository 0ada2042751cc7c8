"""The list of what `detkit export` writes beside graphs: detectors under the names of other programs.

A program is added by a function in the folder of its detector, and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from detkit.data.config import DataConfig
from detkit.detectors.config import DetectorConfig
from detkit.detectors.families import later


@dataclass(frozen=True)
class Named:
    """A detector under the names of another program.

    Attributes:
        state: its weights, by their names there.
        model: the other program's detector with them; it is called as ours are, and resizes images itself
            where they come as they are.
        like: our detector, with all settings as they are there.
        described: how it is built there.
        notes: what is different there.
    """

    state: Mapping[str, Tensor]
    model: nn.Module
    like: nn.Module
    described: Mapping[str, Any]
    notes: tuple[str, ...] = ()


Exporter = Callable[[nn.Module, DetectorConfig, DataConfig, int], Named]
"""Takes a model, its config, that of its images, and K. A `UserError` names the setting that has no equal."""

EXPORTERS: Mapping[str, Exporter] = {
    "torchvision": later("faster_rcnn.to_torchvision", "to_torchvision"),
}
