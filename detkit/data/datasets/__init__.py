"""Datasets: where images and annotations come from."""
