"""Faster R-CNN (Ren et al., NIPS 2015)."""
