"""Cascade R-CNN (Cai and Vasconcelos, CVPR 2018)."""
