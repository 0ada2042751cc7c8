"""Explanations of what a detector says: maps of the pixels that matter, and checks of these maps."""
