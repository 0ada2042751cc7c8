"""Necks between a backbone and the rest of a detector."""
