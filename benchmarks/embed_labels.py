"""How well `detkit embed` finds wrong labels: some are swapped, and the suspects compared with these.

The peer is the plain vote of as many nearest neighbours, found by scikit-learn, and the score is the share of
them with another label: beside it, the weights by distance and the difference of two classes show what they
buy. The goal is a precision of at least 0.6 at a recall of 0.6.

    python benchmarks/embed_labels.py [--share 0.05] [--seeds 5] [--json FILE]
    python benchmarks/embed_labels.py --weights FILE --dataset DIR [--set test] [--layer backbone] [--apart]

Without weights the demo's detector is trained, on fewer images. Frames of a film vouch for each other: on a
dataset of films `--apart` says what the codes know of classes, and not of films.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring.turns import Claim, claim_of, deliver, rounded
from numpy.typing import NDArray
from precision import CONFIG, FEWER
from safetensors.numpy import load_file
from sklearn.neighbors import NearestNeighbors

from detkit.config.load import load_config
from detkit.embedding.neighbours import (
    NUM_NEIGHBOURS,
    disagreement,
    nearest_neighbours,
    normalised,
    suspects,
    votes,
)
from detkit.storage.run_folder import MODEL
from detkit.workflows.embed import CODES, embed
from detkit.workflows.train import train

Labels = NDArray[np.int64]
LEAST, AT_RECALL = 0.6, 0.6


def swapped(labels: Labels, num_classes: int, share: float, seed: int) -> tuple[Labels, NDArray[np.bool_]]:
    """Return labels of which some are another class by chance, and which these are."""
    chance = np.random.default_rng(seed)
    wrong = np.zeros(len(labels), dtype=np.bool_)
    wrong[chance.choice(len(labels), round(share * len(labels)), replace=False)] = True
    changed = labels.copy()
    changed[wrong] = (labels[wrong] + chance.integers(1, num_classes, int(wrong.sum()))) % num_classes
    return changed, wrong


def precision_at(scores: NDArray[np.float64], wrong: NDArray[np.bool_], recall: float) -> float:
    """Return the precision where so much is found, going by the scores from the highest down."""
    hits = wrong[np.argsort(-scores, kind="stable")].cumsum()
    needed = int(np.searchsorted(hits, recall * wrong.sum())) + 1
    return float(hits[needed - 1] / needed)


def plain_vote(vectors: NDArray[np.float32], labels: Labels) -> NDArray[np.float64]:
    """Return the share of each one's nearest neighbours that have another label, by scikit-learn."""
    codes = normalised(vectors)
    rows = NearestNeighbors(n_neighbors=NUM_NEIGHBOURS).fit(codes).kneighbors(return_distance=False)
    return np.asarray((labels[rows] != labels[:, None]).mean(axis=1))


def measure(arrays: dict[str, NDArray[Any]], num_classes: int, share: float, seeds: int) -> Claim:
    """Return the claim: seconds to judge all labels, and how precise that is."""
    vectors, labels, series = arrays["vectors"], arrays["labels"], arrays.get("series")
    names = ("precision", "plain_precision", "suspect", "right", "ours_s", "plain_s")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(seeds):
        changed, wrong = swapped(labels, num_classes, share, seed)
        start = time.perf_counter()
        near = nearest_neighbours(vectors, series)
        scores, _ = disagreement(changed, votes(changed, near, num_classes))
        figures["ours_s"].append(time.perf_counter() - start)
        figures["precision"].append(precision_at(scores, wrong, AT_RECALL))
        found = suspects(scores)
        figures["suspect"].append(float(wrong[found].sum() / wrong.sum()))
        figures["right"].append(float(wrong[found].mean()) if len(found) else 0.0)
        start = time.perf_counter()
        figures["plain_precision"].append(precision_at(plain_vote(vectors, changed), wrong, AT_RECALL))
        figures["plain_s"].append(time.perf_counter() - start)
    ours_s, plain_s = figures.pop("ours_s"), figures.pop("plain_s")
    means = {name: rounded(float(np.mean(of))) for name, of in figures.items()}
    if series is not None:  # the peer knows no series of images
        del means["plain_precision"]
    beside = f", by a plain vote {means['plain_precision']:.2f}" if series is None else ""
    return claim_of(
        f"precision {means['precision']:.2f} at recall {AT_RECALL}{beside}; of {round(share * len(labels))} "
        f"wrong labels among {len(labels):,} {means['suspect']:.0%} are suspect, and {means['right']:.0%} of "
        "the suspects are wrong",
        ours_s,
        *(("scikit-learn, plain vote", plain_s) if series is None else ()),
        same_answer=means["precision"] >= LEAST,
        **means,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="a model.safetensors; otherwise one is trained")
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--set", dest="sets", nargs="*", default=[])
    parser.add_argument("--layer", default="decision")
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--limit", type=int, default=600, help="objects, by chance")
    parser.add_argument("--share", type=float, default=0.05, help="of labels that are swapped")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, weights = Path(name), options.weights
        if weights is None:
            trained = train(load_config(CONFIG, FEWER), out=folder / "train")
            assert trained is not None, "one process"
            weights = trained.out / MODEL
        made = embed(
            weights,
            options.dataset,
            sets=options.sets,
            layer=options.layer,
            limit=options.limit,
            apart=options.apart,
            out=folder / "embedded",
        )
        arrays = load_file(folder / "embedded" / CODES)
    deliver([measure(arrays, len(made.classes), options.share, options.seeds)], options.json)


if __name__ == "__main__":
    main()
