"""Transforms that move pixels, boxes and proposals together."""
