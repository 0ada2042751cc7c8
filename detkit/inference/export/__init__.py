"""Detectors in formats that other programs run."""
