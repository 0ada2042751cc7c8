"""Readers of toolkits whose files hold any of several detectors."""
