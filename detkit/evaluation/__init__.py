"""The official metrics, without torch."""
