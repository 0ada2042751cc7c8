"""Box regression of one class as R-CNN's appendix and its published code describe it, step by step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def encode(box: Array, region: Array) -> Array:
    eps = np.finfo(np.float64).eps
    width, height = region[2] - region[0] + eps, region[3] - region[1] + eps
    box_width, box_height = box[2] - box[0] + eps, box[3] - box[1] + eps
    x, y = region[0] + 0.5 * width, region[1] + 0.5 * height
    box_x, box_y = box[0] + 0.5 * box_width, box[1] + 0.5 * box_height
    return np.array(
        [(box_x - x) / width, (box_y - y) / height, np.log(box_width / width), np.log(box_height / height)]
    )


def fit_and_predict(features: Array, targets: Array, ridge: float, asked: Array) -> Array:
    """Return the (Q, 4) predictions for features that are asked, of a regressor learned from the others."""
    x = np.column_stack([features, np.ones(len(features))])
    mean = targets.mean(axis=0)
    centred = targets - mean
    covariance = centred.T @ centred / len(centred)
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors @ np.diag(1 / np.sqrt(values + 0.001)) @ vectors.T
    whitened = centred @ whiten
    columns = []
    for coordinate in range(
        4
    ):  # one model each; the last weight, of the ones, is pulled to 0 like the others
        left = np.vstack([x, np.sqrt(ridge) * np.eye(x.shape[1])])
        right = np.concatenate([whitened[:, coordinate], np.zeros(x.shape[1])])
        columns.append(np.linalg.lstsq(left, right, rcond=None)[0])
    beta = np.column_stack(columns)
    return np.column_stack([asked, np.ones(len(asked))]) @ beta @ np.linalg.inv(whiten) + mean
