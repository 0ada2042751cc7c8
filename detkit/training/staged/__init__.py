"""Training in stages: features on disk, hard negatives, SVMs, ridge regression."""
