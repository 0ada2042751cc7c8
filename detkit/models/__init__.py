"""The parts detectors are assembled from."""
