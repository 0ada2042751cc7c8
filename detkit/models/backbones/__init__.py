"""Convolutional networks that read the image, with torchvision's names of weights."""
