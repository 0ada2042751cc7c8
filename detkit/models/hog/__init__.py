"""Histograms of oriented gradients, and pyramids of them."""
