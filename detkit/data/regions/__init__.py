"""Proposals of a dataset, and batches of regions."""
