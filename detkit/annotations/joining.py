"""Makes one annotation set of the parts of a dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.selection import select_images


def join_sets(parts: Sequence[AnnotationSet], root: Path) -> AnnotationSet:
    """Return the images of all parts, each once: one that is in several parts is taken from the first.

    Args:
        parts: sets of the same classes and box format.
        root: folder of the dataset, which the image files are then relative to.
    """
    rooted = [
        replace(part, root=str(root), image_files=np.asarray(_below(part, root), dtype=np.str_))
        for part in parts
    ]
    seen: set[str] = set()
    kept = []
    for part in rooted:
        new = [i for i, file in enumerate(part.image_files.tolist()) if file not in seen]
        kept.append(part if len(new) == part.num_images else select_images(part, new))
        seen.update(part.image_files.tolist())
    counts = np.concatenate([np.diff(part.offsets) for part in kept])
    per_row = ("image_files", "image_ids", "sizes", "boxes", "labels", "difficult", "crowd", "areas", "ids")
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in kept]) for name in per_row
    }
    return replace(
        kept[0],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        sources=np.concatenate([part.sources for part in kept]),
        **joined,
    )


def _below(part: AnnotationSet, root: Path) -> list[str]:
    return [os.path.relpath(Path(part.root) / file, root) for file in part.image_files.tolist()]
