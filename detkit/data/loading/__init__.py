"""Samples, batches and loader processes."""
