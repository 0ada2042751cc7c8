"""Proposals: boxes without classes, from segmentation, edges, windows or files."""
