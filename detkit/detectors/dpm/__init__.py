"""Deformable part models."""
