"""Finds what is wrong with a dataset, all of it, without torch."""
