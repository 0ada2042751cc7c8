"""Running a trained detector."""
