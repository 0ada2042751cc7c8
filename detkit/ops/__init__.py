"""Small functions on boxes and feature maps."""
