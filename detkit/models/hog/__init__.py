"""Histograms of oriented gradients."""
