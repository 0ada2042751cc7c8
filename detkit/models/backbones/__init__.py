"""Convolutional networks that read the image."""
