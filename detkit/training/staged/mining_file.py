"""A mining of hard negatives on disk, so that one that was killed goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from detkit.errors import UserError
from detkit.storage.atomic import durable_file
from detkit.training.staged.hard_negatives import MiningState

_COUNTS = ("done", "rounds")
_ARRAYS = ("weights", "bias", "trained", "added")


def save_mining(file: Path, state: MiningState) -> None:
    """Write how far a mining came.

    Args:
        file: where; what was there stays until the new one is complete.
        state: after an image.
    """
    arrays = {f"cache.{name}": array for name, array in state.cache.state().items()}
    arrays |= {name: getattr(state, name) for name in _ARRAYS}
    arrays |= {name: np.array([getattr(state, name)]) for name in _COUNTS}
    with durable_file(file) as part:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part)


def load_mining(file: Path) -> MiningState:
    """Return what `save_mining` wrote.

    Raises:
        UserError: the file is damaged or something else.
    """
    try:
        arrays = load_file(file)
        own = {name: np.array(arrays[name]) for name in _ARRAYS}
        counts = {name: int(arrays[name][0]) for name in _COUNTS}
        num_classes, num_features = own["weights"].shape
        state = MiningState.begin(num_features, num_classes)
        state.cache.restore({name[6:]: array for name, array in arrays.items() if name.startswith("cache.")})
    except (SafetensorError, KeyError, OSError, ValueError, IndexError) as error:
        raise UserError(
            f"{file}: is not a mining that can go on ({error}); delete it to begin anew"
        ) from None
    for name, value in (own | counts).items():
        setattr(state, name, value)
    return state
