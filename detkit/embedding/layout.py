"""Map of codes in two dimensions: t-SNE of their principal components."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout

import numpy as np
from numpy.typing import NDArray

from detkit.embedding.neighbours import normalised

COMPONENTS = 50
PERPLEXITY = 30.0
STEPS = 1000
FEWEST_FOR_TSNE = 8  # of fewer, the first two principal components are the map

_STEP = re.compile(r"Iteration (\d+)")


def layout(
    vectors: NDArray[np.float32], seed: int, on_step: Callable[[int, int], None] = lambda done, total: None
) -> NDArray[np.float64]:
    """Return (N, 2) places in [0, 1] of codes, near to each other where these are.

    Codes of length 1 are reduced to 50 principal components, and these to two by t-SNE. It starts from the
    first two components and computes in one thread, so that a seed fixes it.

    Args:
        vectors: (N, D), finite.
        seed: of what is left to chance.
        on_step: called with how many steps of t-SNE are done, and how many there are.

    Reference: van der Maaten and Hinton, Visualizing data using t-SNE, JMLR 9, 2008.
    """
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    count = len(vectors)
    if count < 2:
        return np.full((count, 2), 0.5)
    codes = normalised(vectors).astype(np.float64)
    with threadpool_limits(1), np.errstate(invalid="ignore"):  # shares of no variance, of equal codes
        reduction = PCA(min(COMPONENTS, *codes.shape), random_state=seed)
        components = reduction.fit_transform(codes)
        plane = np.pad(components[:, :2], ((0, 0), (0, max(0, 2 - components.shape[1]))))
        if count >= FEWEST_FOR_TSNE:
            plane = _tsne(components, plane, seed, on_step)
    low = plane.min(axis=0)
    side = float((plane.max(axis=0) - low).max()) or 1.0
    middle = (1 - (plane.max(axis=0) - low) / side) / 2
    return np.asarray((plane - low) / side + middle)


def _tsne(
    components: NDArray[np.float64],
    plane: NDArray[np.float64],
    seed: int,
    on_step: Callable[[int, int], None],
) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    # Equal codes would stay in one place for ever without a little noise.
    start = plane / (plane.std() or 1.0) + np.random.default_rng(seed).normal(size=plane.shape) * 0.01
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(plane) - 1) / 3),
        init=1e-4 * start,
        max_iter=STEPS,
        random_state=seed,
        n_jobs=1,
        verbose=2,
    )
    with redirect_stdout(_Steps(on_step)):  # scikit-learn has no other way to say how far it is
        return np.asarray(tsne.fit_transform(components))


class _Steps(io.TextIOBase):
    """Takes what t-SNE prints for the number of its step."""

    def __init__(self, on_step: Callable[[int, int], None]) -> None:
        self._on_step = on_step

    def write(self, text: str) -> int:
        if found := _STEP.search(text):
            self._on_step(min(int(found[1]), STEPS), STEPS)
        return len(text)
